"""Muscle outlines for a reviewer, and back."""
