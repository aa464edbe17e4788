r"""Find the view of an image, that is projection and side, from several DICOM attributes.

The projection comes from the first of these:
    1. View Code Sequence (0054,0220), DICOM PS3.16 CID 4014 (PS3.3 C.8.11.7 and C.8.21.6);
    2. View Position (0018,5101), PS3.3 C.8.11.5, also with ACR's abbreviations for side and modifiers around it, such
       as ``RMLO`` or ``LCCID``;
    3. Patient Orientation (0020,0020), where CBIS-DDSM and archives derived from it write ``CC`` or ``MLO``.

The side comes from Image Laterality (0020,0062) and Frame Laterality (0020,9072) of the functional groups, otherwise
from Laterality (0020,0060) of the series, otherwise from the text of the projection.

Real patient orientations (``A\R``, ``A\FR``) show neither projection nor side for certain: ``A\F`` is written for ML
and for MLO, and R or L only shows the displayed medial side. They are never used to guess. If two attributes contradict
each other, the view is unknown; only a Laterality of the series is overridden by that of the image.

A manifest can name a view (``resolve_view``). It overrides a header that names none of the four views: one without a
view, with contradictions, or with another projection. If the header clearly names another of the four, the file is
rejected as ``view_conflict``, because a shifted row of a table looks the same. If ``view_conflict`` is accepted, the
manifest overrides the header.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from components.dicom.headers import tags
from components.dicom.headers.view_codes import (
    COMBINED,
    MODIFIER_CODES,
    MODIFIER_PREFIXES,
    MODIFIER_SUFFIXES,
    NAMES,
    OTHER_POSITIONS,
    VIEW_CODES,
)
from components.dicom.rejections import AcceptanceConfig, IngestError, RejectionReason, printable

_STANDARD: Final = frozenset({"CC", "MLO"})
_PROJECTIONS: Final = frozenset(VIEW_CODES.values())
_SIDES: Final = {"R": "R", "L": "L", "RIGHT": "R", "LEFT": "L"}
_SUPPORTED: Final = "CC and MLO of one side, R or L, are supported; name the view in a manifest to override"


def _any_of(names: Iterable[str]) -> str:
    return "|".join(sorted(names, key=lambda name: (-len(name), name)))


# Prefixes match lazily: LM and LMO are views, not the left M; SIO is one too, not a spot IO.
_POSITION: Final = re.compile(
    rf"(?P<side>RIGHT|LEFT|R|L)??(?P<prefixes>[{''.join(MODIFIER_PREFIXES)}]*?)"
    rf"(?P<base>{_any_of({*_PROJECTIONS, *COMBINED})})?(?P<suffixes>(?:{_any_of(MODIFIER_SUFFIXES)})*)"
)
_SUFFIX: Final = re.compile(_any_of(MODIFIER_SUFFIXES))


@dataclass(frozen=True)
class WrittenPosition:
    """The parts of a view's name.

    Attributes:
        projection: ``CC``, ``MLO``, another abbreviation of CID 4014 or of general radiography; empty = not named.
        side: ``R``, ``L``, or empty.
        modifiers: Special cases that the name contains, in order.
    """

    projection: str = ""
    side: str = ""
    modifiers: tuple[RejectionReason, ...] = ()


def _compact(value: str) -> str:
    text = re.sub(r"[\s_\-.]+", "", value).upper()
    for name, abbreviation in NAMES.items():
        text = text.replace(name, abbreviation)
    return text


def parse_view_name(value: str) -> str | None:
    """Read a view's name as people write it: ``CC_R``, ``R-CC``, ``RMLO``, ``Left MLO``.

    Returns:
        One of ``schema.features.VIEWS``, or None if the text names none of them.
    """
    compact = _compact(value)
    if match := re.fullmatch(r"(CC|MLO)(RIGHT|LEFT|R|L)", compact):
        projection, side = match.groups()
    elif match := re.fullmatch(r"(RIGHT|LEFT|R|L)(CC|MLO)", compact):
        side, projection = match.groups()
    else:
        return None
    return f"{projection}_{_SIDES[side]}"


def parse_position(value: str) -> WrittenPosition | None:
    """Read a View Position with ACR's abbreviations: ``CC``, ``RMLO``, ``LCCID`` (implant displaced), ``SMLO`` (spot).

    Args:
        value: View Position (0018,5101) or another attribute with the same content.

    Returns:
        Its parts, or None if the text is not a position.
    """
    compact = _compact(value)
    if view := parse_view_name(compact):
        projection, side = view.split("_")
        return WrittenPosition(projection, side)
    if compact in OTHER_POSITIONS:
        return WrittenPosition(compact)
    match = _POSITION.fullmatch(compact)
    if match is None or not (match["base"] or match["suffixes"]):
        return None  # a side without a view, such as R, is no position
    projection, combined = COMBINED.get(match["base"], (match["base"] or "", None))
    before = map(MODIFIER_PREFIXES.get, match["prefixes"])
    after = map(MODIFIER_SUFFIXES.get, _SUFFIX.findall(match["suffixes"]))
    modifiers = tuple(case for case in (*before, combined, *after) if case is not None)
    return WrittenPosition(projection, _SIDES.get(match["side"], ""), modifiers)


def _modifier_codes(dataset: Dataset) -> tuple[str, ...]:
    holders = (dataset, *tags.items(dataset, "ViewCodeSequence"))
    items = [item for holder in holders for item in tags.items(holder, "ViewModifierCodeSequence")]
    return tuple(value for item in items if (value := tags.code(item, "CodeValue")))


def _position(dataset: Dataset) -> WrittenPosition:
    return parse_position(tags.code(dataset, "ViewPosition")) or WrittenPosition()


def coded_projections(dataset: Dataset) -> tuple[str, ...]:
    """Return the projections of View Code Sequence (0054,0220) as abbreviations; an unknown code is not changed."""
    values = (tags.code(item, "CodeValue") for item in tags.items(dataset, "ViewCodeSequence"))
    return tuple(dict.fromkeys(VIEW_CODES.get(value, value) for value in values if value))


def modifiers_of(dataset: Dataset) -> dict[RejectionReason, tuple[str, str]]:
    """Read the special cases that the view modifiers name.

    Args:
        dataset: DICOM header.

    Returns:
        Special case -> name of the tag that names it, and its value.
    """
    by_code, by_position = tags.tag_name("ViewModifierCodeSequence"), tags.tag_name("ViewPosition")
    position = printable(tags.code(dataset, "ViewPosition"))
    written = dict.fromkeys(_position(dataset).modifiers, (by_position, position))
    coded = {case: (by_code, value) for value in _modifier_codes(dataset) if (case := MODIFIER_CODES.get(value))}
    return written | coded


def _projection(dataset: Dataset, file: str) -> tuple[str, str, str]:
    """Return the projection, the side in the same text (or empty), and the tag of the evidence."""
    coded, position, written = coded_projections(dataset), _position(dataset), tags.code(dataset, "ViewPosition")
    stated = tuple(dict.fromkeys(name for name in (position.projection, *coded) if name))
    if len(stated) > 1:
        raise IngestError(
            RejectionReason.UNKNOWN_VIEW,
            file,
            f"{tags.tag_name('ViewPosition')} with {tags.tag_name('ViewCodeSequence')}",
            " with ".join(map(printable, stated)),
            "they contradict each other; name the view in a manifest to override",
        )
    if coded:
        return coded[0], position.side, tags.tag_name("ViewCodeSequence")
    if written:
        return position.projection or written, position.side, tags.tag_name("ViewPosition")
    orientation = parse_position(tags.code(dataset, "PatientOrientation")) or WrittenPosition()
    if orientation.projection in _STANDARD and not orientation.modifiers:
        return orientation.projection, orientation.side, tags.tag_name("PatientOrientation")
    return "", "", tags.tag_name("ViewPosition")


def _frame_sides(dataset: Dataset) -> Iterator[str]:
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in tags.items(dataset, groups):
            for anatomy in tags.items(group, "FrameAnatomySequence"):
                yield tags.code(anatomy, "FrameLaterality")


def _side(dataset: Dataset, written: str, file: str) -> str:
    """Return R or L; ``written`` is the side in the text of the projection, or empty."""
    image = {"ImageLaterality": [tags.code(dataset, "ImageLaterality")], "FrameLaterality": list(_frame_sides(dataset))}
    found = {keyword: {side for side in sides if side} for keyword, sides in image.items()}
    stated = {keyword: sides for keyword, sides in found.items() if sides}
    if not stated and (series := tags.code(dataset, "Laterality")):
        stated = {"Laterality": {series}}
    sides = set().union(*stated.values(), {written} if written else ())
    normal = {_SIDES.get(side, side) for side in sides}
    if len(normal) != 1 or not normal <= {"R", "L"}:
        tag = " with ".join(map(tags.tag_name, stated)) or tags.tag_name("ImageLaterality")
        raise IngestError(RejectionReason.UNKNOWN_VIEW, file, tag, printable(" with ".join(sorted(sides))), _SUPPORTED)
    return normal.pop()


def view_of(dataset: Dataset, file: str) -> str:
    """Find which of the four views an image has; ``modifiers_of`` finds special cases.

    Args:
        dataset: DICOM header.
        file: File name for error messages.

    Returns:
        One of ``schema.features.VIEWS``.

    Raises:
        IngestError: ``unknown_view`` if the header names no view or contradicts itself, ``unsupported_view`` if it
            names another projection, or a modifier that is not in CID 4015.
    """
    for value in _modifier_codes(dataset):
        if value not in MODIFIER_CODES:
            tag, remedy = tags.tag_name("ViewModifierCodeSequence"), f"codes of CID 4015 are supported; {_SUPPORTED}"
            raise IngestError(RejectionReason.UNSUPPORTED_VIEW, file, tag, printable(value), remedy)
    projection, side, tag = _projection(dataset, file)
    if not projection:
        raise IngestError(RejectionReason.UNKNOWN_VIEW, file, tag, "absent", _SUPPORTED)
    if projection not in _STANDARD:
        known = projection in _PROJECTIONS or projection in OTHER_POSITIONS
        reason = RejectionReason.UNSUPPORTED_VIEW if known else RejectionReason.UNKNOWN_VIEW
        raise IngestError(reason, file, tag, printable(projection), _SUPPORTED)
    return f"{projection}_{_side(dataset, side, file)}"


def resolve_view(dataset: Dataset, named: str | None, file: str, acceptance: AcceptanceConfig) -> tuple[str, bool]:
    """Decide the view from header and manifest; the module docstring has the rule.

    Args:
        dataset: DICOM header.
        named: View from a manifest, one of ``schema.features.VIEWS``, or None.
        file: File name for error messages.
        acceptance: Accepted special cases; they can include ``view_conflict``.

    Returns:
        One of ``schema.features.VIEWS``, and True if the header names another one.

    Raises:
        IngestError: ``view_conflict``, or the errors of ``view_of`` if no manifest names the view.
    """
    if named is None:
        return view_of(dataset, file), False
    try:
        stated = view_of(dataset, file)
    except IngestError:
        return named, False
    if stated != named and RejectionReason.VIEW_CONFLICT not in acceptance.accept:
        raise IngestError(
            RejectionReason.VIEW_CONFLICT,
            file,
            f"{tags.tag_name('ViewPosition')} and {tags.tag_name('ImageLaterality')}",
            f"{stated}, against {named} of the manifest",
            "correct the manifest, or accept view_conflict to let it override the header",
        )
    return named, stated != named
