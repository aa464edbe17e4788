"""Spans and versions of an archive, as TFX's ExampleGen knows them.

A location may hold ``{SPAN}`` (or ``{SPAN:3}``, three digits wide), or a date ``{YYYY}``, ``{MM}``, ``{DD}``, whose
span is the number of days since 1970-01-01, and beside it ``{VERSION}``. Each span is ingested by a node of its own, so
new studies are ingested without redoing old ones; of a span the highest version counts.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, replace
from typing import Final

from components.common.location import Location, files_below, location
from components.dicom.rejections import ManifestError
from components.sources.source import FolderSource, ManifestSource, Source
from components.sources.span import Span

_SPEC: Final = re.compile(r"\{(SPAN|VERSION)(?::([1-9][0-9]?))?\}|\{(YYYY|MM|DD)\}")
# As TFX's own date_to_span_number, which takes TensorFlow's ten seconds to import.
_EPOCH: Final = datetime.date(1970, 1, 1)
_DATE: Final = {"YYYY": 4, "MM": 2, "DD": 2}
_ALLOWED: Final = "{SPAN} or {YYYY}, {MM} and {DD}, each with or without {VERSION}"


@dataclass(frozen=True)
class SpanSource:
    """What one node ingests.

    Attributes:
        source: Archive without patterns.
        span: Its span; None for an archive that has no spans.
    """

    source: Source
    span: Span | None = None


def _specs(pattern: str) -> set[str]:
    return {match.group(1) or match.group(3) for match in _SPEC.finditer(pattern)}


def _regex(pattern: str) -> str:
    """Turns a pattern into a regular expression with one group a specification; a repeated one must match alike."""
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
        raise ManifestError(f"{pattern}: there is no such date. Received: {year:04}-{month:02}-{day:02}.") from error
    return Span((day_of_span - _EPOCH).days, version)


def _filled(place: Location, found: dict[str, str]) -> Location:
    def value(match: re.Match[str]) -> str:
        text = found[match.group(1) or match.group(3)]
        return f"{int(text):0{match.group(2)}d}" if match.group(2) else text

    return location(_SPEC.sub(value, str(place)))


def _found(pattern: str, *, is_folder: bool) -> list[dict[str, str]]:
    """Lists what the files below the pattern's fixed part give for its specifications."""
    fixed = location(pattern[: _first_spec(pattern)].rpartition("/")[0])
    shape = re.compile(_regex(pattern) + ("/.+" if is_folder else ""), re.S)
    try:
        matches = (shape.fullmatch(f"{fixed}/{file.name}") for file in files_below(fixed))
        return [dict(items) for items in {tuple(match.groupdict().items()) for match in matches if match}]
    except OSError as error:
        raise ManifestError(f"{pattern}: {error}; name a folder that is there in front of the pattern.") from error


def _first_spec(pattern: str) -> int:
    match = _SPEC.search(pattern)
    return match.start() if match else len(pattern)


def _latest(pattern: str, found: list[dict[str, str]]) -> dict[int, tuple[Span, dict[str, str]]]:
    """Returns the highest version of each span."""
    latest: dict[int, tuple[Span, dict[str, str]]] = {}
    for values in found:
        span = _span(values, pattern)
        other, _ = latest.get(span.number, (None, None))
        if other == span:
            raise ManifestError(f"{pattern}: two places stand for span {span.number}; write its number in one way.")
        if other is None or span > other:
            latest[span.number] = span, values
    return dict(sorted(latest.items()))


def _require_sound(pattern: str, others: tuple[str, ...]) -> None:
    specs = _specs(pattern)
    if specs - {"VERSION"} not in ({"SPAN"}, {"YYYY", "MM", "DD"}):
        raise ManifestError(f"{pattern}: {_ALLOWED} are allowed. Received: {', '.join(sorted(specs)) or 'none'}.")
    for other in others:
        if not _specs(other) <= specs:
            raise ManifestError(f"{other}: a pattern may hold what {pattern} holds, and nothing else.")


def find_spans(source: Source) -> tuple[SpanSource, ...]:
    """Finds the spans that a source names by a pattern.

    Args:
        source: Archive; the folder or the manifest may hold a pattern, and labels then too.

    Returns:
        The latest version of each span, by span; the source itself where it has no pattern.

    Raises:
        ManifestError: A pattern is not sound, or matches nothing.
    """
    pattern = str(source.manifest if isinstance(source, ManifestSource) else source.folder)
    labels = (str(source.labels),) if isinstance(source, FolderSource) else ()
    if not any(map(_specs, (pattern, *labels))):
        return (SpanSource(source),)
    _require_sound(pattern, labels)
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
