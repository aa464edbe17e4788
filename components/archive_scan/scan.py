"""What a run ingests, found from its archive's source."""

from __future__ import annotations

from typing import Final

from components.sources.labels import ManifestError
from components.sources.source import Source
from components.sources.spans import SpanSource, find_spans

LATEST: Final = "latest"


def chosen_span(source: Source, span: str, before: int = 0) -> SpanSource:
    """Finds the span that is asked for, or one before it, in its latest version.

    Args:
        source: Archive, perhaps with a pattern such as ``{SPAN}``.
        span: ``latest``, or the number of a span; an archive without a pattern has no spans, and ``latest`` is all of
            it.
        before: 0 for that span, 1 for the one before it, and so on.

    Returns:
        The source without patterns, and its span.

    Raises:
        ManifestError: There is no such span; the message lists those that there are.
    """
    spans = find_spans(source)
    numbers = [str(part.span.number) for part in spans if part.span is not None]
    if not numbers and (span != LATEST or before):
        asked = f"kubeflow.spans={before + 1}" if before else f"span={span}"
        raise ManifestError(
            f"The archive has no spans: put {{SPAN}} in its path, or ask for one, {LATEST}. Received: {asked}"
        )
    if span == LATEST:
        newest = len(spans) - 1
    elif span in numbers:
        newest = numbers.index(span)
    else:
        raise ManifestError(f"There is no span {span}: give {LATEST}, or one of {', '.join(numbers)}.")
    if newest < before:
        raise ManifestError(
            f"The archive has {newest + 1} spans up to {numbers[newest]}: compile the pipeline with kubeflow.spans"
            f" {newest + 1}. Received: {before + 1} or more."
        )
    return spans[newest - before]
