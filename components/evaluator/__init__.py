"""The Evaluator node: TFMA metrics of views and exams by slice, with intervals and gates."""
