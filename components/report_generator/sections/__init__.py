"""Sections of the report: functions from typed artifacts to blocks of the page."""
