from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight
from tfx.types import standard_artifacts

from components.common.artifacts import TextureArraysArtifact
from components.common.png import encode_png
from components.common.shards import split_folder, write_shard
from components.common.soft_labels import with_shares
from components.texture.arrays import TEXTURE_FILE, read_arrays
from components.texture.classifier import TextureClassifier
from components.texture.config import TextureConfig
from components.texture.fitting import weighted_rows
from components.texture.measuring import measure_split
from components.texture.view_vector import VECTOR
from components.texture_model.executor import Executor
from components.texture_model.summary import SUMMARY_FILE
from schema import features as f
from tests.components.texture.pictures import drawn_breast

CONFIG = TextureConfig(side=64, trees=20)


def record(exam: int, view: str, density: str, side: int = 96) -> bytes:
    drawn = drawn_breast(side, exam * 4 + f.VIEWS.index(view), 0.1 + 0.4 * f.DENSITY_CLASSES.index(density))
    picture = drawn[:, ::-1] if view.endswith("R") else drawn
    values = {f.IMAGE: encode_png(np.ascontiguousarray(picture)), f.VIEW: view.encode()}
    values |= {f.EXAM_ID: f"exam {exam:02d}".encode(), f.DENSITY: density.encode()}
    features = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
    return bytes(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString(deterministic=True))


def write_examples(folder: Path, records: list[bytes], shards: int) -> Any:
    examples = standard_artifacts.Examples()
    examples.uri, examples.split_names = str(folder), json.dumps(["train", "eval"])
    for number in range(shards):
        name = f"views-{number:05d}-of-{shards:05d}.gz"
        write_shard(f"{split_folder(str(folder), 'train')}/{name}", records[number::shards])
    return examples


def fit(root: Path, records: list[bytes], shards: int = 2) -> Path:
    out = TextureArraysArtifact()
    out.uri = str(root / "texture_model")
    examples = write_examples(root / "examples", records, shards)
    Executor().Do({"examples": [examples]}, {"texture_model": [out]}, {"config": CONFIG.model_dump_json()})
    return root / "texture_model"


@pytest.fixture(scope="module")
def records() -> list[bytes]:
    return [record(exam, view, f.DENSITY_CLASSES[exam % 4]) for exam in range(16) for view in f.VIEWS]


@pytest.fixture(scope="module")
def written(records: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit(tmp_path_factory.mktemp("texture"), records)


def test_the_node_learns_the_density_of_its_training_exams(records: list[bytes], written: Path) -> None:
    arrays = read_arrays((written / TEXTURE_FILE).read_bytes())
    assert arrays.views.tolist() == [16] * 4
    assert int(arrays.side) == 64
    measured = measure_split(split_folder(str(written.parent / "examples"), "train"), 64)
    assert measured.exams.tolist() == [exam for exam in range(16) for _ in f.VIEWS]
    predicted = np.asarray(TextureClassifier(arrays).probabilities(tf.constant(measured.vectors))).argmax(axis=1)
    assert (predicted == measured.labels).mean() > 0.8


def test_neither_the_order_of_the_records_nor_the_shards_change_a_byte(
    records: list[bytes], written: Path, tmp_path: Path
) -> None:
    again = fit(tmp_path, records[::-1], 3)
    for name in (TEXTURE_FILE, SUMMARY_FILE):
        assert (again / name).read_bytes() == (written / name).read_bytes()


def test_the_summary_tells_every_feature(written: Path) -> None:
    summary = json.loads((written / SUMMARY_FILE).read_text())
    assert tuple(summary["features"]) == VECTOR
    assert summary["training_views"] == {"A": 16, "B": 16, "C": 16, "D": 16}
    mean = summary["features"]["grey/mean"]
    assert mean["percentiles"]["5"] < mean["percentiles"]["50"] < mean["percentiles"]["95"]
    assert mean["weight"]["D"] > 0 > mean["weight"]["A"]  # the drawn dense breasts are brighter
    assert sum(mean["weight"].values()) == pytest.approx(0, abs=1e-5)
    arrays = read_arrays((written / TEXTURE_FILE).read_bytes())
    assert sum(feature["nodes"] for feature in summary["features"].values()) == (arrays.feature >= 0).sum()


def test_soft_labels_are_learnt_as_shares_of_the_readers(records: list[bytes], tmp_path: Path) -> None:
    changed = []
    for number, one in enumerate(records):
        example = tf.train.Example.FromString(one)
        if number // 4 % 4 == 1:  # exams of class B: every other reader says C
            example.features.feature[f.READERS].bytes_list.value[:] = [b"1", b"2"]
            example.features.feature[f.READINGS].bytes_list.value[:] = [b"B", b"C"]
        changed.append(with_shares(example.SerializeToString(deterministic=True)))
    arrays = read_arrays((fit(tmp_path, changed) / TEXTURE_FILE).read_bytes())
    measured = measure_split(split_folder(str(tmp_path / "examples"), "train"), 64)
    assert measured.targets is not None
    assert measured.targets[measured.labels == 1].tolist() == [[0.0, 0.5, 0.5, 0.0]] * 16
    graded = np.asarray(TextureClassifier(arrays).probabilities(tf.constant(measured.vectors)))
    of_b = graded[measured.labels == 1].mean(axis=0)
    # Classes are balanced: the shares of B sum to 8 views and those of C to 24, so half of each is three quarters of B.
    assert of_b[1] / (of_b[1] + of_b[2]) == pytest.approx(0.75, abs=0.15)
    assert of_b[1] + of_b[2] > 0.7


def test_a_view_is_learnt_once_per_class_with_its_share_of_the_class() -> None:
    targets = np.array([[0.0, 1.0, 0.0, 0.0], [0.25, 0.75, 0.0, 0.0], [0.0, 0.5, 0.5, 0.0]])
    rows, classes, weights = weighted_rows(np.array([1, 1, 1]), targets)
    assert (rows.tolist(), classes.tolist()) == ([0, 1, 1, 2, 2], [1, 0, 1, 1, 2])
    assert weights is not None
    assert weights.sum() == pytest.approx(3)
    assert weights[classes == 1] / weights[0] == pytest.approx([1, 0.75, 0.5])
    # What scikit-learn weighs a class with, and what the shares sum to: each class has the same weight.
    balanced = compute_class_weight("balanced", classes=np.arange(3), y=classes)
    assert [weights[classes == k].sum() * balanced[k] for k in range(3)] == pytest.approx([1, 1, 1])
    rows, classes, weights = weighted_rows(np.array([1, 3]), None)
    assert (rows.tolist(), classes.tolist(), weights) == ([0, 1], [1, 3], None)


def test_four_readers_who_agree_are_one(records: list[bytes], written: Path, tmp_path: Path) -> None:
    changed = []
    for one in records:
        example = tf.train.Example.FromString(one)
        density = example.features.feature[f.DENSITY].bytes_list.value[0]
        example.features.feature[f.READERS].bytes_list.value[:] = [b"1", b"2", b"3", b"4"]
        example.features.feature[f.READINGS].bytes_list.value[:] = [density] * 4
        changed.append(with_shares(example.SerializeToString(deterministic=True)))
    again = fit(tmp_path, changed)
    first, second = (read_arrays((folder / TEXTURE_FILE).read_bytes()) for folder in (written, again))
    np.testing.assert_allclose(second.coefficients, first.coefficients, atol=1e-5)
    np.testing.assert_array_equal(second.feature, first.feature)
