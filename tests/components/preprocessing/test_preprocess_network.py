"""The network's file and computation, and the curve fitted to its map."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.preprocessing.auto_method import EdgeCurve, fit_curve
from components.preprocessing.chest_wall import orient_chest_wall_left
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.muscle_edge import BreastBox, cut_breast_box
from components.preprocessing.network import (
    GRID,
    SHIPPED,
    WeightsError,
    from_blocks,
    muscle_probability,
    to_blocks,
)
from components.preprocessing.preprocess import preprocess_view
from tests.components.preprocessing.synthetic_views import Dice, MakeView


def _region(pixels: np.ndarray) -> BreastBox:
    oriented = orient_chest_wall_left(pixels, "MLO_L")
    return cut_breast_box(oriented.work.grey, oriented.foreground.mask)


def test_the_shipped_file_is_the_documented_one() -> None:
    found = hashlib.sha256(SHIPPED.path.read_bytes()).hexdigest()
    assert found == SHIPPED.sha256
    assert found in (SHIPPED.path.parent / "README.md").read_text(encoding="utf-8")


def test_another_file_is_refused(make_view: MakeView, tmp_path: Path) -> None:
    changed = tmp_path / "muscle.pb"
    changed.write_bytes(SHIPPED.path.read_bytes() + b"\0")
    pixels = make_view().pixels
    for path in (changed, tmp_path / "missing.pb"):
        with pytest.raises(WeightsError, match=path.name):
            preprocess_view(pixels, "MLO_L", PreprocessConfig(), weights=replace(SHIPPED, path=path))


def test_the_map_covers_the_muscle_and_nothing_outside_the_breast(make_view: MakeView, dice: Dice) -> None:
    truth = make_view(640, 480)
    region = _region(truth.pixels)
    probability = muscle_probability(region)
    assert probability.shape == GRID
    assert probability.dtype == np.float32
    assert probability.min() >= 0
    assert probability.max() <= 1
    mask = cv2.resize(region.mask.astype(np.float32), GRID[::-1], interpolation=cv2.INTER_AREA)
    assert not probability[mask <= 0.5].any()


def test_the_map_does_not_depend_on_threads_and_cores(make_view: MakeView) -> None:
    regions = [_region(make_view(400, 300, seed=seed).pixels) for seed in range(4)]
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        alone = [muscle_probability(region).tobytes() for region in regions]
        cv2.setNumThreads(2)
        with ThreadPoolExecutor(4) as pool:
            for _ in range(3):
                together = pool.map(muscle_probability, regions)
                assert [values.tobytes() for values in together] == alone
    finally:
        cv2.setNumThreads(threads)


def test_unfolding_reverses_folding_of_blocks() -> None:
    grid = np.arange(np.prod(GRID), dtype=np.float32).reshape(1, *GRID)
    np.testing.assert_array_equal(from_blocks(to_blocks(grid[..., np.newaxis])), grid)


@settings(max_examples=15)
@given(
    top=st.floats(0.35, 0.9),
    foot=st.floats(0.4, 1.0),
    bulge=st.floats(-0.1, 0.2),
    bend=st.floats(-0.1, 0.1),
    seed=st.integers(0, 99),
)
def test_the_curve_of_a_noisy_map_is_found(
    dice: Dice, top: float, foot: float, bulge: float, bend: float, seed: int
) -> None:
    area = EdgeCurve(top, foot, bulge, bend).area(GRID)
    rng = np.random.default_rng(seed)
    noisy = cv2.GaussianBlur(area.astype(np.float32), (0, 0), 2) + rng.normal(0, 0.15, GRID)
    probability = np.clip(noisy, 0, 1).astype(np.float32)
    row, column = rng.integers(0, 20, 2)
    probability[row : row + 8, column : column + 8] = 0  # a dent, as a gland makes it
    found = fit_curve(probability, np.ones(GRID, np.bool_))
    assert dice(found.area(GRID), area) > 0.94


def test_points_run_from_the_top_to_the_chest_wall() -> None:
    points = EdgeCurve(0.5, 0.75, 0.1, 0.0).points((200, 100))
    np.testing.assert_allclose(points[0], (49.5, -0.5))
    np.testing.assert_allclose(points[-1], (-0.5, 149.5), atol=1e-9)
    assert (np.diff(points[:, 1]) > 0).all()
