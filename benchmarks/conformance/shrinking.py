"""Greedy shrinking: makes a description that fails as plain as it can be made, one attribute at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import fields, replace
from typing import Any, Final, TypeVar

from benchmarks.conformance import archives
from benchmarks.conformance.archives import Archive
from benchmarks.conformance.cases import ENCODERS, Case, Lut, Padding, Rescale, Windows, is_possible

T = TypeVar("T")

_PLAIN: Final = Case()
_PLAIN_ARCHIVE: Final = Archive()


def _simpler(value: Any) -> Iterator[Any]:
    """List simpler forms of one attribute, the plainest first."""
    if isinstance(value, tuple):
        yield from (value[:n] for n in range(len(value)))
        for position, item in enumerate(value):
            yield from ((*value[:position], simpler, *value[position + 1 :]) for simpler in _simpler(item))
    elif isinstance(value, Lut):
        for plain in (Lut(), Lut(first=value.first, descriptor_vr=value.descriptor_vr)):
            for field in fields(Lut):
                yield replace(value, **{field.name: getattr(plain, field.name)})
    elif isinstance(value, Rescale):
        yield from (replace(value, slope="1"), replace(value, intercept="0"))
    elif isinstance(value, Windows):
        first = [text.partition("\\")[0] for text in (value.centres, value.widths)]
        yield from (replace(value, centres=first[0], widths=first[1]), replace(value, function=""))
    elif isinstance(value, Padding):
        yield replace(value, limit=None)


def _plainer_cases(case: Case) -> Iterator[Case]:
    for field in fields(Case):
        value, plain = getattr(case, field.name), getattr(_PLAIN, field.name)
        if value == plain:
            continue
        yield replace(case, **{field.name: plain})
        for simpler in _simpler(value):
            yield replace(case, **{field.name: simpler})
    # Attributes that depend on each other change together.
    yield replace(case, syntax=_PLAIN.syntax, encoder="pydicom", fragments=1, offsets="empty", pixel_vr="OW")
    yield replace(case, allocated=16, stored=12, high_bit=11)
    yield replace(case, high_bit=case.stored - 1)
    yield replace(case, encoder=ENCODERS[case.syntax][0])


def _plainer_archives(archive: Archive) -> Iterator[Archive]:
    if archive.women > 1:
        yield replace(archive, women=archive.women - 1)
    for field in fields(Archive):
        plain = getattr(_PLAIN_ARCHIVE, field.name)
        if field.name not in ("women", "seed") and getattr(archive, field.name) != plain:
            yield replace(archive, **{field.name: plain})


def _shrink(found: T, plainer: Callable[[T], Iterable[T]], still_fails: Callable[[T], bool], most_tries: int) -> T:
    tries, again = 0, True
    while again:
        again = False
        for tried in plainer(found):
            tries += 1
            if tries > most_tries:
                return found
            if still_fails(tried):
                found, again = tried, True
                break
    return found


def shrink(case: Case, still_fails: Callable[[Case], bool], most_tries: int = 200) -> Case:
    """Shrink a case.

    Args:
        case: A case that fails.
        still_fails: Tells whether a case fails in the same way.
        most_tries: How many cases are tried at most.

    Returns:
        A case that fails, of which no attribute can be made plainer without mending it.
    """

    def plainer(found: Case) -> Iterator[Case]:
        return (tried for tried in _plainer_cases(found) if tried != found and is_possible(tried))

    return _shrink(case, plainer, still_fails, most_tries)


def shrink_archive(archive: Archive, still_fails: Callable[[Archive], bool], most_tries: int = 80) -> Archive:
    """Shrink an archive; arguments as of :func:`shrink`."""

    def plainer(found: Archive) -> Iterator[Archive]:
        return filter(archives.is_possible, _plainer_archives(found))

    return _shrink(archive, plainer, still_fails, most_tries)
