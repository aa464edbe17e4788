"""Scores of heat maps, and a split explained with a small real SavedModel."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from components.common.shards import write_shard
from components.common.views import View, read_views
from components.grad_cam_explainer.config import ExplainerConfig
from components.grad_cam_explainer.explain import explain_views
from components.grad_cam_explainer.scores import energy_in_breast, mean_with_interval
from schema import features as f

SIZE = 32


class LeftHot(tf.Module):
    """Heat 1 on the left ``columns`` columns; the class comes from the count of rows in the batch."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name=n) for n in ("image_bytes", "view", "target_class")]
    )
    def gradcam(self, image_bytes: tf.Tensor, view: tf.Tensor, target_class: tf.Tensor) -> dict[str, tf.Tensor]:
        row = tf.concat([tf.ones([self.columns]), tf.zeros([SIZE - self.columns])], 0)
        count = tf.shape(image_bytes)[0]
        return {
            "probabilities": tf.repeat([[0.1, 0.2, 0.3, 0.4]], count, axis=0),
            "density": tf.repeat("D", count),
            "heatmap": tf.broadcast_to(row, (count, SIZE, SIZE)),
            "overlay_png": tf.strings.join([view, "|", target_class, "|", image_bytes]),
        }


@pytest.fixture(scope="module")
def left_hot(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], str]:
    def save(columns: int) -> str:
        folder = str(tmp_path_factory.mktemp("left_hot"))
        module = LeftHot(columns)
        tf.saved_model.save(module, folder, signatures={"gradcam": module.gradcam})
        return folder

    return save


def half_breast(size: int = SIZE) -> bytes:
    image = np.zeros((size, size), np.uint8)
    image[:, : size // 2] = 100
    return cv2.imencode(".png", image)[1].tobytes()


def views(count: int = 10) -> Iterator[View]:
    for number in range(count):
        yield View(half_breast(), f.VIEWS[number % 2], f"exam{number}", f.DENSITY_CLASSES[number % 4])


def test_energy_is_the_share_of_the_heat_on_the_breast() -> None:
    image = np.array([[5, 0], [1, 0]], np.uint8)
    assert energy_in_breast(np.array([[0.5, 0.25], [0.25, 0.0]]), image) == pytest.approx(0.75)
    assert energy_in_breast(np.array([[0.0, 1.0], [0.0, 1.0]]), image) == 0.0
    assert energy_in_breast(np.zeros((2, 2)), image) is None


def test_means_have_normal_intervals() -> None:
    assert mean_with_interval([]) == {"mean": None, "ci95": None, "n": 0}
    assert mean_with_interval([0.5]) == {"mean": 0.5, "ci95": None, "n": 1}
    result = mean_with_interval([0.2, 0.4, 0.6, 0.8])
    half = 1.959964 * np.std([0.2, 0.4, 0.6, 0.8], ddof=1) / 2
    assert result["mean"] == pytest.approx(0.5)
    assert result["ci95"] == pytest.approx([0.5 - half, 0.5 + half], abs=1e-6)


def test_views_are_scored_and_pictured(left_hot: Callable[[int], str], tmp_path: Path) -> None:
    config = ExplainerConfig(pictures_a_group=1, batch_size=4)
    summary = explain_views(left_hot(20), views(), config, str(tmp_path))  # 16 of 20 hot columns are breast
    assert summary["views"] == 10
    assert summary["energy_in_breast"]["mean"] == pytest.approx(0.8, abs=1e-6)
    assert summary["energy_in_breast"]["n"] == 10
    assert {density: entry["n"] for density, entry in summary["by_class"].items()} == {"A": 3, "B": 3, "C": 2, "D": 2}
    assert summary["passed"] is True
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    rows = [json.loads(line) for line in (tmp_path / "explanations.jsonl").read_text().splitlines()]
    assert [row["exam_id"] for row in rows] == [f"exam{number}" for number in range(10)]
    assert rows[0]["predicted"] == "D"
    assert rows[0]["probabilities"] == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=1e-6)
    # One picture a class and view: A and C are CC_R here, B and D are CC_L.
    named = {row["overlay"] for row in rows if row["overlay"]}
    assert named == {f"overlays/{d}_{v}_1.png" for d, v in (("A", "CC_R"), ("B", "CC_L"), ("C", "CC_R"), ("D", "CC_L"))}
    assert named == {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png")}
    picture = (tmp_path / "overlays/B_CC_L_1.png").read_bytes()
    assert picture.startswith(b"CC_L||\x89PNG"), "it asks for the predicted class"


def test_the_gate_the_limit_and_maps_without_heat(left_hot: Callable[[int], str], tmp_path: Path) -> None:
    strict = ExplainerConfig(maximum_views=3, minimum_energy_in_breast=0.9, batch_size=2)
    summary = explain_views(left_hot(20), views(), strict, str(tmp_path / "strict"))
    assert (summary["views"], summary["passed"]) == (3, False)
    cold = explain_views(left_hot(0), views(2), ExplainerConfig(), str(tmp_path / "cold"))
    assert (cold["views"], cold["energy_in_breast"]["n"], cold["passed"]) == (2, 0, False)
    nothing = explain_views(left_hot(20), iter(()), ExplainerConfig(), str(tmp_path / "nothing"))
    assert (nothing["views"], nothing["passed"]) == (0, False)


def test_images_of_another_size_are_scored_at_the_maps_size(left_hot: Callable[[int], str], tmp_path: Path) -> None:
    summary = explain_views(left_hot(20), [View(half_breast(96), "CC_R", "e", "A")], ExplainerConfig(), str(tmp_path))
    assert summary["energy_in_breast"]["mean"] == pytest.approx(0.8, abs=1e-6)


def test_views_are_read_shard_by_shard(tmp_path: Path) -> None:
    def record(view: View) -> bytes:
        values = {f.IMAGE: view.image, f.VIEW: view.view, f.EXAM_ID: view.exam_id, f.DENSITY: view.density}
        features = {
            name: tf.train.Feature(
                bytes_list=tf.train.BytesList(value=[value if isinstance(value, bytes) else value.encode()])
            )
            for name, value in values.items()
        }
        return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()

    wanted = list(views(5))
    write_shard(str(tmp_path / "Split-test" / "a.gz"), map(record, wanted[:3]))
    write_shard(str(tmp_path / "Split-test" / "b.gz"), map(record, wanted[3:]))
    assert list(read_views(str(tmp_path / "Split-test"))) == wanted
