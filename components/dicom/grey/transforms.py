r"""Read and apply LUTs (PS3.3 C.11.1.1 and C.11.2.1.1) and windows (PS3.3 C.11.2.1.2 and C.11.2.1.3) of a header.

Rules for items of Modality LUT Sequence (0028,3000) and VOI LUT Sequence (0028,3010) in real files:
    * LUT Data (0028,3006) are a list of numbers if the VR is US or SS, and bytes if it is OW or not known.
    * Entries of 8 bits are packed, two per word, the first in the low byte. Some systems write one word per entry. The
      length of the data shows which (note of C.11.1.1.1).
    * LUT Descriptor (0028,3002) and LUT Data are unsigned, except for the first input value, whose sign is that of the
      input. Systems write all of them with either VR, and Implicit VR names none. So 0 entries mean 65,536. A first
      input value is read as signed if the input can be negative, unless only the other sign is within the input range.
    * A table is rejected if its number of entries differs from its descriptor, or if its values exceed its bits: it is
      not known which of the two is right, and a guess would change the picture.

pydicom's own functions reject the 12-bit modality LUTs of older systems.

Window Center (0028,1050) and Window Width (0028,1051) are pairs. A pair is valid if both are numbers, the width is
positive (at least 1 for LINEAR), and the window overlaps the range of values. ``2000\NaN`` with ``1000\500`` has one
valid pair. VOI LUT Function (0028,1056) is read in upper or lower case and with any separator. If it is not one of the
three functions of the standard, LINEAR is used, with a remark.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from components.dicom.headers import tags
from components.dicom.rejections import IngestError, RejectionReason, printable
from components.dicom.remarks import Remark

_WORDS: Final = 1 << 16
_DESCRIPTOR: Final = "LUTDescriptor"
_DATA: Final = "LUTData"


@dataclass(frozen=True, eq=False)
class Lut:
    """A look-up table.

    Attributes:
        first: Input value of the first entry; lower inputs have the output of the first entry, inputs above the last
            entry have that of the last.
        table: Output values, float64 [entries].
        top: Highest output value for the number of bits.
    """

    first: int
    table: NDArray[Any]
    top: float

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return the outputs for these values, float64 of the same shape."""
        position = np.clip(np.rint(values - self.first), 0, self.table.size - 1).astype(np.int64)
        found: NDArray[Any] = self.table[position]
        return found


@dataclass(frozen=True)
class _Problem:
    keyword: str
    value: str
    remedy: str


def _words(item: Dataset) -> NDArray[Any] | None:
    """Return LUT Data as words, uint16, the first of two packed bytes in the low half; None if there are none."""
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
    """Decide the sign of the first input value; the module docstring has the rule."""

    def touches(first: int) -> bool:
        return first <= high and first + entries - 1 >= low

    unsigned = value % _WORDS
    signed = unsigned - _WORDS if unsigned >= _WORDS // 2 else unsigned
    meant, other = (signed, unsigned) if low < 0 else (unsigned, signed)
    return other if touches(other) and not touches(meant) else meant


def _lut(item: Dataset, low: float, high: float) -> Lut | _Problem:
    descriptor = tags.numbers(item, _DESCRIPTOR)
    written = printable("\\".join(map(str, tags.values(item, _DESCRIPTOR))))
    if len(descriptor) != 3 or any(number != int(number) for number in descriptor):
        return _Problem(_DESCRIPTOR, written, "the number of entries, the first input value and the bits are required")
    entries, first, bits = (int(number) for number in descriptor)
    entries = entries % _WORDS or _WORDS
    if not 8 <= bits <= 16:
        return _Problem(_DESCRIPTOR, written, "entries of 8 to 16 bits are supported")
    words = _words(item)
    if words is None:
        return _Problem(_DATA, "unreadable" if _DATA in item else "", f"{entries} entries are required")
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
    """Read the tables of a sequence.

    Args:
        dataset: DICOM header.
        sequence: Keyword of the sequence.
        file: File name for error messages.
        low: Lowest input value.
        high: Highest input value.

    Returns:
        Tables in order, None for one that is not valid; empty if there is no item.

    Raises:
        IngestError: ``malformed_header``, the sequence cannot be read, or no item of it is valid.
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
            printable(problem.value),
            f"{problem.remedy}; export the image again",
        )
    return tuple(lut if isinstance(lut, Lut) else None for lut in found)


_LINEAR: Final = "LINEAR"
_FUNCTIONS: Final = frozenset({_LINEAR, "LINEAR_EXACT", "SIGMOID"})


@dataclass(frozen=True)
class Window:
    """A valid window.

    Attributes:
        centre: Window Center.
        width: Window Width, above 0; at least 1 for LINEAR.
        function: VOI LUT Function: LINEAR, LINEAR_EXACT or SIGMOID.
    """

    centre: float
    width: float
    function: str


@dataclass(frozen=True)
class Windows:
    """The windows of a header.

    Attributes:
        pairs: Windows in order, None for a pair that is not valid.
        remarks: Remarks on the windows.
    """

    pairs: tuple[Window | None, ...] = ()
    remarks: tuple[Remark, ...] = ()


def window_fraction(values: NDArray[Any], window: Window) -> NDArray[Any]:
    """Apply a window, DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3.

    Args:
        values: Values after the Modality LUT, float64.
        window: Window.

    Returns:
        Position in the output range, float64 in 0..1.
    """
    if window.function == "SIGMOID":
        # Beyond +-60 the curve is flat in float64, and exp would overflow.
        return 1 / (1 + np.exp(np.clip(-4 * (values - window.centre) / window.width, -60, 60)))
    if window.function == "LINEAR_EXACT":
        return np.clip((values - window.centre) / window.width + 0.5, 0, 1)
    if window.width <= 1:
        return (values > window.centre - 0.5).astype(np.float64)
    return np.clip((values - (window.centre - 0.5)) / (window.width - 1) + 0.5, 0, 1)


def _is_sound(window: Window, low: float, high: float) -> bool:
    smallest = 1.0 if window.function == _LINEAR else 0.0
    touches = window.centre + window.width / 2 > low and window.centre - window.width / 2 < high
    return window.width > 0 and window.width >= smallest and touches


def windows_of(dataset: Dataset, low: float, high: float) -> Windows:
    """Read the windows of a header.

    Args:
        dataset: DICOM header.
        low: Lowest value after the Modality LUT.
        high: Highest value after the Modality LUT.

    Returns:
        As many pairs as the longer of the two elements has values; empty if both are absent or empty.
    """
    centres, widths = (tags.decimal_texts(dataset, keyword) for keyword in ("WindowCenter", "WindowWidth"))
    named = re.sub(r"[^A-Z]+", "_", tags.code(dataset, "VOILUTFunction")).strip("_")
    function = named if named in _FUNCTIONS else _LINEAR
    remarks = set()
    pairs: list[Window | None] = []
    for index in range(max(len(centres), len(widths))):
        centre, width = (
            tags.parse_decimal(texts[index]) if index < len(texts) else None for texts in (centres, widths)
        )
        window = Window(centre.value, width.value, function) if centre is not None and width is not None else None
        if window is None or not _is_sound(window, low, high):
            remarks.add(Remark.UNUSABLE_WINDOW)
            pairs.append(None)
            continue
        if any(number is not None and number.comma for number in (centre, width)):
            remarks.add(Remark.DECIMAL_COMMA)
        pairs.append(window)
    if any(pairs) and named not in _FUNCTIONS and tags.has_value(dataset, "VOILUTFunction"):
        remarks.add(Remark.UNKNOWN_WINDOW_FUNCTION)
    return Windows(tuple(pairs), tuple(remarks))
