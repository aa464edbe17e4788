"""The DriftMonitor node: whether new exams, and held-out ones, are like those that the networks learn from."""

from components.drift_monitor.summary import SUMMARY_FILE, Comparison, DriftSummary, Moved

__all__ = ["SUMMARY_FILE", "Comparison", "DriftSummary", "Moved"]
