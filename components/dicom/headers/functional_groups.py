"""One header of an image whose attributes are in functional groups (PS3.3 C.7.6.16), as enhanced objects have them.

Breast Projection X-Ray and Breast Tomosynthesis images keep window, rescale, spacing and more in items of Shared and
Per-frame Functional Groups Sequence (5200,9229 and 5200,9230). They are put where other mammograms have them, at the
root, so that all who read the header read both kinds alike.

Rules:
    * Of a macro that the standard puts into one of the two sequences, the frame's wins over the shared one.
    * A macro replaces all that stands for it at the root: a window of the group hides a VOI LUT of the root. The root
      of enhanced objects has none of these attributes, so what is there was left by a converter. If the two differ,
      that is told.
    * A macro that holds none of its attributes is none.
    * Sides are the exception: Frame Laterality stays what it is, for ``views`` to hold against Image Laterality.
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
# Sequence of a macro -> attributes of its item that the root has too, and those of the root that it replaces with them.
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
# Macros of which it matters that they are there.
_WHOLE: Final = ("BiopsyTargetSequence",)


@dataclass(frozen=True, eq=False)
class EffectiveHeader:
    """A header as one data set.

    Attributes:
        dataset: The root with what the functional groups hold; the data set itself where there are none.
        remarks: What must be told of it.
    """

    dataset: Dataset
    remarks: tuple[Remark, ...] = ()


def _attributes(group: Dataset | None, macro: str) -> Dataset:
    """Returns the attributes of a macro in a group that have a value, unread."""
    found = Dataset()
    items = tags.items(group, macro) if group is not None else ()
    for keyword in _MACROS[macro][0] if items else ():
        if keyword in items[0] and not tags.is_empty(items[0], keyword):
            found[Tag(keyword)] = items[0].get_item(keyword)
    return found


def _same(first: Dataset, second: Dataset, keyword: str) -> bool:
    if tags.is_sequence(keyword):
        return tags.items(first, keyword) == tags.items(second, keyword)
    return tags.text(first, keyword) == tags.text(second, keyword)


def effective_header(dataset: Dataset) -> EffectiveHeader:
    """Puts the attributes of the functional groups of the first frame to the root.

    Args:
        dataset: DICOM header as it was parsed; it is not changed.

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
            if keyword in dataset and not tags.is_empty(dataset, keyword):
                contradicted = contradicted or keyword not in found or not _same(dataset, found, keyword)
                del result[keyword]
        for keyword in keywords:
            if keyword in found:
                result[Tag(keyword)] = found.get_item(keyword)
    return EffectiveHeader(result, (Remark.FUNCTIONAL_GROUPS_OVER_ROOT,) if contradicted else ())


def require_one_frame_group(dataset: Dataset, file: str) -> None:
    """Rejects an image of one frame with the groups of several, as it is left of a volume, where they differ.

    Raises:
        IngestError: ``malformed_header``, which group is the frame's is not known.
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
