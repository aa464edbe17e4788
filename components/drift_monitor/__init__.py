"""The DriftMonitor node: whether new exams, and held-out ones, are like those that the networks learn from."""
