"""The Evaluator node: TFMA metrics of views and exams by slice, with intervals and gates."""

from components.evaluator.summary import METRICS_FILE

__all__ = ["METRICS_FILE"]
