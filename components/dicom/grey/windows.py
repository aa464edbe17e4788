r"""Windows (PS3.3 C.11.2.1.2 and C.11.2.1.3): reading them out of a header, and applying one.

Window Center (0028,1050) and Window Width (0028,1051) are pairs. A pair is sound if both are numbers, the width is
positive (at least 1 for LINEAR), and the window touches the range of values. ``2000\NaN`` with ``1000\500`` has one
sound pair. VOI LUT Function (0028,1056) is read in any case and with any separator; where it names none of the three
functions of the standard, LINEAR is used, and that is told.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydicom.dataset import Dataset

from components.dicom.headers import tags
from components.dicom.headers.decimals import parse_decimal
from components.dicom.remarks import Remark

_LINEAR: Final = "LINEAR"
_FUNCTIONS: Final = frozenset({_LINEAR, "LINEAR_EXACT", "SIGMOID"})


@dataclass(frozen=True)
class Window:
    """A sound window.

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
        pairs: Windows in order, None for a pair that is not sound.
        remarks: What must be told of how they were read.
    """

    pairs: tuple[Window | None, ...] = ()
    remarks: tuple[Remark, ...] = ()


def window_fraction(values: np.ndarray, window: Window) -> np.ndarray:
    """Applies a window, DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3.

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
    """Reads the windows of a header.

    Args:
        dataset: DICOM header.
        low: Lowest value after the Modality LUT.
        high: Highest one.

    Returns:
        As many pairs as the longer of the two elements has values; none where both are absent or empty.
    """
    centres, widths = (tags.decimal_texts(dataset, keyword) for keyword in ("WindowCenter", "WindowWidth"))
    named = re.sub(r"[^A-Z]+", "_", tags.code(dataset, "VOILUTFunction")).strip("_")
    function = named if named in _FUNCTIONS else _LINEAR
    remarks = set()
    pairs: list[Window | None] = []
    for index in range(max(len(centres), len(widths))):
        centre, width = (parse_decimal(texts[index]) if index < len(texts) else None for texts in (centres, widths))
        window = Window(centre.value, width.value, function) if centre is not None and width is not None else None
        if window is None or not _is_sound(window, low, high):
            remarks.add(Remark.UNUSABLE_WINDOW)
            pairs.append(None)
            continue
        if any(number is not None and number.comma for number in (centre, width)):
            remarks.add(Remark.DECIMAL_COMMA)
        pairs.append(window)
    if any(pairs) and named not in _FUNCTIONS and not tags.is_empty(dataset, "VOILUTFunction"):
        remarks.add(Remark.UNKNOWN_WINDOW_FUNCTION)
    return Windows(tuple(pairs), tuple(remarks))
