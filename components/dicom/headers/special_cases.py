"""Find the evidence in a header for each special case (``rejections.SPECIAL_CASES``).

View modifiers are in ``views``. These decisions do not follow directly from the standard:

* **Synthetic 2D** is Image Type value 4 ``GENERATED_2D`` (PS3.3 C.8.11.7.1.4). Older systems only name a product in a
  text. ``DERIVED`` is no evidence: Hologic writes it on every mammogram.
* **Tomosynthesis** is the SOP class, Image Type ``TOMO...`` or ``VOLUME``, or a text. So slices that were saved as
  mammograms or secondary captures are found too. Only single frames can be accepted: no slice of a volume represents
  the view.
* **Contrast** mammography: the low-energy image is an ordinary image; sums, differences and high-energy images are
  special.
* **Magnification** is a modifier, the description of the paddle, or a factor above 1.3. Contact views have 1.0 to 1.1,
  magnification views 1.5 to 2.
* **Lossy** is Lossy Image Compression ``01`` with a ratio above the limit; of several ratios the highest counts. An
  image without a ratio is accepted.

Texts name synthetic images and slices in many ways (``L_CC_C-View``, ``ROUTINE_CVIEW_L_CC``, ``Tomo HD``), so a text is
first split into words: accents and punctuation are removed, and letters are separated from the digits after them. Only
texts of the image and its series are read. Texts of the study (``2D and 3D screening``) and of the procedure step are
about all images of the visit.

Strengths of evidence in texts:
    * names of products and unambiguous words count at any position;
    * a single ``3D`` or ``tomo`` counts only if the text does not also name 2D or a combination of both (``2D + 3D``),
      and ``3D`` only in the fields that name the image;
    * Image Comments (0020,4000) are often a note of a person (``Recommend DBT``). They count only if they contain
      nothing but the name, view, side and similar words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import (
    BreastProjectionXRayImageStorageForProcessing,
    BreastTomosynthesisImageStorage,
    DigitalMammographyXRayImageStorageForProcessing,
)

from components.dicom.headers import tags
from components.dicom.headers.views import coded_projections, modifiers_of
from components.dicom.rejections import SPECIAL_CASES, AcceptanceConfig, IngestError, RejectionReason, printable

# Fields that name the image, and fields that describe its processing or contain notes.
_NAMES: Final = ("SeriesDescription", "ProtocolName")
_NOTES: Final = (
    "AcquisitionDeviceProcessingDescription",
    "AcquisitionDeviceProcessingCode",
    "DerivationDescription",
)
_COMMENTS: Final = "ImageComments"
# A view and its side directly before or after a name: ``LMLOCVIEW``.
_VIEW: Final = "(?:[LR]?(?:CC|MLO|ML|LM))?"
# Hologic C-View and Intelligent 2D, Fujifilm S-View, GE V-Preview, Siemens Insight 2D; and general words.
_SYNTHETIC: Final = re.compile(
    rf"\b(?:{_VIEW}[CS] ?VIEWS?{_VIEW}|{_VIEW}V(?:OL(?:UME)?)? ?PREVIEW"
    r"|(?:INSIGHT|INTELLIGENT|GENERATED|SYN|PSEUDO|I|S) 2 ?D"
    r"|E?SYNTH(?:ESI[SZ]ED?)?|E?S[IY]NTH?ET[IY]\w*|(?<!TOMO )(?:SYNTHESE|SINTESIS?|SINTESE)|SYNVIEW|SYNTHVIEW)\b"
)
_TOMO: Final = rf"{_VIEW}TOMO(?:S|SYNTH\w*|S?SINT\w*|GRAPH\w*|SCAN)?"
_PART: Final = r"(?:RECON\w*|SLICES?|SLABS?|PROJ\w*|PLANES?|VOLUMES?)"
# Hologic Tomo HD, Clarity HD and SmartSlices, GE SenoClaire; images that are made from a volume.
_SLICE: Final = re.compile(
    rf"\b(?:{_TOMO} ?HD|CLARITY HD|SMART ?SLICES?|SENOCLAIRE|{_TOMO} (?:[23]D )?{_PART}|SLABS?|{_PART} (?:OF )?{_TOMO}"
    r"|(?:HR)?DBT|BTO|(?:INSIGHT|BREAST) 3 ?D)\b"
)
_TOMO_ALONE: Final = re.compile(rf"\b{_TOMO}\b")
_3D_ALONE: Final = re.compile(r"\b3 ?D\b")
_OF_BOTH: Final = re.compile(r"\b(?:2 ?D|FFDM|COMBO|NO|NON|NOT|WITHOUT)\b")
# Words that a comment can contain beside the name of the image and still be only a name.
_BESIDE: Final = re.compile(
    r"[LR]|LEFT|RIGHT|[LR]?(?:X?CC[LM]?|MLO|ML|LM)|VIEWS?|IMAGES?|MAMMO\w*|BREAST|ROUTINE|SCREENING|[23] ?D|[0-9]+"
    r"|FROM|OF|BY|HOLOGIC|FUJIFILM|SIEMENS|GE|GENERATED|DERIVED|RECON\w*|SLICES?|SLABS?|PLANES?|VOLUMES?|PROJ\w*"
)
_LETTER_2D: Final = re.compile(r"[IS] 2 ?D")  # "I 2D" in a note is not a product
_SYSTEM_NAME: Final = re.compile(r"\b3 ?DIMENSIONS?\b")  # Hologic's system, which makes both kinds of images


def normalised_words(text: str) -> str:
    """Return the words of a text in capitals, with single blanks: ``L_CC_C-View2`` becomes ``L CC C VIEW 2``."""
    plain = text.upper().replace("'", "")
    if not plain.isascii():
        plain = unicodedata.normalize("NFKD", text).upper()
        plain = "".join(c for c in plain if not unicodedata.combining(c) and c not in "'’")
    parts = re.sub(r"[^A-Z0-9]+", " ", plain)
    parts = re.sub(r"(?<=[A-Z])(?=[0-9])|(?<=[23]D)(?=[A-Z])", " ", _SYSTEM_NAME.sub(" ", parts))
    return parts.strip()


def synthetic_name(text: str) -> str:
    """Return the words of a text that name a synthetic 2D image; empty = none."""
    match = _SYNTHETIC.search(normalised_words(text))
    return match.group() if match else ""


def tomosynthesis_name(text: str, names_the_image: bool) -> str:
    """Return the words of a text that name a slice of a tomosynthesis; empty = none."""
    words = normalised_words(text)
    if match := _SLICE.search(words):
        return match.group()
    if _OF_BOTH.search(words):
        return ""
    match = _TOMO_ALONE.search(words) or (_3D_ALONE.search(words) if names_the_image else None)
    return match.group() if match else ""


def name_in_comment(text: str) -> tuple[RejectionReason, str] | None:
    """Return the special case that a comment names, and its words; None if the comment contains anything else."""
    words = normalised_words(text)
    rest = words
    for pattern in (_SYNTHETIC, _SLICE, _TOMO_ALONE):
        rest = pattern.sub(" ", rest)
    if not all(map(_BESIDE.fullmatch, rest.split())):
        return None
    if (found := synthetic_name(text)) and not _LETTER_2D.fullmatch(found):
        return RejectionReason.SYNTHETIC_2D, found
    found = tomosynthesis_name(text, names_the_image=False)
    return (RejectionReason.TOMOSYNTHESIS, found) if found else None


def _texts(dataset: Dataset) -> Iterable[tuple[str, str, bool]]:
    """Yield the tag, the text, and True if the tag names the image."""
    yield tags.tag_name("ImageType"), " ".join(tags.code(dataset, "ImageType").split("\\")[2:]), False
    for keyword in (*_NAMES, *_NOTES):
        yield tags.tag_name(keyword), tags.text(dataset, keyword), keyword in _NAMES


def named_in_text(dataset: Dataset) -> tuple[RejectionReason, str, str] | None:
    """Find a synthetic 2D image or a slice of a tomosynthesis in the texts of its header.

    Args:
        dataset: DICOM header.

    Returns:
        The special case, the name of the tag, and the words that name it; None if there is none. If texts name both,
        the image is synthetic, because synthetic images are made from a tomosynthesis.
    """
    comment = name_in_comment(tags.text(dataset, _COMMENTS))
    texts = [(tag, text, names) for tag, text, names in _texts(dataset) if text]
    found = [(RejectionReason.SYNTHETIC_2D, tag, synthetic_name(text)) for tag, text, _ in texts]
    found += [(RejectionReason.TOMOSYNTHESIS, tag, tomosynthesis_name(text, names)) for tag, text, names in texts]
    if comment is not None:
        found.append((comment[0], tags.tag_name(_COMMENTS), comment[1]))
    found.sort(key=lambda one: one[0] is not RejectionReason.SYNTHETIC_2D)
    return next((one for one in found if one[2]), None)


_MAX_MAGNIFICATION: Final = 1.3
_FOR_PROCESSING_CLASSES: Final = (
    DigitalMammographyXRayImageStorageForProcessing,
    BreastProjectionXRayImageStorageForProcessing,
)
# Image Type value 3 of biopsies, PS3.3 tables C.8-74a and C.8.21.6-1a.
_BIOPSY: Final = re.compile(r"STEREO_.*|(PREFIRE|POSTFIRE|POSTBIOPSY|POSTMARKER)(_.*)?|TOMO_SCOUT")
_TOMOSYNTHESIS: Final = re.compile(r"TOMO.*|VOLUME")
# Image Type values 4 and 5, PS3.3 tables C.8-74d and C.8-74e; RECOMBINED is an older term of some systems.
_CONTRAST: Final = frozenset({"ADDITION", "SUBTRACTION", "HIGH_ENERGY", "RECOMBINED"})

# Words of Paddle Description (0018,11A4), such as Hologic's "7.5CM SPOT CONTACT" and "10CM MAG".
_PADDLES: Final = {
    RejectionReason.SPOT_COMPRESSION: re.compile(r"\bSPOT\b"),
    RejectionReason.MAGNIFICATION: re.compile(r"\bMAG(?:NIF\w*)?\b"),
    RejectionReason.BIOPSY: re.compile(r"\b(?:BIOPSY|NEEDLE LOC\w*)\b"),
}

# Special case, name of the tag that is the evidence, its value.
HeaderFinding = tuple[RejectionReason, str, str]


def sop_class(dataset: Dataset) -> str:
    """Return the SOP class of the data set; if it has none, that of the file meta information."""
    meta = getattr(dataset, "file_meta", None)
    stated = tags.text(dataset, "SOPClassUID")
    return stated or (tags.text(meta, "MediaStorageSOPClassUID") if meta is not None else "")


def is_for_processing(dataset: Dataset) -> bool:
    """Return True if the image has raw detector values, not values for presentation."""
    intent = tags.code(dataset, "PresentationIntentType")
    return intent == "FOR PROCESSING" or sop_class(dataset) in _FOR_PROCESSING_CLASSES


def _flags(dataset: Dataset) -> Iterator[HeaderFinding]:
    for keyword, case in (
        ("QualityControlImage", RejectionReason.QUALITY_CONTROL),
        ("BreastImplantPresent", RejectionReason.IMPLANT_PRESENT),
        ("PartialView", RejectionReason.PARTIAL_VIEW),
        ("BurnedInAnnotation", RejectionReason.BURNED_IN_ANNOTATION),
    ):
        if tags.code(dataset, keyword) == "YES":
            yield case, tags.tag_name(keyword), "YES"


def _image_type(dataset: Dataset) -> Iterator[HeaderFinding]:
    # Enhanced objects have a Frame Type, and their Image Type can be MIXED.
    flavours = [f for keyword in ("ImageType", "FrameType") for f in tags.code(dataset, keyword).split("\\")[2:]]
    tag, value = tags.tag_name("ImageType"), printable("\\".join(flavours))
    of_tomosynthesis = sop_class(dataset) == BreastTomosynthesisImageStorage
    biopsy = any(map(_BIOPSY.fullmatch, flavours))
    if biopsy:
        yield RejectionReason.BIOPSY, tag, value
    elif tags.items(dataset, "BiopsyTargetSequence"):
        yield RejectionReason.BIOPSY, tags.tag_name("BiopsyTargetSequence"), "present"
    named = named_in_text(dataset)
    if "GENERATED_2D" in flavours:
        yield RejectionReason.SYNTHETIC_2D, tag, value
    elif named is not None and named[0] is RejectionReason.SYNTHETIC_2D:
        yield named
    elif of_tomosynthesis:
        yield RejectionReason.TOMOSYNTHESIS, tags.tag_name("SOPClassUID"), BreastTomosynthesisImageStorage.name
    elif any(map(_TOMOSYNTHESIS.fullmatch, flavours)):
        yield RejectionReason.TOMOSYNTHESIS, tag, value
    elif named is not None:
        yield named
    if _CONTRAST.intersection(flavours):
        yield RejectionReason.CONTRAST_ENHANCED, tag, value


def _geometry(dataset: Dataset) -> Iterator[HeaderFinding]:
    if "SPECIMEN" in coded_projections(dataset) or tags.code(dataset, "ViewPosition") == "SPECIMEN":
        yield RejectionReason.SPECIMEN, tags.tag_name("ViewCodeSequence"), "specimen"
    modifiers = modifiers_of(dataset)
    yield from ((case, tag, value) for case, (tag, value) in modifiers.items())
    paddle = normalised_words(tags.text(dataset, "PaddleDescription"))
    for case, pattern in _PADDLES.items():
        if case not in modifiers and (match := pattern.search(paddle)):
            yield case, tags.tag_name("PaddleDescription"), match.group()
    factor = tags.first_number(dataset, "EstimatedRadiographicMagnificationFactor")
    if factor is not None and factor > _MAX_MAGNIFICATION and RejectionReason.MAGNIFICATION not in modifiers:
        tag = tags.tag_name("EstimatedRadiographicMagnificationFactor")
        yield RejectionReason.MAGNIFICATION, tag, f"{factor:g}"


def _encoding(dataset: Dataset, max_lossy_ratio: float) -> Iterator[HeaderFinding]:
    if is_for_processing(dataset):
        yield RejectionReason.FOR_PROCESSING, tags.tag_name("PresentationIntentType"), "FOR PROCESSING"
    ratio = max(tags.numbers(dataset, "LossyImageCompressionRatio"), default=0.0)
    if tags.text(dataset, "LossyImageCompression") == "01" and ratio > max_lossy_ratio:
        yield RejectionReason.LOSSY_COMPRESSION, tags.tag_name("LossyImageCompressionRatio"), f"{ratio:g}"


def find_special_cases(dataset: Dataset, max_lossy_ratio: float) -> list[HeaderFinding]:
    """List the special cases that a header names, each once, in the order of ``SPECIAL_CASES``.

    Args:
        dataset: DICOM header.
        max_lossy_ratio: Highest ratio of lossy compression of an ordinary image.

    Returns:
        Special case, name of the tag that is the evidence, and its value.
    """
    found = {
        finding[0]: finding
        for source in (_geometry(dataset), _image_type(dataset), _flags(dataset), _encoding(dataset, max_lossy_ratio))
        for finding in source
    }
    return [found[case] for case in SPECIAL_CASES if case in found]


def require_accepted(dataset: Dataset, file: str, acceptance: AcceptanceConfig) -> tuple[RejectionReason, ...]:
    """Reject an image that is a special case which the configuration does not accept.

    Args:
        dataset: DICOM header.
        file: File name for error messages.
        acceptance: Accepted special cases.

    Returns:
        The accepted special cases of the image.

    Raises:
        IngestError: The reason is the first special case that is not accepted.
    """
    found = find_special_cases(dataset, acceptance.max_lossy_ratio)
    for case, tag, value in found:
        if case not in acceptance.accept:
            remedy = f"special images are rejected, add {case.value} to pipeline.ingest.accept to accept them"
            raise IngestError(case, file, tag, value, remedy)
    return tuple(case for case, _, _ in found)
