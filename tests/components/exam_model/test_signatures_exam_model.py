"""The exam model's signatures against the Keras networks and against Grad-CAM worked out in numpy."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from components.exam_model.overlays import overlay
from schema import features as f
from tests.pictures import decode_picture
from tests.waiting import HANG

SIZE = 64
MIXED_VIEWS = ("MLO_L", "CC_R", "CC_L", "CC_R", "MLO_R", "MLO_L")


@pytest.fixture(scope="module")
def loaded(exported_exam_model: Path) -> Any:
    return tf.saved_model.load(str(exported_exam_model))


def ask(loaded: Any, signature: str, **inputs: Any) -> dict[str, np.ndarray]:
    tensors = {name: tf.constant(value, tf.string, (len(value),)) for name, value in inputs.items()}
    return {name: value.numpy() for name, value in loaded.signatures[signature](**tensors).items()}


def grey_of(png: bytes) -> np.ndarray:
    return decode_picture(png, cv2.IMREAD_GRAYSCALE)


def keras_logits(network: Any, png: bytes) -> np.ndarray:
    return network.predict_on_batch(grey_of(png)[None, :, :, None].astype(np.float32) / 255.0)[0]


@pytest.fixture(scope="module")
def pngs(texture_png: Callable[..., bytes]) -> list[bytes]:
    return [texture_png(seed) for seed in range(len(MIXED_VIEWS))]


@pytest.fixture(scope="module")
def expected(exam_networks: dict[str, Any], pngs: list[bytes]) -> np.ndarray:
    """Softmax of the Keras networks, a row an image of MIXED_VIEWS."""
    pairs = zip(MIXED_VIEWS, pngs, strict=True)
    return scipy.special.softmax([keras_logits(exam_networks[view], png) for view, png in pairs], axis=1)


def test_export_loads_with_tensorflow_alone_and_has_every_signature(exported_exam_model: Path) -> None:
    script = (
        "import json, sys, tensorflow as tf\n"
        "names = sorted(tf.saved_model.load(sys.argv[1]).signatures)\n"
        "ours = sorted({m.split('.')[0] for m in sys.modules} & {'components', 'serving', 'schema'})\n"
        "print(json.dumps([names, ours]))"
    )
    command = [sys.executable, "-I", "-c", script, str(exported_exam_model)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=True)
    names, ours = json.loads(process.stdout.splitlines()[-1])
    assert names == ["explain_exam", "gradcam", "predict_exam", "predict_view", "serving_default"]
    assert ours == []


def test_predict_view_keeps_the_order_of_mixed_views_and_equals_keras(
    loaded: Any, pngs: list[bytes], expected: np.ndarray
) -> None:
    answer = ask(loaded, "predict_view", image_bytes=pngs, view=MIXED_VIEWS)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
    assert [d.decode() for d in answer["density"]] == [f.DENSITY_CLASSES[i] for i in expected.argmax(1)]
    assert np.ptp(expected, axis=0).max() > 0.1, "the networks must differ for this to prove anything"


def test_serving_default_grades_serialized_examples_alike(loaded: Any, pngs: list[bytes], expected: np.ndarray) -> None:
    def example(png: bytes, view: str) -> bytes:
        values = {f.IMAGE: png, f.VIEW: view.encode(), f.EXAM_ID: b"not read"}
        features = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
        return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()

    examples = [example(png, view) for png, view in zip(pngs, MIXED_VIEWS, strict=True)]
    answer = ask(loaded, "serving_default", examples=examples)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)


def test_one_view_alone_does_not_need_the_other_networks(loaded: Any, pngs: list[bytes], expected: np.ndarray) -> None:
    answer = ask(loaded, "predict_view", image_bytes=pngs[4:5], view=["MLO_R"])
    np.testing.assert_allclose(answer["probabilities"], expected[4:5], atol=1e-5)


def test_images_of_another_size_are_accepted(loaded: Any, texture_png: Callable[..., bytes]) -> None:
    answer = ask(loaded, "predict_view", image_bytes=[texture_png(1, 96), texture_png(1, 40)], view=["CC_R", "CC_L"])
    np.testing.assert_allclose(answer["probabilities"].sum(1), 1.0, atol=1e-5)


def test_predict_exam_means_right_left_and_all(loaded: Any, pngs: list[bytes], expected: np.ndarray) -> None:
    # Exam "one": MLO_L, CC_R twice, CC_L. Exam "two": MLO_R alone. Exam "three": MLO_L alone. Rows interleaved.
    exams = ["one", "one", "one", "one", "two", "three"]
    order = [4, 0, 1, 5, 2, 3]
    answer = ask(
        loaded,
        "predict_exam",
        image_bytes=[pngs[i] for i in order],
        view=[MIXED_VIEWS[i] for i in order],
        exam_id=[exams[i] for i in order],
    )
    assert answer["exam_id"].tolist() == [b"two", b"one", b"three"], "in the order in which they first appear"
    cc_r = (expected[1] + expected[3]) / 2  # two images of one view count as one
    left = (expected[0] + expected[2]) / 2
    combined = (expected[0] + expected[2] + cc_r) / 3
    zeros = np.zeros(4)
    np.testing.assert_allclose(answer["right_probabilities"], [expected[4], cc_r, zeros], atol=1e-5)
    np.testing.assert_allclose(answer["left_probabilities"], [zeros, left, expected[5]], atol=1e-5)
    np.testing.assert_allclose(answer["probabilities"], [expected[4], combined, expected[5]], atol=1e-5)
    np.testing.assert_array_equal(answer["raw_probabilities"], answer["probabilities"])
    assert answer["view_count"].tolist() == [1, 3, 1]
    assert answer["missing_views"].tolist() == [b"CC_R CC_L MLO_L", b"MLO_R", b"CC_R CC_L MLO_R"]
    assert answer["reason"].tolist() == [b"", b"", b""]
    assert answer["preprocessing"].tolist() == [b'{"longest_side": 512}'] * 3
    grades = [f.DENSITY_CLASSES[int(np.argmax(row))] for row in (expected[4], combined, expected[5])]
    assert [d.decode() for d in answer["density"]] == grades


@pytest.mark.parametrize("signature", ["predict_view", "predict_exam", "gradcam"])
def test_an_unknown_view_is_named_as_the_error(loaded: Any, pngs: list[bytes], signature: str) -> None:
    rest = {"predict_exam": {"exam_id": ["e", "e"]}, "gradcam": {"target_class": ["", ""]}}.get(signature, {})
    with pytest.raises(tf.errors.InvalidArgumentError, match="Unknown view: it must be one of CC_R, CC_L, MLO_R"):
        ask(loaded, signature, image_bytes=pngs[:2], view=["CC_R", "cc_r"], **rest)


def test_unequal_lengths_are_refused(loaded: Any, pngs: list[bytes]) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="they differ in length"):
        ask(loaded, "predict_view", image_bytes=pngs[:2], view=["CC_R"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="they differ in length"):
        ask(loaded, "predict_view", image_bytes=pngs[:1], view=["CC_R", "CC_L"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="they differ in length"):
        ask(loaded, "predict_exam", image_bytes=pngs[:2], view=["CC_R", "CC_L"], exam_id=["e"])


def test_garbage_instead_of_a_png_is_refused(loaded: Any) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        ask(loaded, "predict_view", image_bytes=[b"no picture"], view=["CC_R"])


def reference_grad_cam(network: Any, png: bytes, target: int | None) -> tuple[int, np.ndarray]:
    """Grad-CAM in numpy: the head is leaky ReLU, mean and dense layer, so its gradient is written down at once."""
    activations = network.get_layer("features").predict_on_batch(grey_of(png)[None, :, :, None] / np.float32(255))[0]
    dense = network.get_layer("head").get_layer("logits").kernel.numpy()
    chosen = int(keras_logits(network, png).argmax()) if target is None else target
    gradient = np.where(activations > 0, 1.0, 0.3) * dense[:, chosen] / (activations.shape[0] * activations.shape[1])
    cam = np.maximum((activations * gradient.mean(axis=(0, 1))).sum(axis=-1), 0.0).astype(np.float32)
    heat = cv2.resize(cam, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    return chosen, heat / heat.max() if heat.max() > 0 else heat


def test_grad_cam_equals_the_formula_for_predicted_and_for_named_classes(
    loaded: Any, exam_networks: dict[str, Any], pngs: list[bytes], expected: np.ndarray
) -> None:
    targets = ["", "A", "B", "C", "D", ""]
    answer = ask(loaded, "gradcam", image_bytes=pngs, view=MIXED_VIEWS, target_class=targets)
    np.testing.assert_allclose(answer["probabilities"], expected, atol=1e-5)
    heats = answer["heatmap"]
    assert heats.shape == (len(pngs), SIZE, SIZE)
    assert heats.min() >= 0.0
    assert heats.max() <= 1.0
    with_heat = 0
    for i, (png, view, target) in enumerate(zip(pngs, MIXED_VIEWS, targets, strict=True)):
        wanted = f.DENSITY_CLASSES.index(target) if target else None
        _, heat = reference_grad_cam(exam_networks[view], png, wanted)
        np.testing.assert_allclose(heats[i], heat, atol=1e-4, err_msg=f"{view} {target}")
        with_heat += int(heat.max() > 0)
    assert with_heat >= 3


def test_one_target_class_counts_for_every_view(loaded: Any, pngs: list[bytes]) -> None:
    once = ask(loaded, "gradcam", image_bytes=pngs[:2], view=MIXED_VIEWS[:2], target_class=["C"])
    each = ask(loaded, "gradcam", image_bytes=pngs[:2], view=MIXED_VIEWS[:2], target_class=["C", "C"])
    np.testing.assert_array_equal(once["heatmap"], each["heatmap"])
    with pytest.raises(tf.errors.InvalidArgumentError, match="Unknown target_class: it must be empty or one of A"):
        ask(loaded, "gradcam", image_bytes=pngs[:2], view=MIXED_VIEWS[:2], target_class=["E"])


def test_overlay_is_a_colour_png_that_leaves_the_background_black(loaded: Any, pngs: list[bytes]) -> None:
    answer = ask(loaded, "gradcam", image_bytes=pngs[:2], view=MIXED_VIEWS[:2], target_class=[""])
    for png, source in zip(answer["overlay_png_bytes"], pngs, strict=False):
        picture = decode_picture(png, cv2.IMREAD_COLOR)
        assert picture.shape == (SIZE, SIZE, 3)
        assert (picture[grey_of(source) == 0] == 0).all()
        assert (picture[grey_of(source) > 0].max(axis=1) > 0).all()


def test_overlay_shows_cold_as_blue_and_hot_as_red() -> None:
    heat = np.zeros((1, 8, 8), np.float32)
    heat[0, :, 4:] = 1.0
    png = overlay(tf.fill((1, 8, 8, 1), tf.constant(100, tf.uint8)), tf.constant(heat)).numpy()[0]
    blue, _, red = decode_picture(png, cv2.IMREAD_COLOR).transpose(2, 0, 1).astype(int)
    assert (blue[:, :4] > red[:, :4]).all()
    assert (red[:, 4:] > blue[:, 4:]).all()


@pytest.mark.parametrize("signature", ["serving_default", "predict_view", "predict_exam", "gradcam"])
def test_an_empty_batch_gives_an_empty_answer(loaded: Any, signature: str) -> None:
    names = loaded.signatures[signature].structured_input_signature[1]
    answer = ask(loaded, signature, **{name: [] for name in names})
    assert answer["probabilities"].shape == (0, 4)
    assert all(len(value) == 0 for value in answer.values())
