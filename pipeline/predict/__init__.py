"""The command ``predict`` for archives: many exams in, a table of grades out."""
