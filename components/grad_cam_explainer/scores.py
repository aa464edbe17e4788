"""Scores of one heat map: where the heat lies, and whether it follows the tissue."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

import cv2
import numpy as np
import scipy.stats
from numpy.typing import NDArray

from components.common.png import decode_png
from components.common.views import View
from schema import features as f


@dataclass(frozen=True)
class HeatScores:
    """What is measured on a heat map; ``None`` where it is undefined.

    Heat shares are of the sum of the map ("energy-based pointing game", Wang et al., Score-CAM, 2020, arXiv 1910.01279,
    section 4.2). Beside them stand shares of the picture's area: what a map that says nothing would have.

    Attributes:
        energy_in_breast: Share of the heat on breast and muscle.
        energy_in_pectoral: Share of the heat on the pectoral muscle; undefined where the picture has none.
        energy_in_labels: Share of the heat where labels were, before they were blanked; undefined where there were
            none.
        spearman: Spearman's rank correlation of heat and grey level inside the breast, without the muscle, -1..1: the
            measure of explanation accuracy of Lizzi et al., Applied Sciences 12(1):148, 2022, doi 10.3390/app12010148.
        area_in_breast: Share of the picture that is breast and muscle.
        area_in_pectoral: Share of the picture that is muscle; undefined where it has none.
    """

    energy_in_breast: float | None
    energy_in_pectoral: float | None
    energy_in_labels: float | None
    spearman: float | None
    area_in_breast: float | None
    area_in_pectoral: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Returns the scores by name, with six decimals."""
        return {name: None if value is None else round(value, 6) for name, value in asdict(self).items()}


SCORES: Final = tuple(HeatScores.__dataclass_fields__)


def _share(heatmap: NDArray[np.float32], region: NDArray[np.bool_]) -> float | None:
    total = float(heatmap.sum(dtype=np.float64))
    return float(heatmap[region].sum(dtype=np.float64)) / total if total > 0 and region.any() else None


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float | None:
    """Computes Spearman's rank correlation of two vectors, ties by mean rank; None where one of them is constant."""
    if one.size < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(scipy.stats.rankdata(one), scipy.stats.rankdata(other))[0, 1])


def score_heat_map(
    heatmap: NDArray[np.float32], image: NDArray[np.uint8], regions: NDArray[np.uint8] | None
) -> HeatScores:
    """Scores a heat map.

    Args:
        heatmap: float32 [H, W], 0 or more.
        image: uint8 [H, W], the preprocessed view: the background is 0.
        regions: uint8 [H, W] of ``schema.features.REGION_`` values; None where unknown: then the breast is where the
            image is not 0, and muscle and labels are undefined.

    Returns:
        The scores; a map without heat has none but the areas.
    """
    if regions is None:
        regions = np.where(image > 0, f.REGION_BREAST, f.REGION_BACKGROUND).astype(np.uint8)
    tissue, muscle = regions == f.REGION_BREAST, regions == f.REGION_PECTORAL
    breast = tissue | muscle
    return HeatScores(
        energy_in_breast=_share(heatmap, breast),
        energy_in_pectoral=_share(heatmap, muscle),
        energy_in_labels=_share(heatmap, regions == f.REGION_LABEL),
        spearman=rank_correlation(heatmap[tissue], image[tissue]),
        area_in_breast=float(breast.mean()),
        area_in_pectoral=float(muscle.mean()) if muscle.any() else None,
    )


def score_view(heatmap: NDArray[np.float32], view: View) -> HeatScores:
    """Scores the heat map of a view, whose pictures are brought to the map's size.

    Raises:
        ImageDecodeError: The view's image or regions are no PNG.
    """
    size = (heatmap.shape[1], heatmap.shape[0])

    def fitted(png: bytes, interpolation: int) -> NDArray[np.uint8]:
        picture = decode_png(png).astype(np.uint8, copy=False)
        same = picture.shape == heatmap.shape
        return picture if same else cv2.resize(picture, size, interpolation=interpolation).astype(np.uint8)

    regions = fitted(view.regions, cv2.INTER_NEAREST) if view.regions else None
    return score_heat_map(heatmap, fitted(view.image, cv2.INTER_AREA), regions)
