"""How a data set is encoded, by its own bytes: file meta information is wrong where a proxy converts only one of both.

The first element of a data set tells. Its group is small (0008 as a rule), so of its two bytes the zero one shows the
byte order; after the tag come two capital letters where VRs are explicit, and a length where they are implicit, whose
letters would stand for more than 16,000 bytes in a first element.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from pydicom.valuerep import VR

FIRST_BYTES: Final = 8
_VRS: Final = frozenset(str(vr.value).encode() for vr in VR if len(vr.value) == 2)
# First groups of data sets: from 0004 (of media directories) to 0088, which no byte order confuses.
_GROUPS: Final = range(0x0004, 0x0100)


@dataclass(frozen=True)
class Encoding:
    """Encoding of a data set.

    Attributes:
        implicit: VRs are implicit.
        little: Little endian.
    """

    implicit: bool
    little: bool


def encoding_of(first: bytes) -> Encoding | None:
    """Tells the encoding of a data set.

    Args:
        first: Its first 8 bytes.

    Returns:
        The encoding; None where the bytes are not those of a data set's first element, be it deflated or damaged.
    """
    if len(first) < FIRST_BYTES:
        return None
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    for order in orders:
        little = order == "little"
        if int.from_bytes(first[:2], order) not in _GROUPS:
            continue
        if first[4:6] in _VRS:
            return Encoding(False, little)
        if int.from_bytes(first[4:8], order) <= 0xFFFF:
            return Encoding(True, little)
    return None
