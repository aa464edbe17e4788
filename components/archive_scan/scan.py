"""What a run ingests, found from its archive's source."""

from __future__ import annotations

from typing import Final

from components.dicom_example_gen.labels import ManifestError
from components.dicom_example_gen.manifest import Source
from components.dicom_example_gen.spans import SpanSource, find_spans

LATEST: Final = "latest"


def chosen_span(source: Source, span: str) -> SpanSource:
    """Finds the span that is asked for, in its latest version.

    Args:
        source: Archive, perhaps with a pattern such as ``{SPAN}``.
        span: ``latest``, or the number of a span; an archive without a pattern has no spans, and ``latest`` is all of
            it.

    Returns:
        The source without patterns, and its span.

    Raises:
        ManifestError: There is no such span; the message lists those that there are.
    """
    spans = find_spans(source)
    if span == LATEST:
        return spans[-1]
    found = [part for part in spans if part.span is not None and str(part.span.number) == span]
    if not found:
        numbers = ", ".join(str(part.span.number) for part in spans if part.span is not None)
        raise ManifestError(
            f"There is no span {span}: give {LATEST}, or one of {numbers}."
            if numbers
            else f"The archive has no spans, put {{SPAN}} in its path or ask for {LATEST}. Received: span={span}"
        )
    return found[0]
