"""The evidence in a header for each special case (``acceptance.SpecialCase``).

View modifiers are in ``views``. Decisions that are not plain from the standard:

* **Synthetic 2D** is Image Type value 4 ``GENERATED_2D`` (PS3.3 C.8.11.7.1.4), and for systems from before that term a
  product's name in a text (``image_texts``). ``DERIVED`` alone is no evidence: Hologic writes it on every mammogram.
* **Tomosynthesis** is the SOP class, Image Type ``TOMO...`` or ``VOLUME``, or a text that says so, so slices saved as
  mammograms or secondary captures are found. Only single frames can be accepted: no slice of a volume stands for the
  view.
* **Contrast** mammography: the low-energy image is like any other and passes; sums, differences and high-energy images
  are special.
* **Magnification**: modifier, the paddle's description, or a factor above 1.3. Contact views have 1.0 to 1.1,
  magnification views 1.5 to 2.
* **Lossy**: Lossy Image Compression ``01`` with a ratio above the limit, the highest where there are several. Without a
  ratio nothing is known to be wrong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    BreastProjectionXRayImageStorageForProcessing,
    BreastTomosynthesisImageStorage,
    DigitalMammographyXRayImageStorageForProcessing,
)

from components.dicom.acceptance import AcceptanceConfig, SpecialCase
from components.dicom.headers import tags
from components.dicom.headers.image_texts import named_in_text, words_of
from components.dicom.headers.views import coded_projections, modifiers_of
from components.dicom.rejections import IngestError, shown

_MAX_MAGNIFICATION: Final = 1.3
_FOR_PROCESSING_CLASSES: Final = (
    DigitalMammographyXRayImageStorageForProcessing,
    BreastProjectionXRayImageStorageForProcessing,
)
# Image Type value 3 of biopsies, PS3.3 tables C.8-74a and C.8.21.6-1a.
_BIOPSY: Final = re.compile(r"STEREO_.*|(PREFIRE|POSTFIRE|POSTBIOPSY|POSTMARKER)(_.*)?|TOMO_SCOUT")
_TOMOSYNTHESIS: Final = re.compile(r"TOMO.*|VOLUME")
# Image Type values 4 and 5, PS3.3 tables C.8-74d and C.8-74e; RECOMBINED as systems wrote before.
_CONTRAST: Final = frozenset({"ADDITION", "SUBTRACTION", "HIGH_ENERGY", "RECOMBINED"})

# Words of Paddle Description (0018,11A4), such as Hologic's "7.5CM SPOT CONTACT" and "10CM MAG".
_PADDLES: Final = {
    SpecialCase.SPOT_COMPRESSION: re.compile(r"\bSPOT\b"),
    SpecialCase.MAGNIFICATION: re.compile(r"\bMAG(?:NIF\w*)?\b"),
    SpecialCase.BIOPSY: re.compile(r"\b(?:BIOPSY|NEEDLE LOC\w*)\b"),
}

# Special case, name of the tag that says so, value.
Finding = tuple[SpecialCase, str, str]


def sop_class(dataset: Dataset) -> str:
    """Returns the SOP class of the data set, or of the file meta information where the data set names none."""
    meta = getattr(dataset, "file_meta", None)
    stated = tags.text(dataset, "SOPClassUID")
    return stated or (tags.text(meta, "MediaStorageSOPClassUID") if meta is not None else "")


def is_for_processing(dataset: Dataset) -> bool:
    """Tells raw detector values from an image made to be looked at."""
    intent = tags.code(dataset, "PresentationIntentType")
    return intent == "FOR PROCESSING" or sop_class(dataset) in _FOR_PROCESSING_CLASSES


def _flags(dataset: Dataset) -> Iterator[Finding]:
    for keyword, case in (
        ("QualityControlImage", SpecialCase.QUALITY_CONTROL),
        ("BreastImplantPresent", SpecialCase.IMPLANT_PRESENT),
        ("PartialView", SpecialCase.PARTIAL_VIEW),
        ("BurnedInAnnotation", SpecialCase.BURNED_IN_ANNOTATION),
    ):
        if tags.code(dataset, keyword) == "YES":
            yield case, tags.tag_name(keyword), "YES"


def _image_type(dataset: Dataset) -> Iterator[Finding]:
    # Frame Type is that of enhanced objects, whose Image Type may say MIXED.
    flavours = [f for keyword in ("ImageType", "FrameType") for f in tags.code(dataset, keyword).split("\\")[2:]]
    tag, value = tags.tag_name("ImageType"), shown("\\".join(flavours))
    of_tomosynthesis = sop_class(dataset) == BreastTomosynthesisImageStorage
    biopsy = any(map(_BIOPSY.fullmatch, flavours))
    if biopsy:
        yield SpecialCase.BIOPSY, tag, value
    elif tags.items(dataset, "BiopsyTargetSequence"):
        yield SpecialCase.BIOPSY, tags.tag_name("BiopsyTargetSequence"), "present"
    named = named_in_text(dataset)
    if "GENERATED_2D" in flavours:
        yield SpecialCase.SYNTHETIC_2D, tag, value
    elif named is not None and named[0] is SpecialCase.SYNTHETIC_2D:
        yield named
    elif of_tomosynthesis:
        yield SpecialCase.TOMOSYNTHESIS, tags.tag_name("SOPClassUID"), BreastTomosynthesisImageStorage.name
    elif any(map(_TOMOSYNTHESIS.fullmatch, flavours)):
        yield SpecialCase.TOMOSYNTHESIS, tag, value
    elif named is not None:
        yield named
    if _CONTRAST.intersection(flavours):
        yield SpecialCase.CONTRAST_ENHANCED, tag, value


def _geometry(dataset: Dataset) -> Iterator[Finding]:
    if "SPECIMEN" in coded_projections(dataset) or tags.code(dataset, "ViewPosition") == "SPECIMEN":
        yield SpecialCase.SPECIMEN, tags.tag_name("ViewCodeSequence"), "specimen"
    modifiers = modifiers_of(dataset)
    yield from ((case, tag, value) for case, (tag, value) in modifiers.items())
    paddle = words_of(tags.text(dataset, "PaddleDescription"))
    for case, pattern in _PADDLES.items():
        if case not in modifiers and (match := pattern.search(paddle)):
            yield case, tags.tag_name("PaddleDescription"), match.group()
    factor = tags.number(dataset, "EstimatedRadiographicMagnificationFactor")
    if factor is not None and factor > _MAX_MAGNIFICATION and SpecialCase.MAGNIFICATION not in modifiers:
        tag = tags.tag_name("EstimatedRadiographicMagnificationFactor")
        yield SpecialCase.MAGNIFICATION, tag, f"{factor:g}"


def _encoding(dataset: Dataset, max_lossy_ratio: float) -> Iterator[Finding]:
    if is_for_processing(dataset):
        yield SpecialCase.FOR_PROCESSING, tags.tag_name("PresentationIntentType"), "FOR PROCESSING"
    ratio = max(tags.numbers(dataset, "LossyImageCompressionRatio"), default=0.0)
    if tags.text(dataset, "LossyImageCompression") == "01" and ratio > max_lossy_ratio:
        yield SpecialCase.LOSSY_COMPRESSION, tags.tag_name("LossyImageCompressionRatio"), f"{ratio:g}"


def find_special_cases(dataset: Dataset, max_lossy_ratio: float) -> list[Finding]:
    """Lists the special cases that a header names, each once, in the order of ``SpecialCase``.

    Args:
        dataset: DICOM header.
        max_lossy_ratio: Highest ratio of lossy compression that is ordinary.

    Returns:
        Special case, name of the tag that says so, and its value.
    """
    found = {
        finding[0]: finding
        for source in (_geometry(dataset), _image_type(dataset), _flags(dataset), _encoding(dataset, max_lossy_ratio))
        for finding in source
    }
    return [found[case] for case in SpecialCase if case in found]


def require_accepted(dataset: Dataset, file: str, acceptance: AcceptanceConfig) -> tuple[SpecialCase, ...]:
    """Rejects an image that is special in a way that the configuration does not accept.

    Args:
        dataset: DICOM header.
        file: File name for error messages.
        acceptance: What is accepted.

    Returns:
        The special cases that the image is accepted with.

    Raises:
        IngestError: The first special case that is not accepted is its reason.
    """
    found = find_special_cases(dataset, acceptance.max_lossy_ratio)
    for case, tag, value in found:
        if case not in acceptance.accept:
            remedy = f"special images are left out, add {case.value} to pipeline.ingest.accept to take them"
            raise IngestError(case.reason, file, tag, value, remedy)
    return tuple(case for case, _, _ in found)
