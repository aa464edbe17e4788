"""Synthetic 2D images and slices of a tomosynthesis that only a text names.

Consoles, proxies and people write these names in many ways (``L_CC_C-View``, ``ROUTINE_CVIEW_L_CC``, ``Tomo HD``), so a
text is taken apart into words first: accents and punctuation go, and letters part from the digits behind them. Only
texts of the image and its series are asked: those of the study (``2D and 3D screening``) and of the procedure step are
about all images of the visit.

Two strengths of evidence:
    * names of products and unmistakable words decide wherever they stand;
    * ``3D`` and ``tomo`` alone decide only where the text does not name 2D or a combination of both as well
      (``2D + 3D``), and ``3D`` only in the fields that name the image.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from pydicom.dataset import Dataset

from components.dicom_example_gen import tags
from components.dicom_example_gen.acceptance import SpecialCase

# Fields that name the image, and fields that say how it was made or what somebody noted.
_NAMES: Final = ("SeriesDescription", "ProtocolName")
_NOTES: Final = (
    "AcquisitionDeviceProcessingDescription",
    "AcquisitionDeviceProcessingCode",
    "DerivationDescription",
    "ImageComments",
)
# A view and its side, written right before or behind a name: ``LMLOCVIEW``.
_VIEW: Final = "(?:[LR]?(?:CC|MLO|ML|LM))?"
# Hologic C-View and Intelligent 2D, Fujifilm S-View, GE V-Preview, Siemens Insight 2D; and plain words.
_SYNTHETIC: Final = re.compile(
    rf"\b(?:{_VIEW}[CS] ?VIEWS?{_VIEW}|{_VIEW}V ?PREVIEW|(?:INSIGHT|INTELLIGENT|GENERATED|SYN|PSEUDO|I|S) 2 ?D"
    r"|E?SYNTH(?:ETI[CQ]\w*|ESI[SZ]ED?|ETISCH\w*)?|SINTETIC[AOHEI]\w*|SYNVIEW|SYNTHVIEW)\b"
)
_TOMO: Final = rf"{_VIEW}TOMO(?:S|SYNTH\w*|SINT\w*|GRAPH\w*|SCAN)?"
_PART: Final = r"(?:RECON\w*|SLICES?|SLABS?|PROJ\w*|PLANES?|VOLUMES?)"
# Hologic Tomo HD, Clarity HD and SmartSlices, GE SenoClaire; what is made of a volume.
_SLICE: Final = re.compile(
    rf"\b(?:{_TOMO} ?HD|CLARITY HD|SMART ?SLICES?|SENOCLAIRE|{_TOMO} {_PART}|{_PART} (?:OF )?{_TOMO}|(?:HR)?DBT|BTO"
    r"|(?:INSIGHT|BREAST) 3 ?D)\b"
)
_TOMO_ALONE: Final = re.compile(rf"\b{_TOMO}\b")
_3D_ALONE: Final = re.compile(r"\b3 ?D\b")
_OF_BOTH: Final = re.compile(r"\b(?:2 ?D|FFDM|COMBO|NO|NON|NOT|WITHOUT)\b")
_SYSTEM_NAME: Final = re.compile(r"\b3 ?DIMENSIONS?\b")  # Hologic's machine, which takes both


def words_of(text: str) -> str:
    """Returns a text's words in capitals with single blanks between: ``L_CC_C-View2`` gives ``L CC C VIEW 2``."""
    plain = unicodedata.normalize("NFKD", text).upper()
    plain = "".join(c for c in plain if not unicodedata.combining(c) and c not in "'’")
    parts = re.sub(r"[^A-Z0-9]+", " ", plain)
    parts = re.sub(r"(?<=[A-Z])(?=[0-9])|(?<=[23]D)(?=[A-Z])", " ", _SYSTEM_NAME.sub(" ", parts))
    return parts.strip()


def synthetic_name(text: str) -> str:
    """Returns the words of a text that name a synthetic 2D image, empty = none."""
    match = _SYNTHETIC.search(words_of(text))
    return match.group() if match else ""


def tomosynthesis_name(text: str, names_the_image: bool) -> str:
    """Returns the words of a text that name a slice of a tomosynthesis, empty = none."""
    words = words_of(text)
    if match := _SLICE.search(words):
        return match.group()
    if _OF_BOTH.search(words):
        return ""
    match = _TOMO_ALONE.search(words) or (_3D_ALONE.search(words) if names_the_image else None)
    return match.group() if match else ""


def _texts(dataset: Dataset) -> Iterable[tuple[str, str, bool]]:
    """Returns tag, text, and whether the tag names the image."""
    yield tags.tag_name("ImageType"), " ".join(tags.code(dataset, "ImageType").split("\\")[2:]), False
    for keyword in (*_NAMES, *_NOTES):
        yield tags.tag_name(keyword), tags.text(dataset, keyword), keyword in _NAMES


def named_in_text(dataset: Dataset) -> tuple[SpecialCase, str, str] | None:
    """Finds a synthetic 2D image or a slice of a tomosynthesis by the texts of its header.

    Args:
        dataset: DICOM header.

    Returns:
        The special case, the name of the tag, and the words that tell it; None where no text tells. A text that names
        both is of a synthetic image, which is made of a tomosynthesis.
    """
    texts = [(tag, text, names) for tag, text, names in _texts(dataset) if text]
    for tag, text, _ in texts:
        if words := synthetic_name(text):
            return SpecialCase.SYNTHETIC_2D, tag, words
    for tag, text, names in texts:
        if words := tomosynthesis_name(text, names):
            return SpecialCase.TOMOSYNTHESIS, tag, words
    return None
