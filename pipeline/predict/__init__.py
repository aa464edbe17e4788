"""The command ``predict``: grade one exam, or an archive of exams."""
