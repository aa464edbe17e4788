"""The ExamSelector node: which of the preprocessed exams the networks learn from."""
