"""The command ``evaluate``: the metrics of predictions of single views, or of the exams that ``predict`` graded."""
