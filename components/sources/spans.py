"""Spans and versions of an archive, as TFX's ExampleGen knows them.

A location may contain ``{SPAN}`` (or ``{SPAN:3}``, three digits wide), or a date ``{YYYY}``, ``{MM}``, ``{DD}``, whose
span is the number of days since 1970-01-01; and also ``{VERSION}``. A separate node ingests each span, so a new span
does not repeat the ingest of old ones. Only the highest version of a span counts.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, replace
from typing import Final

from components.common.location import Location, files_below, location
from components.dicom.rejections import ManifestError
from components.sources.source import FolderSource, ManifestSource, Source

_SPEC: Final = re.compile(r"\{(SPAN|VERSION)(?::([1-9][0-9]?))?\}|\{(YYYY|MM|DD)\}")
# The same as TFX's date_to_span_number, whose import takes ten seconds.
_EPOCH: Final = datetime.date(1970, 1, 1)
_DATE: Final = {"YYYY": 4, "MM": 2, "DD": 2}
LATEST: Final = "latest"
_ALLOWED: Final = "{SPAN} or {YYYY}, {MM} and {DD}, each with or without {VERSION}"


@dataclass(frozen=True, order=True)
class Span:
    """A group of exams that arrived together.

    Attributes:
        number: Span number; exams of later spans replace those of earlier ones.
        version: Version of the span; -1 if the archive has no versions.
    """

    number: int
    version: int = -1


@dataclass(frozen=True)
class SpanSource:
    """Source of one ingest node.

    Attributes:
        source: Archive without patterns.
        span: Its span; None if the archive has no spans.
    """

    source: Source
    span: Span | None = None


def _specs(pattern: str) -> set[str]:
    return {match.group(1) or match.group(3) for match in _SPEC.finditer(pattern)}


def _regex(pattern: str) -> str:
    """Return the pattern as a regular expression with one group per specification; repeated ones must be equal."""
    parts, end, seen = [], 0, set()
    for match in _SPEC.finditer(pattern):
        name = match.group(1) or match.group(3)
        width = match.group(2) or _DATE.get(name)
        digits = rf"[0-9]{{{width}}}" if width else "[0-9]+"
        parts += [re.escape(pattern[end : match.start()]), f"(?P={name})" if name in seen else f"(?P<{name}>{digits})"]
        seen.add(name)
        end = match.end()
    return "".join([*parts, re.escape(pattern[end:])])


def _span(found: dict[str, str], pattern: str) -> Span:
    version = int(found.get("VERSION", -1))
    if "SPAN" in found:
        return Span(int(found["SPAN"]), version)
    year, month, day = (int(found[name]) for name in ("YYYY", "MM", "DD"))
    try:
        day_of_span = datetime.date(year, month, day)
    except ValueError as error:
        raise ManifestError(f"{pattern}: this date does not exist. Received: {year:04}-{month:02}-{day:02}.") from error
    return Span((day_of_span - _EPOCH).days, version)


def _filled(place: Location, found: dict[str, str]) -> Location:
    def value(match: re.Match[str]) -> str:
        text = found[match.group(1) or match.group(3)]
        return f"{int(text):0{match.group(2)}d}" if match.group(2) else text

    return location(_SPEC.sub(value, str(place)))


def _found(pattern: str, *, is_folder: bool) -> list[dict[str, str]]:
    """Return the values of the pattern's specifications in the files below its fixed part."""
    fixed = location(pattern[: _first_spec(pattern)].rpartition("/")[0])
    shape = re.compile(_regex(pattern) + ("/.+" if is_folder else ""), re.S)
    try:
        matches = (shape.fullmatch(f"{fixed}/{file.name}") for file in files_below(fixed))
        return [dict(items) for items in {tuple(match.groupdict().items()) for match in matches if match}]
    except OSError as error:
        raise ManifestError(f"{pattern}: {error}; name an existing folder before the pattern.") from error


def _first_spec(pattern: str) -> int:
    match = _SPEC.search(pattern)
    return match.start() if match else len(pattern)


def _latest(pattern: str, found: list[dict[str, str]]) -> dict[int, tuple[Span, dict[str, str]]]:
    """Return the highest version of each span."""
    latest: dict[int, tuple[Span, dict[str, str]]] = {}
    for values in found:
        span = _span(values, pattern)
        other, _ = latest.get(span.number, (None, None))
        if other == span:
            raise ManifestError(f"{pattern}: two locations have span {span.number}; write its number in one way.")
        if other is None or span > other:
            latest[span.number] = span, values
    return dict(sorted(latest.items()))


def _require_valid(pattern: str, others: tuple[str, ...]) -> None:
    specs = _specs(pattern)
    if specs - {"VERSION"} not in ({"SPAN"}, {"YYYY", "MM", "DD"}):
        raise ManifestError(f"{pattern}: {_ALLOWED} are allowed. Received: {', '.join(sorted(specs)) or 'none'}.")
    for other in others:
        if not _specs(other) <= specs:
            raise ManifestError(f"{other}: this pattern may use only the specifications of {pattern}.")


def find_spans(source: Source) -> tuple[SpanSource, ...]:
    """Return the spans of a source whose location contains a pattern.

    Args:
        source: Archive; the folder or the manifest may contain a pattern, and then also the labels.

    Returns:
        The latest version of each span, sorted by span; the source itself if it has no pattern.

    Raises:
        ManifestError: A pattern is not valid, or matches nothing.
    """
    pattern = str(source.manifest if isinstance(source, ManifestSource) else source.folder)
    labels = (str(source.labels),) if isinstance(source, FolderSource) else ()
    if not any(map(_specs, (pattern, *labels))):
        return (SpanSource(source),)
    _require_valid(pattern, labels)
    latest = _latest(pattern, _found(pattern, is_folder=not isinstance(source, ManifestSource)))
    if not latest:
        raise ManifestError(f"{pattern}: nothing matches; put an archive there, or correct the pattern.")

    def fill(values: dict[str, str]) -> Source:
        if isinstance(source, ManifestSource):
            return replace(source, manifest=_filled(source.manifest, values))
        if isinstance(source, FolderSource):
            return replace(source, folder=_filled(source.folder, values), labels=_filled(source.labels, values))
        return replace(source, folder=_filled(source.folder, values))

    return tuple(SpanSource(fill(values), span) for span, values in latest.values())


def choose_span(source: Source, span: str, before: int = 0) -> SpanSource:
    """Return the latest version of the requested span, or of an earlier span.

    Args:
        source: Archive, perhaps with a pattern such as ``{SPAN}``.
        span: ``latest``, or the number of a span. An archive without a pattern has no spans; ``latest`` then means
            the whole archive.
        before: 0 for the requested span, 1 for the one before it, and so on.

    Returns:
        The source without patterns, and its span.

    Raises:
        ManifestError: The span does not exist; the message lists the existing ones.
    """
    spans = find_spans(source)
    numbers = [str(part.span.number) for part in spans if part.span is not None]
    if not numbers and (span != LATEST or before):
        requested = f"kubeflow.spans={before + 1}" if before else f"span={span}"
        raise ManifestError(
            f"The archive has no spans: put {{SPAN}} in its path, or request the span {LATEST}. Received: {requested}"
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
