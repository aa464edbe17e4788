"""The Evaluator node: TFMA metrics of views, breasts and exams by slice, with intervals and gates."""

from components.evaluator.slices import METRICS_FILE

__all__ = ["METRICS_FILE"]
