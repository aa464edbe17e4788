"""Access to DICOM elements that never raises, whatever bytes a hostile or broken file holds.

Converting a value takes microseconds, and a header of some megabytes may hold millions: an element of more bytes than
any real one is unreadable, as one is that cannot be converted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
from pydicom.datadict import dictionary_description, dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as ItemSequence
from pydicom.tag import BaseTag, Tag

from components.dicom.headers.decimals import parse_decimal

_MAX_BYTES: Final = 1 << 15  # of an element; real ones have hundreds, texts (LT) up to 10,240 letters
_MAX_LUT_BYTES: Final = 1 << 18  # LUT Data: 65,536 entries, with room
_LUT_DATA: Final = 0x00283006
_UNREADABLE: Final = ("unreadable",)
_MAX_KEYS: Final = 4096  # some 150 are asked for


def tag_name(keyword: str) -> str:
    """Names an element as DICOM does: ``Modality (0008,0060)``."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(f"no DICOM keyword. Received: keyword={keyword!r}")
    return f"{dictionary_description(tag)} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


@lru_cache(_MAX_KEYS)
def _tag(key: str | int) -> BaseTag:
    """Gives the tag of a keyword; a header is asked for some 80 elements, and looking tags up is most of the work."""
    found = tag_for_keyword(key) if isinstance(key, str) else key
    if found is None:
        raise KeyError(f"no DICOM keyword. Received: keyword={key!r}")
    return Tag(found)


@lru_cache(_MAX_KEYS)
def _is_decimal(key: str | int) -> bool:
    return isinstance(key, str) and dictionary_VR(key) in ("DS", "IS")


def values(dataset: Dataset, key: str | int) -> tuple[Any, ...]:
    """Returns the values of an element, by keyword or tag; empty if it is absent, empty or cannot be converted."""
    try:
        tag = _tag(key)
        if tag not in dataset or _is_too_long(dataset, tag):
            return ()
        value = dataset[tag].value
        if value is None:
            return ()
        # pydicom gives a list for binary numbers read from a file, and a MultiValue for text and for values set in
        # memory, which converts lazily: iterating here keeps the conversion inside the guard.
        several = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str | bytes)
        return tuple(value) if several else (value,)
    except Exception:
        # pydicom converts on access, and junk raises whatever its converters happen to raise.
        return ()


def _is_too_long(dataset: Dataset, tag: BaseTag) -> bool:
    element = dataset.get_item(tag)  # raw, as long as nobody has read its value
    if not isinstance(element, RawDataElement):
        return False
    return len(element.value or b"") > (_MAX_LUT_BYTES if element.tag == _LUT_DATA else _MAX_BYTES)


def text(dataset: Dataset, keyword: str) -> str:
    """Returns an element as stripped text, several values joined by a backslash; empty if there is none."""
    try:
        return "\\".join(str(v) for v in values(dataset, keyword)).strip(" \0\t\r\n")
    except Exception:
        return ""


def code(dataset: Dataset, keyword: str) -> str:
    """Returns a code string in upper case."""
    return text(dataset, keyword).upper()


def numbers(dataset: Dataset, key: str | int) -> tuple[float, ...]:
    """Returns an element's finite numeric values, be they written with a decimal comma; empty if any is not one."""
    if isinstance(key, str) and _is_decimal(key):
        parsed = [parse_decimal(text) for text in decimal_texts(dataset, key)]
        found = tuple(decimal.value for decimal in parsed if decimal is not None)
        return found if len(found) == len(parsed) else ()
    result = []
    for value in values(dataset, key):
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):
            return ()
        if not math.isfinite(number):
            return ()
        result.append(number)
    return tuple(result)


def number(dataset: Dataset, key: str | int) -> float | None:
    """Returns an element's first finite number, or None."""
    found = numbers(dataset, key)
    return found[0] if found else None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Returns an element's first value if it is a whole number, or None."""
    found = number(dataset, keyword)
    return int(found) if found is not None and found == int(found) else None


def decimal_texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Returns the values of a DS or IS as they are written, stripped, without empty ones at the end.

    pydicom converts all values of an element or none, so one that is no number would hide the others. An element that
    is too long has one value, which is no number.
    """
    try:
        tag = _tag(keyword)
        if tag not in dataset:
            return ()
        if _is_too_long(dataset, tag):
            return _UNREADABLE
        element = dataset.get_item(tag)
        if isinstance(element, RawDataElement) and element.VR in (None, "DS", "IS", "UN"):
            written = (element.value or b"").decode("latin-1").split("\\")
        else:
            written = ["" if value is None else str(value) for value in values(dataset, keyword)]
    except Exception:
        return ()
    found = [value.strip(" \0\t\r\n") for value in written]
    while found and not found[-1]:
        found.pop()
    return tuple(found)


def items(dataset: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Returns the items of a sequence; empty if it is absent or no sequence."""
    try:
        return tuple(item for item in (dataset.get(keyword) or ()) if isinstance(item, Dataset))
    except Exception:
        return ()


def is_sequence(keyword: str) -> bool:
    """Tells whether a keyword names a sequence."""
    return dictionary_VR(keyword) == "SQ"


def is_empty(dataset: Dataset, keyword: str) -> bool:
    """Tells whether an element is absent or has no value; one that cannot be converted has one."""
    try:
        element = dataset.get_item(keyword)
        if isinstance(element, RawDataElement):
            return element.length == 0 or not (element.value or b"").strip(b" \\")
        return element is None or element.is_empty or (is_sequence(keyword) and not element.value)
    except Exception:
        return False


def is_readable_sequence(dataset: Dataset, keyword: str) -> bool:
    """Tells whether a sequence is one, be it empty; one that is absent is too."""
    try:
        return keyword not in dataset or isinstance(dataset[keyword].value, ItemSequence)
    except Exception:
        return False
