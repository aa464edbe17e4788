"""The DriftMonitor node: do new exams and held-out exams resemble the training exams?"""

from components.drift_monitor.summary import (
    SUMMARY_FILE,
    Comparison,
    DriftSummary,
    Moved,
    PushedFamiliarity,
    shown,
)

__all__ = ["SUMMARY_FILE", "Comparison", "DriftSummary", "Moved", "PushedFamiliarity", "shown"]
