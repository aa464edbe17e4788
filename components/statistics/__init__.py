"""Metrics, intervals, calibration. A library: numpy in and out."""
