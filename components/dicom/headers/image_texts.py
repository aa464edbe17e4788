"""Synthetic 2D images and slices of a tomosynthesis that only a text names.

Consoles, proxies and people write these names in many ways (``L_CC_C-View``, ``ROUTINE_CVIEW_L_CC``, ``Tomo HD``), so a
text is taken apart into words first: accents and punctuation go, and letters part from the digits behind them. Only
texts of the image and its series are asked: those of the study (``2D and 3D screening``) and of the procedure step are
about all images of the visit.

Strengths of evidence:
    * names of products and unmistakable words decide wherever they stand;
    * ``3D`` and ``tomo`` alone decide only where the text does not name 2D or a combination of both as well
      (``2D + 3D``), and ``3D`` only in the fields that name the image;
    * Image Comments (0020,4000) are a person's note as often as a console's (``Recommend DBT``): they decide only where
      they say nothing but the name, beside view, side and such words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from pydicom.dataset import Dataset

from components.dicom.acceptance import SpecialCase
from components.dicom.headers import tags

# Fields that name the image, and fields that say how it was made or what somebody noted.
_NAMES: Final = ("SeriesDescription", "ProtocolName")
_NOTES: Final = (
    "AcquisitionDeviceProcessingDescription",
    "AcquisitionDeviceProcessingCode",
    "DerivationDescription",
)
_COMMENTS: Final = "ImageComments"
# A view and its side, written right before or behind a name: ``LMLOCVIEW``.
_VIEW: Final = "(?:[LR]?(?:CC|MLO|ML|LM))?"
# Hologic C-View and Intelligent 2D, Fujifilm S-View, GE V-Preview, Siemens Insight 2D; and plain words.
_SYNTHETIC: Final = re.compile(
    rf"\b(?:{_VIEW}[CS] ?VIEWS?{_VIEW}|{_VIEW}V(?:OL(?:UME)?)? ?PREVIEW"
    r"|(?:INSIGHT|INTELLIGENT|GENERATED|SYN|PSEUDO|I|S) 2 ?D"
    r"|E?SYNTH(?:ESI[SZ]ED?)?|E?S[IY]NTH?ET[IY]\w*|(?<!TOMO )(?:SYNTHESE|SINTESIS?|SINTESE)|SYNVIEW|SYNTHVIEW)\b"
)
_TOMO: Final = rf"{_VIEW}TOMO(?:S|SYNTH\w*|S?SINT\w*|GRAPH\w*|SCAN)?"
_PART: Final = r"(?:RECON\w*|SLICES?|SLABS?|PROJ\w*|PLANES?|VOLUMES?)"
# Hologic Tomo HD, Clarity HD and SmartSlices, GE SenoClaire; what is made of a volume.
_SLICE: Final = re.compile(
    rf"\b(?:{_TOMO} ?HD|CLARITY HD|SMART ?SLICES?|SENOCLAIRE|{_TOMO} (?:[23]D )?{_PART}|SLABS?|{_PART} (?:OF )?{_TOMO}"
    r"|(?:HR)?DBT|BTO|(?:INSIGHT|BREAST) 3 ?D)\b"
)
_TOMO_ALONE: Final = re.compile(rf"\b{_TOMO}\b")
_3D_ALONE: Final = re.compile(r"\b3 ?D\b")
_OF_BOTH: Final = re.compile(r"\b(?:2 ?D|FFDM|COMBO|NO|NON|NOT|WITHOUT)\b")
# What a comment may hold beside the name of the image, and be nothing but its name.
_BESIDE: Final = re.compile(
    r"[LR]|LEFT|RIGHT|[LR]?(?:X?CC[LM]?|MLO|ML|LM)|VIEWS?|IMAGES?|MAMMO\w*|BREAST|ROUTINE|SCREENING|[23] ?D|[0-9]+"
    r"|FROM|OF|BY|HOLOGIC|FUJIFILM|SIEMENS|GE|GENERATED|DERIVED|RECON\w*|SLICES?|SLABS?|PLANES?|VOLUMES?|PROJ\w*"
)
_LETTER_2D: Final = re.compile(r"[IS] 2 ?D")  # "I 2D" in a person's note is no product
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


def name_in_comment(text: str) -> tuple[SpecialCase, str] | None:
    """Finds what a comment names, if it says nothing but that."""
    words = words_of(text)
    rest = words
    for pattern in (_SYNTHETIC, _SLICE, _TOMO_ALONE):
        rest = pattern.sub(" ", rest)
    if not all(map(_BESIDE.fullmatch, rest.split())):
        return None
    if (found := synthetic_name(text)) and not _LETTER_2D.fullmatch(found):
        return SpecialCase.SYNTHETIC_2D, found
    found = tomosynthesis_name(text, names_the_image=False)
    return (SpecialCase.TOMOSYNTHESIS, found) if found else None


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
    comment = name_in_comment(tags.text(dataset, _COMMENTS))
    texts = [(tag, text, names) for tag, text, names in _texts(dataset) if text]
    found = [(SpecialCase.SYNTHETIC_2D, tag, synthetic_name(text)) for tag, text, _ in texts]
    found += [(SpecialCase.TOMOSYNTHESIS, tag, tomosynthesis_name(text, names)) for tag, text, names in texts]
    if comment is not None:
        found.append((comment[0], tags.tag_name(_COMMENTS), comment[1]))
    found.sort(key=lambda one: one[0] is not SpecialCase.SYNTHETIC_2D)
    return next((one for one in found if one[2]), None)
