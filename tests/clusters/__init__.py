"""Clusters of separate processes on this machine, for tests and benchmarks."""
