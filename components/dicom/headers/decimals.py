"""Decimal numbers as files write them (VR DS and IS), and nothing guessed where one could mean two things."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Final

_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_WITH_COMMA: Final = re.compile(r"[+-]?[0-9]*,[0-9]*([eE][+-]?[0-9]+)?")
# 1,500 may be one and a half or fifteen hundred; 0,500 and 1500,000 cannot be thousands.
_THOUSANDS: Final = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")


@dataclass(frozen=True)
class Decimal:
    """A number that was read.

    Attributes:
        value: Its value, finite.
        comma: It is written with a decimal comma.
    """

    value: float
    comma: bool = False


def parse_decimal(text: str) -> Decimal | None:
    """Reads a number with a decimal point, or with a decimal comma as some systems write it (``2047,5``).

    Args:
        text: One value of an element.

    Returns:
        The number; None if the text is none, is not finite, or may mean thousands (``1,500``).
    """
    text = text.strip()
    comma = _WITH_COMMA.fullmatch(text) is not None and _THOUSANDS.fullmatch(text) is None
    if comma:
        text = text.replace(",", ".")
    if not _NUMBER.fullmatch(text):
        return None
    value = float(text)
    return Decimal(value, comma) if math.isfinite(value) else None
