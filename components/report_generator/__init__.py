"""The ReportGenerator node: writes one self-contained HTML page about a run, which opens offline."""
