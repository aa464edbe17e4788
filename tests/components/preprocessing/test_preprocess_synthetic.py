"""``preprocess_view`` on pictures with known ground truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.preprocessing.config import PreprocessConfig
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.preprocessed_view import PreprocessError
from schema.features import PECTORAL_STATUSES, PectoralMethod
from tests.components.preprocessing.synthetic_views import Dice, MakeView

AUTO = PreprocessConfig()


@pytest.mark.slow
@settings(max_examples=20)
@given(
    angle=st.floats(14, 40),
    foot=st.floats(0.4, 0.75),
    height=st.sampled_from([360, 640, 1024]),
    side=st.sampled_from(["L", "R"]),
    flipped=st.booleans(),
    brightness=st.floats(0.65, 0.95),
    seed=st.integers(0, 99),
)
def test_muscle_and_breast_are_found(
    make_view: MakeView,
    dice: Dice,
    angle: float,
    foot: float,
    height: int,
    side: str,
    flipped: bool,
    brightness: float,
    seed: int,
) -> None:
    truth = make_view(height, round(0.75 * height), angle, foot, muscle_grey=brightness, breast_grey=0.4, seed=seed)
    wall_left = (side == "L") != flipped
    turn = np.s_[:, :] if wall_left else np.s_[:, ::-1]
    result = preprocess_view(np.ascontiguousarray(truth.pixels[turn]), f"MLO_{side}", AUTO)
    assert result.status == "removed"
    assert result.measurements.flipped == flipped
    assert dice(result.pectoral_mask, truth.muscle[turn]) > 0.9
    assert dice(result.breast_mask, truth.breast[turn]) > 0.97
    assert result.measurements.line_angle_deg == pytest.approx(angle, abs=10)
    assert result.pectoral_area_fraction == pytest.approx(truth.muscle.sum() / truth.breast.sum(), rel=0.2)
    assert result.breast_area_fraction == pytest.approx(truth.breast.mean(), rel=0.05)
    assert not (result.pectoral_mask & ~result.breast_mask).any()


@pytest.mark.parametrize("view", ["MLO_R", "MLO_L", "CC_R", "CC_L"])
@pytest.mark.parametrize("method", ["auto", "thesis"])
def test_a_flipped_export_gives_the_same_picture(make_view: MakeView, view: str, method: PectoralMethod) -> None:
    config = PreprocessConfig(method=method)
    pixels = make_view(641, 483).pixels
    one = preprocess_view(pixels, view, config)
    other = preprocess_view(np.ascontiguousarray(pixels[:, ::-1]), view, config)
    np.testing.assert_array_equal(one.image, other.image)
    np.testing.assert_array_equal(one.pectoral_mask, other.pectoral_mask[:, ::-1])
    np.testing.assert_array_equal(one.breast_mask, other.breast_mask[:, ::-1])
    assert one.measurements.flipped != other.measurements.flipped


@pytest.mark.parametrize(("view", "wall"), [("MLO_L", 0), ("MLO_R", -1), ("CC_L", 0), ("CC_R", -1)])
def test_chest_wall_lies_on_the_standard_side(make_view: MakeView, view: str, wall: int) -> None:
    image = preprocess_view(make_view().pixels, view, AUTO).image
    assert (image[:, wall] > 0).mean() > 0.8
    assert (image[:, -1 - wall] == 0).all()  # keep_aspect pads at the side opposite the chest wall


def test_craniocaudal_views_keep_all_tissue(make_view: MakeView) -> None:
    truth = make_view(angle_deg=0.0)
    result = preprocess_view(truth.pixels, "CC_L", AUTO)
    assert result.status == "not_applicable"
    assert not result.pectoral_mask.any()
    assert result.pectoral_area_fraction == 0.0
    assert result.breast_mask[truth.breast].mean() > 0.97
    assert result.measurements.mean_grey == -1


def test_a_view_without_muscle_is_absent(make_view: MakeView) -> None:
    statuses = []
    for seed in range(20):
        result = preprocess_view(make_view(384, 288, angle_deg=0.0, seed=seed).pixels, "MLO_L", AUTO)
        statuses.append(result.status)
        if result.status == "removed":
            assert result.doubt > 0.5
        else:
            assert not result.pectoral_mask.any()
            assert result.measurements.reasons
            assert result.doubt >= 0.5, "nearly every oblique view shows a muscle, so a person looks at this one"
    # The texture is random and not like a breast: a few corners resemble half a muscle, two resemble a whole one.
    assert statuses.count("absent") >= 15
    assert statuses.count("removed") <= 2


def test_label_and_noise_floor_are_background(make_view: MakeView) -> None:
    truth = make_view(floor=0.08)
    result = preprocess_view(truth.pixels, "CC_L", PreprocessConfig(crop=False, output_size=640))
    np.testing.assert_array_equal(result.breast_mask[53:85, 400:], False)
    outside = ~truth.breast & ~result.breast_mask
    assert outside.sum() > 0.97 * (~truth.breast).sum()
    assert (result.image[:, :480][outside] == 0).mean() > 0.99


def test_film_edges_are_background(make_view: MakeView, dice: Dice) -> None:
    truth = make_view(label=False)
    pixels = truth.pixels.copy()
    pixels[:9] = pixels[-12:] = 4095
    pixels[:, :8] = 4095
    result = preprocess_view(pixels, "MLO_L", AUTO)
    inner = np.s_[14:-16, 12:]
    assert not result.breast_mask[:7].any()
    assert not result.breast_mask[:, :6].any()
    assert dice(result.breast_mask[inner], truth.breast[inner]) > 0.97
    assert dice(result.pectoral_mask[inner], truth.muscle[inner]) > 0.9


def test_the_glow_of_the_upper_film_edge_is_background(make_view: MakeView, dice: Dice) -> None:
    truth = make_view(label=False)
    pixels = truth.pixels.copy()
    glow = np.linspace(1500, 700, 48).astype(np.uint16)[:, np.newaxis]
    pixels[:48, 250:] = np.maximum(pixels[:48, 250:], glow)
    result = preprocess_view(pixels, "MLO_L", AUTO)
    assert not result.breast_mask[:30, 300:].any()
    assert dice(result.breast_mask, truth.breast) > 0.96


def test_muscle_becomes_the_mean_grey_of_the_breast(make_view: MakeView) -> None:
    truth = make_view()
    config = PreprocessConfig(crop=False, output_size=640)  # 640 x 480 is copied pixel for pixel
    result = preprocess_view(truth.pixels, "MLO_L", config)
    image = result.image[:, :480]
    breast = result.breast_mask & ~result.pectoral_mask
    assert result.measurements.mean_grey == round(float(image[breast].mean()))
    np.testing.assert_array_equal(image[result.pectoral_mask], result.measurements.mean_grey)
    np.testing.assert_array_equal(image[~result.breast_mask], 0)
    np.testing.assert_array_equal(result.image[:, 480:], 0)


def test_method_none_leaves_the_muscle(make_view: MakeView) -> None:
    truth = make_view()
    config = PreprocessConfig(method="none", crop=False, output_size=640)
    result = preprocess_view(truth.pixels, "MLO_L", config)
    assert result.status == "not_applicable"
    assert not result.pectoral_mask.any()
    image = result.image[:, :480]
    assert image[truth.muscle].mean() > 1.5 * image[truth.breast & ~truth.muscle].mean()


def test_method_thesis_finds_a_line(make_view: MakeView, dice: Dice) -> None:
    truth = make_view()
    result = preprocess_view(truth.pixels, "MLO_L", PreprocessConfig(method="thesis"))
    assert result.status == "removed"
    assert dice(result.pectoral_mask, truth.muscle) > 0.93
    assert len(result.measurements.edge_points) == 2
    absent = preprocess_view(make_view(angle_deg=0.0).pixels, "MLO_L", PreprocessConfig(method="thesis"))
    assert absent.status in ("absent", "failed")


@pytest.mark.parametrize("view", ["MLO_L", "CC_R"])
def test_eight_and_sixteen_bits_agree(make_view: MakeView, view: str) -> None:
    eight = (make_view().pixels // 16).astype(np.uint8)
    one = preprocess_view(eight, view, AUTO)
    other = preprocess_view(eight.astype(np.uint16) * 257, view, AUTO)
    assert one.status == other.status
    difference = np.abs(one.image.astype(int) - other.image.astype(int))
    assert np.quantile(difference, 0.999) <= 1
    assert (one.pectoral_mask != other.pectoral_mask).mean() < 0.001


@pytest.mark.parametrize("view", ["MLO_R", "CC_L"])
@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((200, 150), np.uint8),
        np.zeros((200, 150), np.uint16),
        np.full((200, 150), 65535, np.uint16),
        np.full((7, 5), 9, np.uint8),
        np.ones((1, 1), np.uint16),
        np.arange(33 * 2000, dtype=np.uint16).reshape(33, 2000) % 7,
    ],
    ids=["zero8", "zero16", "white", "tiny", "one", "strip"],
)
def test_pictures_without_a_breast_fail_explicitly(pixels: np.ndarray, view: str) -> None:
    result = preprocess_view(pixels, view, AUTO)
    assert result.status == "failed"
    assert result.measurements.reasons
    assert result.doubt == 1.0
    assert result.image.shape == (450, 450)
    assert not result.image.any()
    assert result.pectoral_mask.shape == result.breast_mask.shape == pixels.shape


@settings(max_examples=30)
@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    sixteen=st.booleans(),
    seed=st.integers(0, 999),
    view=st.sampled_from(["MLO_R", "CC_L"]),
    method=st.sampled_from(["auto", "thesis", "none"]),
)
def test_noise_of_any_size_raises_no_error(
    height: int, width: int, sixteen: bool, seed: int, view: str, method: PectoralMethod
) -> None:
    rng = np.random.default_rng(seed)
    pixels = (
        rng.integers(0, 65536, (height, width)).astype(np.uint16)
        if sixteen
        else rng.integers(0, 256, (height, width)).astype(np.uint8)
    )
    result = preprocess_view(pixels, view, PreprocessConfig(method=method, output_size=32))
    assert result.status in PECTORAL_STATUSES
    assert result.image.shape == (32, 32)
    assert 0.0 <= result.doubt <= 1.0


def test_the_result_is_reproducible_and_the_input_unchanged(make_view: MakeView) -> None:
    pixels = make_view().pixels
    before = pixels.copy()
    one, other = (preprocess_view(pixels, "MLO_R", AUTO) for _ in range(2))
    assert one.image.tobytes() == other.image.tobytes()
    assert one.measurements == other.measurements
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize(("crop", "keep"), [(True, True), (True, False), (False, True), (False, False)])
def test_size_crop_and_aspect(make_view: MakeView, crop: bool, keep: bool) -> None:
    result = preprocess_view(make_view().pixels, "CC_L", PreprocessConfig(output_size=100, crop=crop, keep_aspect=keep))
    assert result.image.shape == (100, 100)
    assert result.image.dtype == np.uint8
    filled = result.image.any(axis=0).mean()
    if crop and not keep:
        assert filled > 0.97
    if not crop and keep:
        assert filled == pytest.approx(0.75 * 0.72, abs=0.03)


def test_invalid_input_raises_a_typed_error(make_view: MakeView) -> None:
    pixels = make_view().pixels
    with pytest.raises(PreprocessError, match="view='LMLO'"):
        preprocess_view(pixels, "LMLO", AUTO)
    with pytest.raises(PreprocessError, match="float64"):
        preprocess_view(pixels.astype(np.float64), "MLO_L", AUTO)
    with pytest.raises(PreprocessError, match=r"\(2, 3, 4\)"):
        preprocess_view(np.zeros((2, 3, 4), np.uint8), "MLO_L", AUTO)
    with pytest.raises(PreprocessError, match="not empty"):
        preprocess_view(np.zeros((0, 4), np.uint8), "MLO_L", AUTO)
