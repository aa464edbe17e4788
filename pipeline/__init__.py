"""The pipeline: configuration, wiring, runners, command line, phantom exams."""
