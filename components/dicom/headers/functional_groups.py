"""Combine functional groups (PS3.3 C.7.6.16) and the root of an enhanced object into one header.

Breast Projection X-Ray and Breast Tomosynthesis images keep window, rescale, spacing and more in items of Shared and
Per-frame Functional Groups Sequence (5200,9229 and 5200,9230). This module copies them to the root, where other
mammograms have them. So all readers of a header can handle both kinds of objects in the same way.

Rules:
    * If a macro is in both sequences, the one of the frame is used.
    * A macro replaces everything with the same meaning at the root: a window of the group hides a VOI LUT of the root.
      The root of enhanced objects has none of these attributes in the standard, so a converter left them there. If the
      two differ, a remark says so.
    * A macro without attributes is ignored.
    * Laterality is the exception: Frame Laterality is not copied, and ``views`` compares it with Image Laterality.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from components.dicom.headers import tags
from components.dicom.rejections import IngestError, RejectionReason
from components.dicom.remarks import Remark

_SHARED: Final = "SharedFunctionalGroupsSequence"
_PER_FRAME: Final = "PerFrameFunctionalGroupsSequence"
# Sequence of a macro -> attributes of its item that the root also has, and other attributes of the root that they
# replace.
_MACROS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "FrameVOILUTSequence": (("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"), ()),
    "PixelValueTransformationSequence": (("RescaleSlope", "RescaleIntercept"), ("ModalityLUTSequence",)),
    "PixelMeasuresSequence": (("PixelSpacing",), ()),
    "FramePixelDataPropertiesSequence": (
        ("FrameType", "ImagerPixelSpacing", "PixelIntensityRelationship", "PixelIntensityRelationshipSign"),
        (),
    ),
    "XRay3DFrameTypeSequence": (("FrameType",), ()),
    "XRayGeometrySequence": (("EstimatedRadiographicMagnificationFactor",), ()),
    "PatientOrientationInFrameSequence": (("PatientOrientation",), ()),
}
# Sequences that only have to be present.
_WHOLE: Final = ("BiopsyTargetSequence",)


@dataclass(frozen=True, eq=False)
class EffectiveHeader:
    """A header as one data set.

    Attributes:
        dataset: The root with the attributes of the functional groups; the given data set if there are no groups.
        remarks: Remarks on the header.
    """

    dataset: Dataset
    remarks: tuple[Remark, ...] = ()


def _attributes(group: Dataset | None, macro: str) -> Dataset:
    """Return the attributes of a macro in a group that have a value, unconverted."""
    found = Dataset()
    items = tags.items(group, macro) if group is not None else ()
    for keyword in _MACROS[macro][0] if items else ():
        if keyword in items[0] and tags.has_value(items[0], keyword):
            found[Tag(keyword)] = items[0].get_item(keyword)
    return found


def _same(first: Dataset, second: Dataset, keyword: str) -> bool:
    if tags.is_sequence(keyword):
        return tags.items(first, keyword) == tags.items(second, keyword)
    return tags.text(first, keyword) == tags.text(second, keyword)


def effective_header(dataset: Dataset) -> EffectiveHeader:
    """Copy the attributes of the functional groups of the first frame to the root.

    Args:
        dataset: DICOM header as parsed; it is not changed.

    Returns:
        The header.
    """
    shared, frame = (next(iter(tags.items(dataset, keyword)), None) for keyword in (_SHARED, _PER_FRAME))
    if shared is None and frame is None:
        return EffectiveHeader(dataset)
    result = copy.copy(dataset)
    for group in (shared, frame):
        for keyword in _WHOLE:
            if group is not None and tags.items(group, keyword):
                result[Tag(keyword)] = group.get_item(keyword)
    contradicted = False
    for macro, (keywords, replaced) in _MACROS.items():
        found = _attributes(frame, macro) or _attributes(shared, macro)
        if not found:
            continue
        for keyword in (*keywords, *replaced):
            if keyword in dataset and tags.has_value(dataset, keyword):
                contradicted = contradicted or keyword not in found or not _same(dataset, found, keyword)
                del result[keyword]
        for keyword in keywords:
            if keyword in found:
                result[Tag(keyword)] = found.get_item(keyword)
    return EffectiveHeader(result, (Remark.FUNCTIONAL_GROUPS_OVER_ROOT,) if contradicted else ())


def require_one_frame_group(dataset: Dataset, file: str) -> None:
    """Reject an image of one frame that has different groups for several frames, as an extract of a volume can have.

    Raises:
        IngestError: ``malformed_header``, because it is not known which group belongs to the frame.
    """
    first, *others = tags.items(dataset, _PER_FRAME) or (None,)
    for macro in _MACROS:
        for group in others:
            of_first, of_other = _attributes(first, macro), _attributes(group, macro)
            if set(of_first.keys()) != set(of_other.keys()) or not all(
                _same(of_first, of_other, keyword) for keyword in _MACROS[macro][0]
            ):
                value, remedy = f"{1 + len(others)} items", "an image of one frame has one, export it again"
                raise IngestError(RejectionReason.MALFORMED_HEADER, file, tags.tag_name(_PER_FRAME), value, remedy)
