"""The pipeline: configuration, nodes, runners, command line, phantom exams."""
