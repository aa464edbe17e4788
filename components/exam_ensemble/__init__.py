"""The ExamEnsemble node: four view networks become one exam model."""
