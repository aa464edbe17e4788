"""Compressed pixel data: what a stream is, whether it is whole, and its decoding."""
