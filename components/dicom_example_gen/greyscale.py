"""Stored values to display grey, as one table per image.

Every step of the DICOM grey-scale pipeline (PS3.4 N.2.1) is a function of the stored value alone. So it is
computed once for each value that the stored bits can hold (at most 65,536) and the image is looked up in the
table: exact, and no float image of 14 million pixels is made.

Steps:
    1. Modality LUT, else rescale slope and intercept (PS3.3 C.11.1);
    2. VOI LUT, else the first window (PS3.3 C.11.2: LINEAR, LINEAR_EXACT, SIGMOID), else the full range of
       the stored bits. A window that cannot be meant is ignored: a width that is no number, not positive, or
       below 1 for LINEAR, a centre that is no number, or an interval that does not touch the range of values;
    3. MONOCHROME1 inverted, once, over the full range;
    4. scaled to 0..65535. The image's own minimum and maximum never enter.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from components.dicom_example_gen import tags

_WHITE: Final = 65535


def stored_range(bits_stored: int, signed: bool) -> tuple[int, int]:
    """Returns the lowest and highest value that the stored bits can hold."""
    return (-(1 << (bits_stored - 1)), (1 << (bits_stored - 1)) - 1) if signed else (0, (1 << bits_stored) - 1)


def window_fraction(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """Applies a window, DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3.

    Args:
        values: Values after the Modality LUT, float64.
        centre: Window Center (0028,1050).
        width: Window Width (0028,1051), above 0 (at least 1 for LINEAR).
        function: VOI LUT Function (0028,1056); anything but LINEAR_EXACT and SIGMOID is LINEAR, the default.

    Returns:
        Position in the output range, float64 in 0..1.
    """
    if function == "SIGMOID":
        # Beyond +-60 the curve is flat in float64, and exp would overflow.
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -60, 60)))
    if function == "LINEAR_EXACT":
        return np.clip((values - centre) / width + 0.5, 0, 1)
    if width <= 1:
        return (values > centre - 0.5).astype(np.float64)
    return np.clip((values - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)


def _usable_window(dataset: Dataset, low: float, high: float) -> tuple[float, float, str] | None:
    centre, width = tags.number(dataset, "WindowCenter"), tags.number(dataset, "WindowWidth")
    function = tags.code(dataset, "VOILUTFunction")
    smallest = 0.0 if function in ("SIGMOID", "LINEAR_EXACT") else 1.0
    if centre is None or width is None or width <= 0 or width < smallest:
        return None
    if centre + width / 2 <= low or centre - width / 2 >= high:
        return None
    return centre, width, function


def _apply_lut(values: np.ndarray, dataset: Dataset, sequence: str) -> tuple[np.ndarray, float] | None:
    """Applies the first item of a LUT sequence (PS3.3 C.11.1.1 and C.11.2.1.1).

    pydicom's own functions refuse the 12-bit modality LUTs of older systems.

    Args:
        values: Input values, float64 [N].
        dataset: DICOM header.
        sequence: Keyword of the sequence.

    Returns:
        Output values, float64 [N], and the highest that the LUT's bits can hold; None without such a LUT.

    Raises:
        ValueError: Descriptor and data do not fit each other.
    """
    items = tags.items(dataset, sequence)
    if not items:
        return None
    descriptor = tags.numbers(items[0], "LUTDescriptor")
    if len(descriptor) != 3 or not 8 <= descriptor[2] <= 16:
        raise ValueError(f"LUT Descriptor needs entries, first input, 8 to 16 bits. Received: {descriptor}")
    entries = int(descriptor[0]) or 65536  # 0 stands for 2**16
    raw = items[0].get("LUTData")
    if isinstance(raw, bytes):
        order = ">" if dataset.original_encoding[1] is False else "<"
        table = np.frombuffer(raw, np.uint8 if len(raw) == entries else f"{order}u2")
    else:
        table = np.asarray(raw, np.float64)
    if table.ndim != 1 or table.size < entries:
        raise ValueError(f"LUT Data needs {entries} entries. Received: {table.size}")
    index = np.clip(np.rint(values - descriptor[1]), 0, entries - 1).astype(np.int64)
    return table[index].astype(np.float64), float((1 << int(descriptor[2])) - 1)


def grey_table(dataset: Dataset, bits_stored: int, signed: bool) -> np.ndarray:
    """Computes the grey of every value that the stored bits can hold.

    Args:
        dataset: DICOM header with the grey-scale attributes.
        bits_stored: Bits Stored (0028,0101), 8 to 16.
        signed: Whether Pixel Representation (0028,0103) is 1.

    Returns:
        uint16 [2 ** bits_stored]: grey, 65535 = brightest = densest, of the stored value ``low + index``
        where ``low`` is the lowest stored value.

    Raises:
        ValueError: Rescale leaves no finite range, or a LUT's descriptor and data do not fit each other.
    """
    low, high = stored_range(bits_stored, signed)
    stored = np.arange(low, high + 1)
    values = stored.astype(np.float64)
    modality = _apply_lut(values, dataset, "ModalityLUTSequence")
    if modality is not None:
        # Windows and VOI LUTs count in output values of the modality LUT.
        values, last = modality
        first = 0.0
    else:
        # A slope of 0 or of junk is ignored: it would erase the image.
        slope = tags.number(dataset, "RescaleSlope") or 1.0
        intercept = tags.number(dataset, "RescaleIntercept") or 0.0
        values = values * slope + intercept
        first, last = sorted((low * slope + intercept, high * slope + intercept))
        if not 0 < last - first < np.inf:
            raise ValueError(f"rescale leaves no range. Received: slope={slope}, intercept={intercept}")

    window = _usable_window(dataset, first, last)
    voi = _apply_lut(values, dataset, "VOILUTSequence")
    if voi is not None:
        fraction = voi[0] / voi[1]
    elif window is not None:
        fraction = window_fraction(values, *window)
    else:
        fraction = (values - first) / (last - first)
    if tags.code(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        fraction = 1 - fraction
    return np.rint(np.clip(fraction, 0, 1) * _WHITE).astype(np.uint16)


def to_grey(stored: np.ndarray, dataset: Dataset, bits_stored: int, signed: bool) -> np.ndarray:
    """Turns stored values into grey.

    Values beyond the stored bits (a violation of DICOM) count as the nearest possible value. Pixels that
    equal Pixel Padding Value (0028,0120) become black: they are no tissue.

    Args:
        stored: Stored values, integer [H, W].
        dataset: DICOM header with the grey-scale attributes.
        bits_stored: Bits Stored (0028,0101), 8 to 16.
        signed: Whether Pixel Representation (0028,0103) is 1.

    Returns:
        uint16 [H, W], bright = dense.

    Raises:
        ValueError: Rescale leaves no finite range, or a LUT's descriptor and data do not fit each other.
    """
    low, high = stored_range(bits_stored, signed)
    table = grey_table(dataset, bits_stored, signed)
    padding = tags.integer(dataset, "PixelPaddingValue")
    if padding is not None and low <= padding <= high:
        table[padding - low] = 0
    return table[np.clip(stored.astype(np.int32) - low, 0, high - low)]
