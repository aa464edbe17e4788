r"""Which view an image is: projection and side, from whichever DICOM attributes say it.

Projection, in this order:
    1. View Code Sequence (0054,0220), DICOM PS3.16 CID 4014, with its View Modifier Code Sequence
       (0054,0222), CID 4015;
    2. View Position (0018,5101), DICOM PS3.3 C.8.11.5 (also with the side in front, such as ``RMLO``);
    3. Patient Orientation (0020,0020), where CBIS-DDSM and its offspring write ``CC`` or ``MLO``.
Side: Image Laterality (0020,0062), else Laterality (0020,0060) of the series, else the side in front of View
Position.

True patient orientations (``A\R``, ``A\FR``) name neither projection nor side for certain: ``A\F`` is
written for ML and for MLO, and R or L only tells where the medial side was hung. They are never used to
guess. Where two attributes contradict each other, the view is unknown.
"""

from __future__ import annotations

import re
from typing import Final

from pydicom.dataset import Dataset

from components.dicom_example_gen import tags
from components.dicom_example_gen.rejections import IngestError, RejectionReason, shown

# Code values of CID 4014: SNOMED CT, and the SNOMED RT codes that older systems write.
_VIEW_CODES: Final = {
    "399162004": "CC",
    "R-10242": "CC",
    "399368009": "MLO",
    "R-10226": "MLO",
    "399260004": "ML",
    "R-10224": "ML",
    "399352003": "LM",
    "R-10228": "LM",
    "399099002": "LMO",
    "R-10230": "LMO",
    "399196006": "FB",
    "R-10244": "FB",
    "399188001": "SIO",
    "R-102D0": "SIO",
    "441555000": "ISO",
    "R-40AAA": "ISO",
    "399192008": "XCCL",
    "R-1024A": "XCCL",
    "399101009": "XCCM",
    "R-1024B": "XCCM",
    "127457009": "SPECIMEN",
    "G-8310": "SPECIMEN",
}
# CID 4015 modifiers that leave the whole breast in its standard projection; all others make a special view.
_HARMLESS_MODIFIERS: Final = frozenset({"442581004", "R-40AB3", "442593008", "R-40ABE"})

# Further defined terms of View Position (0018,5101) in mammography, DICOM PS3.3 C.8.11.5.1.1 and older
# systems.
_OTHER_TERMS: Final = frozenset(
    {"XCC", "CV", "AT", "TAN", "RL", "RM", "RI", "RS", "ID", "AX", "AP", "PA", "LL", "LLO", "RLO"}
)

_STANDARD: Final = frozenset({"CC", "MLO"})
_KNOWN: Final = frozenset(_VIEW_CODES.values()) | _OTHER_TERMS
_SIDES: Final = {"R": "R", "L": "L", "RIGHT": "R", "LEFT": "L"}
_SUPPORTED: Final = "CC and MLO of one side, R or L, are supported; name the view in a manifest to override"


def parse_view(value: str) -> str | None:
    """Reads a view's name as people write it: ``CC_R``, ``R-CC``, ``RMLO``, ``Left MLO``.

    Returns:
        One of ``schema.features.VIEWS``, or None if the text names none of them.
    """
    compact = re.sub(r"[\s_\-.]+", "", value).upper()
    if match := re.fullmatch(r"(CC|MLO)(RIGHT|LEFT|R|L)", compact):
        projection, side = match.groups()
    elif match := re.fullmatch(r"(RIGHT|LEFT|R|L)(CC|MLO)", compact):
        side, projection = match.groups()
    else:
        return None
    return f"{projection}_{_SIDES[side]}"


def _coded_projection(dataset: Dataset, file: str) -> str | None:
    for item in tags.items(dataset, "ViewCodeSequence"):
        for modifier in tags.items(item, "ViewModifierCodeSequence"):
            if (value := tags.code(modifier, "CodeValue")) and value not in _HARMLESS_MODIFIERS:
                meaning = tags.text(modifier, "CodeMeaning") or value
                raise IngestError(
                    RejectionReason.UNSUPPORTED_VIEW,
                    file,
                    tags.tag_name("ViewModifierCodeSequence"),
                    shown(meaning),
                    "special views are left out, only standard CC and MLO are supported",
                )
        value = tags.code(item, "CodeValue")
        if value:
            return _VIEW_CODES.get(value, value)
    return None


def _split_position(position: str) -> tuple[str, str]:
    """Splits ``RMLO`` into projection and side; the side is empty where the text has none."""
    view = parse_view(position)
    if view:
        projection, side = view.split("_")
        return projection, side
    return position, ""


def _projection(dataset: Dataset, file: str) -> tuple[str, str, str]:
    """Returns projection, side named along with it (or empty), and the tag that said so."""
    coded = _coded_projection(dataset, file)
    position, side = _split_position(tags.code(dataset, "ViewPosition"))
    if coded and position in _KNOWN and coded != position:
        raise IngestError(
            RejectionReason.UNKNOWN_VIEW,
            file,
            f"{tags.tag_name('ViewPosition')} with {tags.tag_name('ViewCodeSequence')}",
            f"{shown(position)} with {shown(coded)}",
            "the two contradict each other; name the view in a manifest to override",
        )
    if coded:
        return coded, side, tags.tag_name("ViewCodeSequence")
    if position:
        return position, side, tags.tag_name("ViewPosition")
    orientation, side = _split_position(tags.code(dataset, "PatientOrientation"))
    if orientation in _STANDARD:
        return orientation, side, tags.tag_name("PatientOrientation")
    return "", "", tags.tag_name("ViewPosition")


def view_of(dataset: Dataset, file: str) -> str:
    """Tells which of the four views an image is.

    Args:
        dataset: DICOM header.
        file: File name for error messages.

    Returns:
        One of ``schema.features.VIEWS``.

    Raises:
        IngestError: ``unknown_view`` if the header does not say or contradicts itself, ``unsupported_view``
            if it names another projection or a special view.
    """
    projection, side_of_position, tag = _projection(dataset, file)
    if not projection:
        raise IngestError(RejectionReason.UNKNOWN_VIEW, file, tag, "absent", _SUPPORTED)
    if projection not in _STANDARD:
        reason = RejectionReason.UNSUPPORTED_VIEW if projection in _KNOWN else RejectionReason.UNKNOWN_VIEW
        raise IngestError(reason, file, tag, shown(projection), _SUPPORTED)
    tag, side = tags.tag_name("ImageLaterality"), tags.code(dataset, "ImageLaterality")
    if not side and (series_side := tags.code(dataset, "Laterality")):
        tag, side = tags.tag_name("Laterality"), series_side
    side = side or side_of_position
    if side not in _SIDES or (side_of_position and _SIDES[side] != side_of_position):
        raise IngestError(RejectionReason.UNKNOWN_VIEW, file, tag, shown(side), _SUPPORTED)
    return f"{projection}_{_SIDES[side]}"
