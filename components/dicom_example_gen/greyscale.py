"""Stored values to display grey, as one table per image.

Every step of the DICOM grey-scale pipeline (PS3.4 N.2.1) is a function of the stored value alone. So it is
computed once for each value that a pixel's cell can hold (at most 65,536) and the image is looked up in the
table: exact, and no float image of 14 million pixels is made.

Steps:
    1. the value that is stored in the cell, see ``stored_values``;
    2. Modality LUT, else rescale slope and intercept (PS3.3 C.11.1);
    3. VOI LUT, else window (PS3.3 C.11.2: LINEAR, LINEAR_EXACT, SIGMOID), else the full range of the stored bits. Of
       several LUTs, or of several windows where there is no LUT, the one that ``voi_index`` names; an image with fewer
       gives its first. A window that cannot be meant is ignored: a width that is no number, not positive, or below 1
       for LINEAR, a centre that is no number, or an interval that does not touch the range of values. FOR PROCESSING
       images have their own rule for this step and the next, see ``raw_values``;
    4. MONOCHROME1 inverted, once, over the full range;
    5. scaled to 0..65535. The image's own minimum and maximum never enter;
    6. padding becomes black: it is no tissue.

Presentation LUT Shape (2050,0020) is left unread. It must say INVERSE with MONOCHROME1 and IDENTITY with MONOCHROME2
(PS3.3 C.8.11.3), so it can only repeat Photometric Interpretation (0028,0004) or contradict it, and where systems are
known to contradict themselves (Fuji DX, for which dcm4che has its option ``--noshape``), the shape is wrong.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from pydicom.dataset import Dataset

from components.dicom_example_gen import tags
from components.dicom_example_gen.raw_values import raw_fraction
from components.dicom_example_gen.stored_values import padding_cells, stored_range, values_of_cells

_WHITE: Final = 65535
# Rows looked up at once: the table and the strip stay in the processor's cache.
_STRIP: Final = 64


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


def _window(dataset: Dataset, index: int) -> tuple[float | None, float | None]:
    """Reads one window, centre and width; the first where there are fewer."""
    centres, widths = (tags.numbers(dataset, keyword) for keyword in ("WindowCenter", "WindowWidth"))
    if index >= min(len(centres), len(widths)):
        index = 0
    return (centres[index] if centres else None), (widths[index] if widths else None)


def _usable_window(dataset: Dataset, index: int, low: float, high: float) -> tuple[float, float, str] | None:
    centre, width = _window(dataset, index)
    function = tags.code(dataset, "VOILUTFunction")
    smallest = 0.0 if function in ("SIGMOID", "LINEAR_EXACT") else 1.0
    if centre is None or width is None or width <= 0 or width < smallest:
        return None
    if centre + width / 2 <= low or centre - width / 2 >= high:
        return None
    return centre, width, function


def _apply_lut(values: np.ndarray, dataset: Dataset, sequence: str, index: int) -> tuple[np.ndarray, float] | None:
    """Applies an item of a LUT sequence (PS3.3 C.11.1.1 and C.11.2.1.1).

    pydicom's own functions refuse the 12-bit modality LUTs of older systems.

    Args:
        values: Input values, float64 [N].
        dataset: DICOM header.
        sequence: Keyword of the sequence.
        index: Item; the first where there are fewer.

    Returns:
        Output values, float64 [N], and the highest that the LUT's bits can hold; None without such a LUT.

    Raises:
        ValueError: Descriptor and data do not fit each other.
    """
    items = tags.items(dataset, sequence)
    if not items:
        return None
    item = items[index] if index < len(items) else items[0]
    descriptor = tags.numbers(item, "LUTDescriptor")
    if len(descriptor) != 3 or not 8 <= descriptor[2] <= 16:
        raise ValueError(f"LUT Descriptor needs entries, first input, 8 to 16 bits. Received: {descriptor}")
    # An unsigned 16-bit field, of which pydicom makes a signed one where the pixels are signed; 0 stands for 2**16.
    entries = int(descriptor[0]) % 65536 or 65536
    raw = item.get("LUTData")
    if isinstance(raw, bytes):
        order = ">" if dataset.original_encoding[1] is False else "<"
        table = np.frombuffer(raw, np.uint8 if len(raw) in (entries, entries + 1) else f"{order}u2")
    else:
        table = np.atleast_1d(np.asarray(raw, np.float64))
    if table.ndim != 1 or table.size < entries:
        raise ValueError(f"LUT Data needs {entries} entries. Received: {table.size}")
    if table.dtype == np.float64:
        table = np.where(table < 0, table + 65536, table)  # the same, for the data
    position = np.clip(np.rint(values - descriptor[1]), 0, entries - 1).astype(np.int64)
    return table[position].astype(np.float64), float((1 << int(descriptor[2])) - 1)


def grey_of_values(
    stored: np.ndarray, dataset: Dataset, bits_stored: int, signed: bool, voi_index: int = 0
) -> np.ndarray:
    """Computes the grey of stored values.

    Args:
        stored: Stored values, integer [N], within ``stored_range``.
        dataset: DICOM header with the grey-scale attributes.
        bits_stored: Bits Stored (0028,0101), 8 to 16.
        signed: Whether Pixel Representation (0028,0103) is 1.
        voi_index: VOI LUT or window of several, from 0.

    Returns:
        uint16 [N]: grey, 65535 = brightest = densest.

    Raises:
        ValueError: Rescale leaves no finite range, or a LUT's descriptor and data do not fit each other.
    """
    low, high = stored_range(bits_stored, signed)
    values = stored.astype(np.float64)
    modality = _apply_lut(values, dataset, "ModalityLUTSequence", 0)
    if modality is not None:
        # Windows and VOI LUTs count in output values of the modality LUT.
        values, last = modality
        first = 0.0
    else:
        # A slope of 0 or of junk is ignored: it would erase the image.
        slope = tags.number(dataset, "RescaleSlope") or 1.0
        intercept = tags.number(dataset, "RescaleIntercept") or 0.0
        first, last = sorted((low * slope + intercept, high * slope + intercept))
        if not 0 < last - first < np.inf:
            raise ValueError(f"rescale leaves no range. Received: slope={slope}, intercept={intercept}")
        values = values * slope + intercept

    raw = raw_fraction(values, first, last, dataset)
    if raw is not None:
        return np.rint(np.clip(raw, 0, 1) * _WHITE).astype(np.uint16)
    window = _usable_window(dataset, voi_index, first, last)
    voi = _apply_lut(values, dataset, "VOILUTSequence", voi_index)
    if voi is not None:
        fraction = voi[0] / voi[1]
    elif window is not None:
        fraction = window_fraction(values, *window)
    else:
        fraction = (values - first) / (last - first)
    if tags.code(dataset, "PhotometricInterpretation") == "MONOCHROME1":
        fraction = 1 - fraction
    return np.rint(np.clip(fraction, 0, 1) * _WHITE).astype(np.uint16)


def to_grey(pixels: np.ndarray, dataset: Dataset, shift: int = 0, voi_index: int = 0) -> np.ndarray:
    """Turns decoded pixels into grey.

    Args:
        pixels: Decoded pixels, (u)int8 or (u)int16 [H, W] of either byte order.
        dataset: DICOM header with Bits Stored (0028,0101), 8 to 16, Pixel Representation (0028,0103), and the
            grey-scale attributes.
        shift: Unused bits below the sample, see ``stored_values.values_of_cells``.
        voi_index: VOI LUT or window of several, from 0.

    Returns:
        uint16 [H, W], bright = dense.

    Raises:
        ValueError: Rescale leaves no finite range, or a LUT's descriptor and data do not fit each other.
    """
    bits_stored, signed = dataset.BitsStored, dataset.PixelRepresentation == 1
    values = values_of_cells(dataset, pixels.itemsize * 8, bits_stored, signed, shift)
    table = grey_of_values(values, dataset, bits_stored, signed, voi_index)
    table[padding_cells(dataset, values, signed)] = 0
    if pixels.itemsize == 1:
        return cv2.LUT(pixels.view(np.uint8), table)
    if not pixels.dtype.isnative:
        # Looking a swapped cell up at its swapped place saves swapping the image.
        table = table[np.arange(table.size, dtype=np.uint16).byteswap()]
    cells = pixels.view(np.uint16)
    grey = np.empty(pixels.shape, np.uint16)
    for row in range(0, len(cells), _STRIP):
        np.take(table, cells[row : row + _STRIP], out=grey[row : row + _STRIP], mode="clip")
    return grey
