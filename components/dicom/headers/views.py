r"""Which view an image is: projection and side, from whichever DICOM attributes say it.

Projection, in this order:
    1. View Code Sequence (0054,0220), DICOM PS3.16 CID 4014 (PS3.3 C.8.11.7 and C.8.21.6);
    2. View Position (0018,5101), PS3.3 C.8.11.5, also with ACR's marks for side and modifiers around it, such as
       ``RMLO`` or ``LCCID``;
    3. Patient Orientation (0020,0020), where CBIS-DDSM and its offspring write ``CC`` or ``MLO``.
Side: Image Laterality (0020,0062) and Frame Laterality (0020,9072) of the functional groups, else Laterality
(0020,0060) of the series, else the side written along with the projection.

True patient orientations (``A\R``, ``A\FR``) name neither projection nor side for certain: ``A\F`` is written for ML
and for MLO, and R or L only tells where the medial side was hung. They are never used to guess. Where two attributes
contradict each other, the view is unknown; only a Laterality of the series gives way to the image's.

A manifest that names a view (``resolve_view``) wins over a header that names none of the four, be it silent,
contradictory, or of another projection. Where the header clearly names another of the four, the file is left out as
``view_conflict``, for a row that slipped in a table looks just like that; once that is accepted, the manifest wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset

from components.dicom.acceptance import AcceptanceConfig, SpecialCase
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
from components.dicom.rejections import IngestError, RejectionReason, shown

_STANDARD: Final = frozenset({"CC", "MLO"})
_PROJECTIONS: Final = frozenset(VIEW_CODES.values())
_SIDES: Final = {"R": "R", "L": "L", "RIGHT": "R", "LEFT": "L"}
_SUPPORTED: Final = "CC and MLO of one side, R or L, are supported; name the view in a manifest to override"


def _any_of(names: Iterable[str]) -> str:
    return "|".join(sorted(names, key=lambda name: (-len(name), name)))


# Lazy in front: LM and LMO are views, not the left M; SIO is one, not a spot IO.
_POSITION: Final = re.compile(
    rf"(?P<side>RIGHT|LEFT|R|L)??(?P<prefixes>[{''.join(MODIFIER_PREFIXES)}]*?)"
    rf"(?P<base>{_any_of({*_PROJECTIONS, *COMBINED})})?(?P<suffixes>(?:{_any_of(MODIFIER_SUFFIXES)})*)"
)
_SUFFIX: Final = re.compile(_any_of(MODIFIER_SUFFIXES))


@dataclass(frozen=True)
class WrittenPosition:
    """A view's name taken apart.

    Attributes:
        projection: ``CC``, ``MLO``, another abbreviation of CID 4014 or of general radiography; empty = not named.
        side: ``R``, ``L``, or empty.
        modifiers: Special cases named along with it, in order.
    """

    projection: str = ""
    side: str = ""
    modifiers: tuple[SpecialCase, ...] = ()


def _compact(value: str) -> str:
    text = re.sub(r"[\s_\-.]+", "", value).upper()
    for name, abbreviation in NAMES.items():
        text = text.replace(name, abbreviation)
    return text


def parse_view(value: str) -> str | None:
    """Reads a view's name as people write it: ``CC_R``, ``R-CC``, ``RMLO``, ``Left MLO``.

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
    """Reads a View Position with ACR's marks: ``CC``, ``RMLO``, ``LCCID`` (implant displaced), ``SMLO`` (spot).

    Args:
        value: View Position (0018,5101) or what stands for it.

    Returns:
        Its parts, or None if the text is no position.
    """
    compact = _compact(value)
    if view := parse_view(compact):
        projection, side = view.split("_")
        return WrittenPosition(projection, side)
    if compact in OTHER_POSITIONS:
        return WrittenPosition(compact)
    match = _POSITION.fullmatch(compact)
    if match is None or not (match["base"] or match["suffixes"]):
        return None  # a mark alone, such as R, says nothing
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
    """Reads the projections of View Code Sequence (0054,0220), abbreviated; an unknown code stands for itself."""
    values = (tags.code(item, "CodeValue") for item in tags.items(dataset, "ViewCodeSequence"))
    return tuple(dict.fromkeys(VIEW_CODES.get(value, value) for value in values if value))


def modifiers_of(dataset: Dataset) -> dict[SpecialCase, tuple[str, str]]:
    """Reads the special cases that the view's modifiers name.

    Args:
        dataset: DICOM header.

    Returns:
        Special case -> name of the tag that names it, and its value.
    """
    by_code, by_position = tags.tag_name("ViewModifierCodeSequence"), tags.tag_name("ViewPosition")
    position = shown(tags.code(dataset, "ViewPosition"))
    written = dict.fromkeys(_position(dataset).modifiers, (by_position, position))
    coded = {case: (by_code, value) for value in _modifier_codes(dataset) if (case := MODIFIER_CODES.get(value))}
    return written | coded


def _projection(dataset: Dataset, file: str) -> tuple[str, str, str]:
    """Returns projection, side named along with it (or empty), and the tag that said so."""
    coded, position, written = coded_projections(dataset), _position(dataset), tags.code(dataset, "ViewPosition")
    stated = tuple(dict.fromkeys(name for name in (position.projection, *coded) if name))
    if len(stated) > 1:
        raise IngestError(
            RejectionReason.UNKNOWN_VIEW,
            file,
            f"{tags.tag_name('ViewPosition')} with {tags.tag_name('ViewCodeSequence')}",
            " with ".join(map(shown, stated)),
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
    """Returns R or L; ``written`` is the side that the projection came with, or empty."""
    image = {"ImageLaterality": [tags.code(dataset, "ImageLaterality")], "FrameLaterality": list(_frame_sides(dataset))}
    found = {keyword: {side for side in sides if side} for keyword, sides in image.items()}
    stated = {keyword: sides for keyword, sides in found.items() if sides}
    if not stated and (series := tags.code(dataset, "Laterality")):
        stated = {"Laterality": {series}}
    sides = set().union(*stated.values(), {written} if written else ())
    normal = {_SIDES.get(side, side) for side in sides}
    if len(normal) != 1 or not normal <= {"R", "L"}:
        tag = " with ".join(map(tags.tag_name, stated)) or tags.tag_name("ImageLaterality")
        raise IngestError(RejectionReason.UNKNOWN_VIEW, file, tag, shown(" with ".join(sorted(sides))), _SUPPORTED)
    return normal.pop()


def view_of(dataset: Dataset, file: str) -> str:
    """Tells which of the four views an image is; special cases (``modifiers_of``) are another question.

    Args:
        dataset: DICOM header.
        file: File name for error messages.

    Returns:
        One of ``schema.features.VIEWS``.

    Raises:
        IngestError: ``unknown_view`` if the header does not say or contradicts itself, ``unsupported_view``
            if it names another projection, or a modifier that CID 4015 does not have.
    """
    for value in _modifier_codes(dataset):
        if value not in MODIFIER_CODES:
            tag, remedy = tags.tag_name("ViewModifierCodeSequence"), f"codes of CID 4015 are supported; {_SUPPORTED}"
            raise IngestError(RejectionReason.UNSUPPORTED_VIEW, file, tag, shown(value), remedy)
    projection, side, tag = _projection(dataset, file)
    if not projection:
        raise IngestError(RejectionReason.UNKNOWN_VIEW, file, tag, "absent", _SUPPORTED)
    if projection not in _STANDARD:
        known = projection in _PROJECTIONS or projection in OTHER_POSITIONS
        reason = RejectionReason.UNSUPPORTED_VIEW if known else RejectionReason.UNKNOWN_VIEW
        raise IngestError(reason, file, tag, shown(projection), _SUPPORTED)
    return f"{projection}_{_side(dataset, side, file)}"


def resolve_view(dataset: Dataset, named: str | None, file: str, acceptance: AcceptanceConfig) -> tuple[str, bool]:
    """Settles the view between header and manifest; see the module for the rule.

    Args:
        dataset: DICOM header.
        named: View that a manifest names, one of ``schema.features.VIEWS``, or None.
        file: File name for error messages.
        acceptance: Whether a ``view_conflict`` is accepted.

    Returns:
        One of ``schema.features.VIEWS``, and whether the header names another one.

    Raises:
        IngestError: ``view_conflict``, or as ``view_of`` where no manifest names the view.
    """
    if named is None:
        return view_of(dataset, file), False
    try:
        stated = view_of(dataset, file)
    except IngestError:
        return named, False
    if stated != named and SpecialCase.VIEW_CONFLICT not in acceptance.accept:
        raise IngestError(
            RejectionReason.VIEW_CONFLICT,
            file,
            f"{tags.tag_name('ViewPosition')} and {tags.tag_name('ImageLaterality')}",
            f"{stated}, against {named} of the manifest",
            "correct the manifest, or accept view_conflict to let it override the header",
        )
    return named, stated != named
