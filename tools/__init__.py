"""Programs for maintainers: generated pages, stale references, releases, the trial of the wheel."""
