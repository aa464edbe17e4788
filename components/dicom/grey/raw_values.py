"""Greys of FOR PROCESSING images, which a configuration may accept: detector values, not made to be looked at.

They have no window and span the whole range of the detector, so two attributes take its place (PS3.3 C.8.11.3.1.2):
Pixel Intensity Relationship (0028,1040), where LIN means that values are proportional to the X-ray intensity, whose
logarithm is what falls with the tissue passed; and its sign (0028,1041), which says whether more X-rays give higher
values and decides alone which end is bright. Without a sign MONOCHROME1 decides, as for other images.

A network trained on FOR PRESENTATION images sees other contrasts in these: the manufacturer's processing is missing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from components.dicom.headers import tags
from components.dicom.headers.special_cases import is_for_processing


@dataclass(frozen=True)
class RawScale:
    """How detector values become grey.

    Attributes:
        linear: Values are proportional to the X-ray intensity, so their logarithm is taken.
        inverted: The lowest value is the densest.
    """

    linear: bool
    inverted: bool


def raw_scale_of(dataset: Dataset) -> RawScale | None:
    """Reads how detector values become grey; None if the image is not FOR PROCESSING."""
    if not is_for_processing(dataset):
        return None
    sign = tags.integer(dataset, "PixelIntensityRelationshipSign")
    inverted = sign == 1 if sign in (1, -1) else tags.code(dataset, "PhotometricInterpretation") == "MONOCHROME1"
    return RawScale(tags.code(dataset, "PixelIntensityRelationship") == "LIN", inverted)


def raw_fraction(values: np.ndarray, first: float, last: float, scale: RawScale) -> np.ndarray:
    """Turns detector values into grey.

    Args:
        values: Values after the Modality LUT, float64 [N].
        first: Lowest value that they can have.
        last: Highest value that they can have.
        scale: How.

    Returns:
        Grey, float64 [N] in 0..1, 1 = densest.
    """
    if scale.linear:
        fraction = np.log1p(np.clip(values - first, 0, None)) / np.log1p(last - first)
    else:
        fraction = (values - first) / (last - first)
    return 1 - fraction if scale.inverted else fraction
