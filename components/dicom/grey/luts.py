"""Items of Modality LUT Sequence (0028,3000) and VOI LUT Sequence (0028,3010), PS3.3 C.11.1.1 and C.11.2.1.1.

What a reader has to know of real ones:
    * LUT Data (0028,3006) are a list of numbers where the file says US or SS, and bytes where it says OW or nothing.
    * Entries of 8 bits are packed, two to a word, the first in the low byte; some systems give each a word of its own.
      The length tells which (note of C.11.1.1.1).
    * LUT Descriptor (0028,3002) and LUT Data are unsigned but for the first input value, which is as signed as the
      input; systems write all of them under either VR, and Implicit VR tells none. So 0 entries stand for 65,536, and a
      first input value is read as signed where the input can be negative, unless only the other sign lies inside.
    * A table that does not have the entries that its descriptor names, or that exceeds its bits, is refused: which of
      the two is right is not known, and each would give another picture.

pydicom's own functions refuse the 12-bit modality LUTs of older systems.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from components.dicom.headers import tags
from components.dicom.rejections import IngestError, RejectionReason, shown

_WORDS: Final = 1 << 16
_DESCRIPTOR: Final = "LUTDescriptor"
_DATA: Final = "LUTData"


@dataclass(frozen=True, eq=False)
class Lut:
    """A table.

    Attributes:
        first: Input value of the first entry; inputs below have its output, inputs above the last entry that one's.
        table: Output values, float64 [entries].
        top: Highest output value that the table's bits can hold.
    """

    first: int
    table: np.ndarray
    top: float

    def apply(self, values: np.ndarray) -> np.ndarray:
        """Looks values up, float64 of the same shape."""
        position = np.clip(np.rint(values - self.first), 0, self.table.size - 1).astype(np.int64)
        found: np.ndarray = self.table[position]
        return found


@dataclass(frozen=True)
class _Problem:
    keyword: str
    value: str
    remedy: str


def _words(item: Dataset) -> np.ndarray | None:
    """Returns LUT Data as words, uint16, the first of two packed bytes in the low half; None if there are none."""
    found = tags.values(item, _DATA)
    if len(found) == 1 and isinstance(found[0], bytes):
        order = ">" if item.original_encoding[1] is False else "<"
        raw = found[0]
        return np.frombuffer(raw[: len(raw) // 2 * 2], f"{order}u2").astype(np.uint16)
    numbers = np.array(tags.numbers(item, _DATA))
    if numbers.size == 0 or numbers.min() < -(_WORDS // 2) or numbers.max() >= _WORDS:
        return None
    return (numbers.astype(np.int64) % _WORDS).astype(np.uint16)


def _first(value: int, entries: int, low: float, high: float) -> int:
    """Settles the sign of the first input value, see the module."""

    def touches(first: int) -> bool:
        return first <= high and first + entries - 1 >= low

    unsigned = value % _WORDS
    signed = unsigned - _WORDS if unsigned >= _WORDS // 2 else unsigned
    meant, other = (signed, unsigned) if low < 0 else (unsigned, signed)
    return other if touches(other) and not touches(meant) else meant


def _lut(item: Dataset, low: float, high: float) -> Lut | _Problem:
    descriptor = tags.numbers(item, _DESCRIPTOR)
    written = shown("\\".join(map(str, tags.values(item, _DESCRIPTOR))))
    if len(descriptor) != 3 or any(number != int(number) for number in descriptor):
        return _Problem(_DESCRIPTOR, written, "it needs the number of entries, the first input value, and bits")
    entries, first, bits = (int(number) for number in descriptor)
    entries = entries % _WORDS or _WORDS
    if not 8 <= bits <= 16:
        return _Problem(_DESCRIPTOR, written, "entries of 8 to 16 bits are supported")
    words = _words(item)
    if words is None:
        return _Problem(_DATA, "unreadable" if _DATA in item else "", f"it needs {entries} entries")
    if words.size == entries:
        table = words
    elif bits == 8 and words.size == (entries + 1) // 2:
        table = np.stack([words & 0xFF, words >> 8], axis=1).ravel()[:entries]
    else:
        return _Problem(_DATA, f"{words.size} words", f"{tags.tag_name(_DESCRIPTOR)} names {entries} of {bits} bits")
    top = (1 << bits) - 1
    if table.max() > top:
        return _Problem(_DATA, f"up to {table.max()}", f"{tags.tag_name(_DESCRIPTOR)} names {bits} bits, up to {top}")
    return Lut(_first(first, entries, low, high), table.astype(np.float64), float(top))


def luts_of(dataset: Dataset, sequence: str, file: str, low: float, high: float) -> tuple[Lut | None, ...]:
    """Reads the tables of a sequence.

    Args:
        dataset: DICOM header.
        sequence: Keyword of the sequence.
        file: File name for error messages.
        low: Lowest value of the input.
        high: Highest value of the input.

    Returns:
        Tables in order, None for one that is not sound; empty where there is no item.

    Raises:
        IngestError: ``malformed_header``, the sequence cannot be read, or there are items and none is sound.
    """
    if not tags.is_readable_sequence(dataset, sequence):
        remedy = "export the image again"
        raise IngestError(RejectionReason.MALFORMED_HEADER, file, tags.tag_name(sequence), "unreadable", remedy)
    found = [_lut(item, low, high) for item in tags.items(dataset, sequence)]
    problem = next((lut for lut in found if isinstance(lut, _Problem)), None)
    if problem is not None and all(isinstance(lut, _Problem) for lut in found):
        raise IngestError(
            RejectionReason.MALFORMED_HEADER,
            file,
            f"{tags.tag_name(problem.keyword)} of {tags.tag_name(sequence)}",
            shown(problem.value),
            f"{problem.remedy}; export the image again",
        )
    return tuple(lut if isinstance(lut, Lut) else None for lut in found)
