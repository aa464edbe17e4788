"""Augmentation: what differs between phantoms and films, and between scanners, is made to vary.

Brightness of the muscle and of what lies in front of it, glands, folds and scratches, framing and positioning, bent
edges, muscles out of the picture, tone curve, noise and sharpness.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.network import GRID, to_channels
from pipeline.segmenter.samples import Sample

Picture = NDArray[np.float32]
Generator = np.random.Generator

_LEAST_TISSUE: Final = 50  # cells


def _field(rng: Generator, shape: tuple[int, int], rows: int, columns: int) -> Picture:
    """Smooth noise with a number of knots in either direction, standard deviation about 1."""
    knots = rng.standard_normal((rows, columns), dtype=np.float32)
    return np.asarray(cv2.resize(knots, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def _noise(rng: Generator, shape: tuple[int, int], deviation: float) -> Picture:
    return np.asarray(rng.standard_normal(shape, dtype=np.float32) * deviation, np.float32)


def _vary_muscle(rng: Generator, grey: Picture, muscle: Picture, strength: float) -> Picture:
    """Make the muscle brighter or darker, unevenly and down its length."""
    soft = cv2.GaussianBlur(muscle, (0, 0), rng.uniform(0.5, 2.0))
    down = np.linspace(-0.25, 0.75, grey.shape[0], dtype=np.float32)[:, None]
    change = strength * (rng.normal(0, 0.14) + rng.normal(0, 0.15) * down)
    uneven = _field(rng, (grey.shape[0], grey.shape[1]), int(rng.integers(2, 8)), int(rng.integers(2, 6)))
    grey = grey + soft * (change + strength * abs(rng.normal(0, 0.08)) * uneven)
    if rng.random() < 0.3 * strength:  # a layer of fat in front of the muscle
        depth = cv2.distanceTransform((muscle > 0.5).astype(np.uint8), cv2.DIST_L2, 3)
        grey = grey + (depth > rng.uniform(5, 25)) * rng.uniform(-0.1, 0.25)
    return np.asarray(grey, np.float32)


def _add_gland(rng: Generator, grey: Picture, mask: Picture) -> Picture:
    height, width = grey.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    centre_x, centre_y, turn = rng.uniform(0, 0.8 * width), rng.uniform(0, height), rng.uniform(0, np.pi)
    along = (x - centre_x) * np.cos(turn) + (y - centre_y) * np.sin(turn)
    across = (y - centre_y) * np.cos(turn) - (x - centre_x) * np.sin(turn)
    blob = np.exp(-((along / rng.uniform(4, 30)) ** 2 + (across / rng.uniform(4, 30)) ** 2) / 2)
    texture = 1 + 0.3 * _field(rng, (height, width), 24, 18)
    return np.asarray(grey + mask * blob * rng.uniform(-0.2, 0.4) * texture, np.float32)


def _add_lines(rng: Generator, grey: Picture, mask: Picture) -> Picture:
    """Draw folds of the skin and scratches of the film."""
    height, width = grey.shape
    for _ in range(int(rng.integers(1, 4))):
        line = np.zeros_like(grey)
        ends = (rng.uniform(0, 1, (2, 2)) * [0.8 * width, height]).astype(int)
        cv2.line(line, ends[0].tolist(), ends[1].tolist(), (1.0,), int(rng.integers(1, 4)), cv2.LINE_AA)
        grey = grey + mask * cv2.GaussianBlur(line, (0, 0), rng.uniform(0.6, 2)) * rng.uniform(-0.2, 0.4)
    return np.asarray(grey, np.float32)


def _framing(rng: Generator, shape: tuple[int, int]) -> Callable[[Picture], Picture]:
    """Draw another frame, shear and bend; what it cuts off at the top takes part or all of the muscle along."""
    height, width = shape
    top, bottom = rng.uniform(-0.04, 0.10), rng.uniform(-0.15, 0.06)
    left, right = rng.uniform(-0.02, 0.03), rng.uniform(-0.08, 0.10)
    chance = rng.random()
    if chance < 0.12:
        top = rng.uniform(0.1, 0.5)
    elif chance < 0.20:
        top, bottom = rng.uniform(0.4, 0.7), 0.0
    elif chance < 0.32:
        bottom = rng.uniform(-0.3, 0.3)
    rows, columns = GRID
    row, column = np.mgrid[:rows, :columns].astype(np.float32)
    y = height * (top + (row + 0.5) / rows * (1 - bottom - top)) - 0.5
    x = width * (left + (column + 0.5) / columns * (1 + right - left)) - 0.5
    x = x + rng.normal(0, 0.03) * (y - height / 2)
    bend = abs(rng.normal(0, 0.03)) * height
    x = x + bend * _field(rng, GRID, int(rng.integers(2, 6)), int(rng.integers(2, 4)))
    y = y + 0.7 * bend * _field(rng, GRID, int(rng.integers(2, 5)), int(rng.integers(2, 4)))
    # The chest wall is the picture's edge: what lies beyond it looks like what lies at it.
    map_x = np.maximum(x, 0).astype(np.float32)
    map_y = (np.maximum(y, 0) if top < 0 else y).astype(np.float32)

    def framed(picture: Picture) -> Picture:
        moved = cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0.0,))
        return np.asarray(moved, np.float32)

    return framed


def _standardised(grey: Picture, mask: Picture) -> Picture:
    low, high = np.quantile(grey[mask > 0.5], (0.02, 0.99))
    return np.asarray((grey - low) / max(float(high - low), 1e-3), np.float32)


def _tone(rng: Generator, grey: Picture) -> Picture:
    chance, bright = rng.random(), np.clip(grey, 0, 1.3)
    if chance < 0.45:
        bright = bright ** np.exp(rng.normal(0, 0.4))
    elif chance < 0.75:
        bright = 1 / (1 + np.exp(-rng.uniform(2, 8) * (bright - rng.uniform(0.25, 0.75))))
    return np.asarray(np.where(grey < 0, np.maximum(grey, -0.1), bright), np.float32)


def augmented(rng: Generator, sample: Sample, strength: float) -> tuple[Picture, Picture] | None:
    """Draw a variant of a sample.

    Args:
        rng: Source of randomness.
        sample: What is varied.
        strength: How far the muscle's brightness varies; 1 for phantoms, whose muscles are all alike.

    Returns:
        The network's channels, float32 [128, 96, 3], and the muscle, float32 [128, 96], 0..1. None where hardly any
        tissue is left in the frame.
    """
    grey, mask, muscle = sample.grey, sample.mask, sample.muscle
    shape = (grey.shape[0], grey.shape[1])
    if muscle.any():
        grey = _vary_muscle(rng, grey, muscle, strength)
    if rng.random() < 0.5:
        bias = _field(rng, shape, int(rng.integers(2, 9)), int(rng.integers(2, 7)))
        grey = grey + mask * bias * np.float32(abs(rng.normal(0, 0.09)))
    if rng.random() < 0.25:
        grey = _add_gland(rng, grey, mask)
    if rng.random() < 0.25:
        grey = _add_lines(rng, grey, mask)
    framed = _framing(rng, shape)
    grey, mask, muscle = framed(grey), framed(mask), framed(muscle)
    if (mask > 0.5).sum() < _LEAST_TISSUE:
        return None
    if rng.random() < 0.5:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), rng.uniform(0.3, 1.5)), np.float32)
    grey = _tone(rng, _standardised(grey, mask))
    if rng.random() < 0.6:
        grey = grey + _noise(rng, GRID, abs(rng.normal(0, 0.03)))
    if rng.random() < 0.4:
        grain = _noise(rng, GRID, abs(rng.normal(0, 0.08)))
        grey = grey + np.asarray(cv2.GaussianBlur(grain, (0, 0), rng.uniform(0.6, 2)), np.float32)
    return to_channels(_standardised(grey, mask), mask), np.clip(muscle * mask, 0, 1)


def unaltered(sample: Sample) -> tuple[Picture, Picture]:
    """Return a sample without augmentation: channels, float32 [128, 96, 3], and muscle, float32 [128, 96]."""
    grey, mask, muscle = (
        np.asarray(cv2.resize(values, (GRID[1], GRID[0]), interpolation=cv2.INTER_AREA), np.float32)
        for values in (sample.grey, sample.mask, sample.muscle)
    )
    return to_channels(grey, mask), muscle
