"""Read DICOM elements without exceptions, whatever bytes a hostile or damaged file holds.

Converting a value takes microseconds, and a header of some megabytes can hold millions of values. So an element with
more bytes than any real one is unreadable, like an element that cannot be converted. A decimal number (VR DS and IS) is
read only if it has one meaning.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
from pydicom.datadict import dictionary_description, dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as ItemSequence
from pydicom.tag import BaseTag, Tag

_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WITH_COMMA: Final = re.compile(r"[+-]?[0-9]*,[0-9]*([eE][+-]?[0-9]+)?")
# 1,500 can mean 1.5 or 1500; 0,500 and 1500,000 cannot have a thousands separator.
_THOUSANDS: Final = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")


@dataclass(frozen=True)
class Decimal:
    """A number from a text.

    Attributes:
        value: Its value, finite.
        comma: The text has a decimal comma.
    """

    value: float
    comma: bool = False


def parse_decimal(text: str) -> Decimal | None:
    """Read a number with a decimal point, or with the decimal comma of some systems (``2047,5``).

    Args:
        text: One value of an element.

    Returns:
        The number; None if the text is not a number, is not finite, or can have a thousands separator (``1,500``).
    """
    text = text.strip()
    comma = _WITH_COMMA.fullmatch(text) is not None and _THOUSANDS.fullmatch(text) is None
    if comma:
        text = text.replace(",", ".")
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return Decimal(value, comma) if math.isfinite(value) else None


_MAX_BYTES: Final = 1 << 15  # per element; real ones have hundreds, long texts (LT) up to 10,240 characters
_MAX_LUT_BYTES: Final = 1 << 18  # for LUT Data: 65,536 entries and a reserve
_LUT_DATA: Final = 0x00283006
_UNREADABLE: Final = ("unreadable",)
_MAX_KEYS: Final = 4096  # some 150 are in use


@lru_cache(_MAX_KEYS)
def tag_name(keyword: str) -> str:
    """Return the name of an element as DICOM writes it: ``Modality (0008,0060)``."""
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise KeyError(f"no DICOM keyword. Received: keyword={keyword!r}")
    return f"{dictionary_description(tag)} ({tag >> 16:04X},{tag & 0xFFFF:04X})"


@lru_cache(_MAX_KEYS)
def _tag(key: str | int) -> BaseTag:
    """Return the tag of a keyword; cached, because some 80 look-ups per header would take most of the time."""
    found = tag_for_keyword(key) if isinstance(key, str) else key
    if found is None:
        raise KeyError(f"no DICOM keyword. Received: keyword={key!r}")
    return Tag(found)


@lru_cache(_MAX_KEYS)
def _is_decimal(key: str | int) -> bool:
    return isinstance(key, str) and dictionary_VR(key) in ("DS", "IS")


def values(dataset: Dataset, key: str | int) -> tuple[Any, ...]:
    """Return the values of an element, by keyword or tag; empty if it is absent, empty or cannot be converted."""
    try:
        tag = _tag(key)
        element = dataset.get_item(tag)  # raw until somebody reads its value; None if absent
        if element is None or _is_too_long(element):
            return ()
        value = (dataset[tag] if isinstance(element, RawDataElement) else element).value
        if value is None:
            return ()
        if isinstance(value, str):
            return (value,)
        # pydicom returns a list for binary numbers from a file, and a lazy MultiValue for text and for values set in
        # memory. Iterating here keeps the conversion inside the try block.
        several = isinstance(value, Sequence | np.ndarray) and not isinstance(value, bytes)
        return tuple(value) if several else (value,)
    except Exception:
        # pydicom converts on access, and its converters raise many kinds of exceptions on damaged values.
        return ()


def _is_too_long(element: DataElement | RawDataElement) -> bool:
    if not isinstance(element, RawDataElement):
        return False
    size = len(element.value or b"")
    return size > _MAX_BYTES and size > (_MAX_LUT_BYTES if element.tag == _LUT_DATA else _MAX_BYTES)


def text(dataset: Dataset, keyword: str) -> str:
    """Return an element as stripped text, several values joined by a backslash; empty if there is none."""
    try:
        return "\\".join(str(v) for v in values(dataset, keyword)).strip(" \0\t\r\n")
    except Exception:
        return ""


def code(dataset: Dataset, keyword: str) -> str:
    """Return a code string in upper case."""
    return text(dataset, keyword).upper()


def numbers(dataset: Dataset, key: str | int) -> tuple[float, ...]:
    """Return the finite numeric values of an element, also with a decimal comma; empty if any value is not a number."""
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


def first_number(dataset: Dataset, key: str | int) -> float | None:
    """Return the first finite number of an element, or None."""
    found = numbers(dataset, key)
    return found[0] if found else None


def integer(dataset: Dataset, keyword: str) -> int | None:
    """Return the first value of an element if it is a whole number, or None."""
    found = first_number(dataset, keyword)
    return int(found) if found is not None and found == int(found) else None


def decimal_texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return the values of a DS or IS as text, stripped, without empty values at the end.

    pydicom converts all values of an element or none, so one invalid value would hide the others. An element that is
    too long has one value, which is not a number.
    """
    try:
        element = dataset.get_item(_tag(keyword))
        if element is None:
            return ()
        if _is_too_long(element):
            return _UNREADABLE
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
    """Return the items of a sequence; empty if it is absent or not a sequence."""
    try:
        tag = _tag(keyword)
        if dataset.get_item(tag) is None:
            return ()
        return tuple(item for item in (dataset[tag].value or ()) if isinstance(item, Dataset))
    except Exception:
        return ()


def is_sequence(keyword: str) -> bool:
    """Return True if a keyword names a sequence."""
    return dictionary_VR(keyword) == "SQ"


def has_value(dataset: Dataset, keyword: str) -> bool:
    """Return True if an element is there and not empty; a value that cannot be converted counts."""
    try:
        element = dataset.get_item(keyword)
        if isinstance(element, RawDataElement):
            return element.length != 0 and bool((element.value or b"").strip(b" \\"))
        return element is not None and not element.is_empty and not (is_sequence(keyword) and not element.value)
    except Exception:
        return True


def is_readable_sequence(dataset: Dataset, keyword: str) -> bool:
    """Return True if a sequence can be read, is empty or is absent."""
    try:
        return keyword not in dataset or isinstance(dataset[keyword].value, ItemSequence)
    except Exception:
        return False
