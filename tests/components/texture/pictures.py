"""Drawn pictures of breasts: tissue of several scales, a flat muscle, a rounded skin."""

from __future__ import annotations

import numpy as np
from scipy import ndimage


def drawn_breast(side: int, seed: int, density: float = 0.5) -> np.ndarray:
    """Draw a preprocessed picture with the chest wall at the left, uint8 [side, side]."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:side, :side] / side
    breast = (columns / 0.9) ** 2 + ((rows - 0.5) / 0.48) ** 2 < 1
    tissue = sum(
        scale * ndimage.gaussian_filter(rng.standard_normal((side, side)), scale) * weight
        for scale, weight in ((1, 25), (3, 60), (9, 220 * density))
    )
    picture = np.clip(70 + 90 * density + tissue, 1, 255)
    picture[rows + columns < 0.4] = 101.0  # the muscle, replaced by one grey
    return np.where(breast, picture, 0).astype(np.uint8)
