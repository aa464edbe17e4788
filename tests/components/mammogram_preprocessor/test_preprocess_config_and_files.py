"""Configuration, PNG coding, overlays and the files of the command ``preprocess``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from components.common.png import ImageDecodeError, decode_png, encode_png
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.outputs import OUTPUT_ENDINGS, overlay_png, preprocess_pixels_to_files
from components.preprocessing.preprocess import preprocess_view
from tests.components.preprocessing.synthetic_views import Dice, MakeView
from tests.pictures import decode_picture


@pytest.mark.parametrize(
    ("values", "key"),
    [({"method": "best"}, "method"), ({"output_size": 16}, "output_size"), ({"size": 256}, "size")],
)
def test_config_names_the_wrong_key(values: dict[str, Any], key: str) -> None:
    with pytest.raises(ValidationError, match=key):
        PreprocessConfig(**values)


@pytest.mark.parametrize("key", PreprocessConfig.model_fields)
def test_config_is_frozen(key: str) -> None:
    config = PreprocessConfig()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(config, key, getattr(config, key))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_png_round_trip(dtype: type[np.integer[Any]]) -> None:
    image = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (31, 47)).astype(dtype)
    data = encode_png(image)
    assert data == encode_png(image.copy())
    back = decode_png(data)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, image)


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_garbage_raises_a_typed_error(data: bytes) -> None:
    with pytest.raises(ImageDecodeError, match=f"{len(data)} bytes"):
        decode_png(data)


def test_float_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="shape"):
        encode_png(np.zeros((4, 4, 7), np.float64))


def test_overlay_is_a_small_colour_picture(make_view: MakeView) -> None:
    pixels = make_view(1024, 700).pixels
    result = preprocess_view(pixels, "MLO_L", PreprocessConfig())
    picture = decode_picture(overlay_png(pixels, result))
    assert picture.shape == (512, 350, 3)
    muscle = cv2.resize(result.pectoral_mask.astype(np.uint8), (350, 512), interpolation=cv2.INTER_AREA) > 0
    red_over_green = picture[..., 2].astype(int) - picture[..., 1]
    assert red_over_green[muscle].mean() > 20
    assert abs(red_over_green[256:, 100:200].mean()) < 1


def test_files_contain_picture_mask_and_measurements(make_view: MakeView, dice: Dice, tmp_path: Path) -> None:
    truth = make_view()
    pixels = np.ascontiguousarray(truth.pixels[:, ::-1])  # a left view with its chest wall at the right: flipped export
    out = tmp_path / "new" / "folder"
    config = PreprocessConfig(output_size=128)
    result = preprocess_pixels_to_files(pixels, "MLO_L", config, out, "case_1")
    assert sorted(p.name for p in out.iterdir()) == sorted(f"case_1{ending}" for ending in OUTPUT_ENDINGS)

    np.testing.assert_array_equal(decode_png((out / "case_1.png").read_bytes()), result.image)
    mask = decode_png((out / "case_1.pectoral.png").read_bytes())
    assert mask.shape == pixels.shape
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 255}
    assert dice(mask == 255, truth.muscle[:, ::-1]) > 0.93

    document = json.loads((out / "case_1.json").read_text())
    assert document["status"] == "removed"
    assert document["view"] == "MLO_L"
    assert document["method"] == "auto"
    assert document["figures"]["flipped"] is True
    assert document["pectoral_area_fraction"] == pytest.approx((mask == 255).sum() / result.breast_mask.sum())
    assert 0 <= document["doubt"] <= 1
    assert len(document["figures"]["edge_points"]) > 2

    first = (out / "case_1.json").read_bytes()
    preprocess_pixels_to_files(pixels, "MLO_L", config, out, "case_1")
    assert (out / "case_1.json").read_bytes() == first
