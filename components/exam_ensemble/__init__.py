"""The ExamEnsemble node: it combines four view networks to one exam model."""
