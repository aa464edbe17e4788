"""Compressed pixel data: identify the stream, check that it is complete, and decode it."""
