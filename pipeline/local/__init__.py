"""Runs here: runner, console, log, demo."""
