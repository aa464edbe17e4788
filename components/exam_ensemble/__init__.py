"""The ExamEnsemble node: it combines the view networks to one exam model."""
