"""The ExamSelector node: selects the preprocessed exams on which the networks are trained."""
