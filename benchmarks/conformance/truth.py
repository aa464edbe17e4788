"""What a reader must answer, computed from a case's description by the letter of the standard.

Nothing of the product is used here, nothing is read from a file, and nothing is fast: each pixel goes through the steps
of PS3.4 N.2.1 as they are written down.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.conformance.cases import COLUMNS, ROWS, Case, Lut, Rescale, Windows, decimal_values, output_range
from benchmarks.pictures import picture

WHITE = 65535


def entries_of(lut: Lut) -> NDArray[Any]:
    """Compute a LUT's entries: a curve from 0 to the highest value of its bits."""
    top = (1 << lut.bits) - 1
    curve = np.rint(top * np.linspace(0, 1, lut.entries) ** 0.75).astype(np.int64)
    result: NDArray[Any] = curve[::-1] if lut.falling else curve
    return result


def _turning_points(case: Case) -> list[float]:
    """List stored values at which something happens: ends of the range, of LUTs, windows and padding."""
    outputs: list[float] = []
    for lut in case.voi_luts:
        outputs += [lut.first, lut.first + lut.entries // 2, lut.first + lut.entries - 1]
    if case.windows is not None:
        for centre, width in zip(*map(decimal_values, (case.windows.centres, case.windows.widths)), strict=False):
            if centre is not None and width is not None and abs(centre) < 1e6 and abs(width) < 1e6:
                outputs += [centre - width / 2, centre, centre + width / 2]
    points: list[float] = [case.low, case.high, 0]
    if isinstance(case.modality, Lut):
        points += [case.modality.first, case.modality.first + case.modality.entries - 1]
    else:
        slope, intercept = rescale_of(case.modality)
        points += [(output - intercept) / slope for output in outputs]
    if case.padding is not None:
        points += [p for p in (case.padding.value, case.padding.limit) if p is not None]
    return points


def rescale_of(rescale: Rescale | None) -> tuple[float, float]:
    """Read slope and intercept; 1 and 0 where there are none."""
    if rescale is None:
        return 1.0, 0.0
    slope, intercept = (decimal_values(text)[0] for text in (rescale.slope, rescale.intercept))
    return slope or 1.0, intercept or 0.0


@lru_cache(maxsize=8)
def stored_values(case: Case) -> NDArray[Any]:
    """Draw the stored values of a case, int64 [H, W]; lossy syntaxes get a smooth picture.

    Half of the pixels lie at or beside the turning points of the grey scale, a quarter is a ramp, a quarter anything.
    """
    if case.encoder == "stream":
        return picture(case.stored, False).astype(np.int64)
    ramp = np.linspace(case.low, case.high, ROWS * COLUMNS).astype(np.int64).reshape(ROWS, COLUMNS)
    if case.is_lossy:
        return ramp
    random = Random(case.seed)
    values = ramp.copy().reshape(-1)
    points = _turning_points(case)
    for place in random.sample(range(values.size), values.size * 3 // 4):
        near = random.choice(points) + random.randint(-2, 2)
        value = int(near) if random.random() < 0.66 else random.randint(case.low, case.high)
        values[place] = min(max(value, case.low), case.high)
    values[0], values[1] = case.low, case.high
    if has_filled_bits(case):
        # Mammograms are smooth. Whoever judges what unused bits hold relies on it, so neighbours are made alike.
        values.sort()
    return values.reshape(ROWS, COLUMNS)


def has_filled_bits(case: Case) -> bool:
    """Return True if bits outside the sample contain values that do not follow from it."""
    unsigned_above = case.signed and case.high_bit != case.stored - 1
    return case.overlay in ("junk", "embedded", "extended") or case.outside_padding or unsigned_above


def padding_mask(case: Case) -> NDArray[Any]:
    """Return which pixels are padding (PS3.3 C.7.5.1.1.2), bool [H, W].

    Padding outside of the stored bits is written over the last pixels.
    """
    values = stored_values(case)
    if case.padding is None:
        return np.zeros(values.shape, bool)
    if case.outside_padding:
        mask = np.zeros(values.shape, bool)
        mask[-1, -6:] = True
        return mask
    ends = (case.padding.value, case.padding.value if case.padding.limit is None else case.padding.limit)
    return (values >= min(ends)) & (values <= max(ends))


def cells(case: Case) -> NDArray[Any]:
    """Compute the cells of Bits Allocated in which the samples lie, uint8 or uint16 [H, W].

    PS3.5 8.1.1: a sample is the Bits Stored bits that end at High Bit; nothing may be assumed of the other bits.
    """
    values = stored_values(case)
    shift = case.high_bit + 1 - case.stored
    whole = (1 << case.allocated) - 1
    sample = ((1 << case.stored) - 1) << shift
    found = (values << shift) & sample
    random = np.random.default_rng(case.seed)
    if case.overlay == "junk":
        found |= random.integers(0, whole + 1, values.shape) & whole & ~sample
    elif case.overlay == "embedded":
        found |= random.integers(0, 2, values.shape) << (case.allocated - 1)
    elif case.signed and case.high_bit == case.stored - 1:
        found = values & whole  # two's complement of the whole cell, as nearly all writers do
    elif case.overlay == "extended":
        found = np.where(values >> (case.stored - 1), found | (whole & ~sample), found)
    if case.outside_padding and case.padding is not None:
        found = np.where(padding_mask(case), case.padding.value & whole, found)
    return found.astype(np.uint8 if case.allocated == 8 else np.uint16)


def _through(lut: Lut, values: NDArray[Any]) -> NDArray[Any]:
    """Apply a LUT (PS3.3 C.11.1.1 and C.11.2.1.1): inputs before the first and behind the last entry take that."""
    return entries_of(lut)[np.clip(values.astype(np.int64) - lut.first, 0, lut.entries - 1)].astype(np.float64)


def usable_window(case: Case, windows: Windows) -> tuple[float, float] | None:
    """Choose the window that is asked for, else the first that can be meant.

    A window can be meant if both parts are finite numbers, its width is positive (at least 1 for LINEAR, PS3.3
    C.11.2.1.2.1), and it touches the range of values.
    """
    low, high = output_range(case)
    smallest = 0.0 if windows.function in ("SIGMOID", "LINEAR_EXACT") else 1.0
    found: list[tuple[float, float] | None] = []
    for centre, width in zip(*map(decimal_values, (windows.centres, windows.widths)), strict=False):
        sound = centre is not None and width is not None and np.isfinite(centre) and np.isfinite(width)
        if sound and width > 0 and width >= smallest and centre + width / 2 > low and centre - width / 2 < high:
            found.append((centre, width))
        else:
            found.append(None)
    chosen = found[case.voi_index] if case.voi_index < len(found) else None
    return chosen or next((window for window in found if window), None)


def _windowed(values: NDArray[Any], centre: float, width: float, function: str) -> NDArray[Any]:
    """Apply a window to an output range of 0 to 1 (PS3.3 C.11.2.1.2.1, C.11.2.1.3.1 and C.11.2.1.3.2)."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        ramp = (values - centre) / width + 0.5
        return np.where(values <= centre - width / 2, 0, np.where(values > centre + width / 2, 1, ramp))
    below = values <= centre - 0.5 - (width - 1) / 2
    above = values > centre - 0.5 + (width - 1) / 2
    ramp = np.full(values.shape, 0.5) if width == 1 else (values - (centre - 0.5)) / (width - 1) + 0.5
    return np.where(below, 0, np.where(above, 1, ramp))


def grey_of(case: Case, values: NDArray[Any], rounded: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
    """Compute the grey of stored values, float64 in 0..65535, bright = dense; padding is not looked at.

    ``rounded`` makes whole numbers of what enters a VOI LUT.
    """
    first, last = output_range(case)
    if isinstance(case.modality, Lut):
        output = _through(case.modality, values)
    else:
        slope, intercept = rescale_of(case.modality)
        output = values * slope + intercept
    window = None if case.windows is None else usable_window(case, case.windows)
    if case.voi_luts:
        lut = case.voi_luts[case.voi_index if case.voi_index < len(case.voi_luts) else 0]
        fraction = _through(lut, rounded(output)) / ((1 << lut.bits) - 1)
    elif window is not None and case.windows is not None:
        fraction = _windowed(output, *window, case.windows.function)
    else:
        fraction = (output - first) / (last - first)
    fraction = np.clip(fraction, 0, 1)
    return (1 - fraction if case.inverse else fraction) * WHITE


def grey_around(case: Case, stored: NDArray[Any], spread: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute the lowest and highest grey of stored values that are known up to so many steps, float64 [H, W].

    They also differ by the rounding to whole greys, and where a value between two whole numbers enters a VOI LUT, of
    which the standard does not say which of two entries it has.
    """
    greys = [
        grey_of(case, np.clip(stored.astype(np.int64) + step, case.low, case.high), rounded)
        for step in range(-spread, spread + 1)
        for rounded in (np.floor, np.ceil)
    ]
    return np.minimum.reduce(greys) - 1, np.maximum.reduce(greys) + 1


def grey(case: Case) -> tuple[NDArray[Any], NDArray[Any]]:
    """Compute the lowest and highest grey that the standard allows each pixel, float64 [H, W]; padding is 0."""
    low, high = grey_around(case, stored_values(case), 0)
    return np.where(padding_mask(case), 0, low), np.where(padding_mask(case), 0, high)
