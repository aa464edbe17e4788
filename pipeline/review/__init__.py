"""Export muscle outlines to reviewers, and check their reviews."""
