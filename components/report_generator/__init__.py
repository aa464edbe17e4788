"""ReportGenerator: one self-contained offline HTML page about a run."""
