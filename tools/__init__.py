"""Programs for those who work on the project: generated pages, stale names, releases, the trial of the wheel."""
