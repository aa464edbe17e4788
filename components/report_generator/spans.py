"""Ingest summaries of several spans as one."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

from components.report_generator.artifacts import AgeSummary, IngestSummary


def _add(first: Any, second: Any) -> Any:
    """Adds numbers, and mappings key by key."""
    if isinstance(first, Mapping):
        names = [*first, *(name for name in second if name not in first)]
        return {
            name: _add(first[name], second[name]) if name in first and name in second else (first | second)[name]
            for name in names
        }
    return first + second


def _ages(parts: Iterable[AgeSummary]) -> AgeSummary:
    counts = sum((Counter(part.counts) for part in parts), Counter[int]())
    ages = sorted(counts.elements())
    return AgeSummary(
        mean=round(statistics.fmean(ages), 2) if ages else None,
        sd=round(statistics.stdev(ages), 2) if len(ages) > 1 else None,
        median=statistics.median(ages) if ages else None,
        counts=dict(sorted(counts.items())),
    )


def combine(spans: Sequence[IngestSummary]) -> IngestSummary:
    """Adds up what the spans of an archive hold.

    Exams and patients who are in several spans are counted in each; the quality report counts what is left out of them.

    Args:
        spans: Summary of each span, at least one.

    Returns:
        Their sum; means, deviations and medians of age are those of all exams.
    """
    if len(spans) == 1:
        return spans[0]
    figures = reduce(_add, (span.model_dump(exclude={"ages"}) for span in spans))
    classes = dict.fromkeys(density for span in spans for density in span.ages)
    ages = {density: _ages(span.ages[density] for span in spans if density in span.ages) for density in classes}
    warnings = tuple(dict.fromkeys(figures["warnings"]))
    return IngestSummary.model_validate(figures | {"ages": ages, "warnings": warnings})
