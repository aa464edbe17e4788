"""The map of regions has the geometry of its picture."""

from __future__ import annotations

import numpy as np
import pytest

from components.preprocessing.config import PreprocessConfig
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.region_map import find_outside_labels, make_region_map
from schema import features as f


def mammogram(view: str) -> np.ndarray:
    """Draw half an ellipse of noisy tissue at the chest wall, a bright muscle in oblique views, and a label."""
    height, width = 400, 300
    y, x = np.mgrid[:height, :width]
    random = np.random.default_rng(2)
    image = random.normal(4, 1, (height, width))
    breast = (x / 180) ** 2 + ((y - 200) / 170) ** 2 < 1
    image[breast] = random.normal(90, 8, breast.sum())
    if f.is_mlo(view):
        muscle = breast & (x / 80 + (y - 30) / 190 < 1)
        image[muscle] = random.normal(200, 4, muscle.sum())
    image[20:50, 230:280] = 250
    grey = np.clip(image, 0, 255).astype(np.uint8)
    return grey if f.laterality_of(view) == "L" else np.ascontiguousarray(grey[:, ::-1])


@pytest.mark.parametrize("config", [PreprocessConfig(output_size=128, crop=False), PreprocessConfig(output_size=96)])
@pytest.mark.parametrize("exported_flipped", [False, True])
@pytest.mark.parametrize("view", ["CC_L", "MLO_R", "MLO_L"])
def test_regions_have_the_geometry_of_the_picture(view: str, exported_flipped: bool, config: PreprocessConfig) -> None:
    pixels = mammogram(view)
    if exported_flipped:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
    result = preprocess_view(pixels, view, config)
    regions = make_region_map(pixels, view, result, config)
    assert regions.shape == result.image.shape
    breast = np.isin(regions, (f.REGION_BREAST, f.REGION_PECTORAL))
    assert ((result.image > 0) != breast).mean() < 0.03, "the edge alone may differ"
    muscle = regions == f.REGION_PECTORAL
    if f.is_mlo(view):
        assert result.status == "removed"
        assert muscle.sum() / breast.sum() == pytest.approx(result.pectoral_area_fraction, abs=0.02)
        assert np.median(result.image[muscle]) == result.measurements.mean_grey
    else:
        assert not muscle.any()
    if not config.crop:
        label = np.argwhere(regions == f.REGION_LABEL)
        middle = label.mean(axis=0)
        assert 0.5 < len(label) / (30 * 50 * (128 / 400) ** 2) < 1.6
        assert middle[0] < 20
        assert (middle[1] > 64) == (f.laterality_of(view) == "L")


def test_method_none_also_maps_the_muscle() -> None:
    pixels = mammogram("MLO_L")
    removed, kept = PreprocessConfig(output_size=96), PreprocessConfig(output_size=96, method="none")
    result = preprocess_view(pixels, "MLO_L", kept)
    assert not result.pectoral_mask.any()
    regions = make_region_map(pixels, "MLO_L", result, kept)
    expected = make_region_map(pixels, "MLO_L", preprocess_view(pixels, "MLO_L", removed), removed)
    np.testing.assert_array_equal(regions, expected)
    assert (regions == f.REGION_PECTORAL).any()


def test_labels_are_bright_and_outside_of_the_breast() -> None:
    pixels = mammogram("CC_L")
    breast = preprocess_view(pixels, "CC_L", PreprocessConfig()).breast_mask
    labels = find_outside_labels(pixels, breast)
    wanted = np.zeros_like(labels)
    wanted[20:50, 230:280] = True
    assert (labels != wanted).mean() < 0.002
    assert not find_outside_labels(np.where(wanted, 4, pixels).astype(np.uint8), breast).any()
    assert not find_outside_labels(pixels, np.zeros_like(breast)).any()
