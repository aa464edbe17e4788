"""The Evaluator's executor for real: TFMA over a small test split, against scikit-learn."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics as sk
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.baseline_model.baseline import copy_baseline
from components.common.shards import shard_name, split_folder, write_shard
from components.evaluator.config import EvaluatorConfig
from components.evaluator.executor import Executor
from components.evaluator.results import METRICS_FILE
from schema import features as f

SCHEMA = Path(__file__).parents[3] / "schema" / "schema.pbtxt"
SYSTEMS = ("GE Senograph DS ADS 53.40", "IMS Giotto Image SDL")


class FourBytes(tf.Module):
    """A stand-in whose probabilities are the image's first four bytes, shifted by ``turn`` classes."""

    def __init__(self, turn: int) -> None:
        super().__init__()
        self.turn = turn

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(examples, {f.IMAGE: tf.io.FixedLenFeature((), tf.string)})
        weights = tf.cast(tf.io.decode_raw(parsed[f.IMAGE], tf.uint8, fixed_length=4), tf.float32) + 1e-3
        weights = tf.roll(weights, self.turn, axis=1)
        probabilities = weights / tf.reduce_sum(weights, axis=1, keepdims=True)
        density = tf.gather(tf.constant(f.DENSITY_CLASSES), tf.argmax(probabilities, axis=1))
        return {"probabilities": probabilities, "density": density}


def save(folder: str | Path, turn: int = 0) -> None:
    module = FourBytes(turn)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serving_default})


def exams() -> Iterator[tuple[str, str, str, list[tuple[str, np.ndarray]]]]:
    """Yields exam, system, true class, and four bytes of each view: sometimes wrong, sometimes three views."""
    random = np.random.default_rng(5)
    for number in range(24):
        true = number % 4
        views = []
        for view in f.VIEWS[: 3 if number % 5 == 0 else 4]:
            scores = random.integers(0, 160, 4)
            scores[true] += 60
            views.append((view, scores.astype(np.uint8)))
        yield f"exam{number}", SYSTEMS[int(number % 3 == 0)], f.DENSITY_CLASSES[true], views


def example(values: dict[str, Any]) -> bytes:
    def feature(value: Any) -> tf.train.Feature:
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    named = {name: feature(value) for name, value in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=named)).SerializeToString()


def record(exam: str, system: str, density: str, view: str, scores: np.ndarray) -> bytes:
    texts = {
        f.VIEW: view,
        f.LATERALITY: f.laterality_of(view),
        f.EXAM_ID: exam,
        f.PATIENT_ID: exam,
        f.DENSITY: density,
        f.ACQUISITION_SYSTEM: system,
        f.MANUFACTURER: system.split()[0],
        f.MODEL_NAME: system,
        f.SOFTWARE_VERSION: f.UNKNOWN,
        f.PECTORAL_STATUS: "removed",
    }
    numbers = {f.IMAGE_HEIGHT: 64, f.IMAGE_WIDTH: 64, f.PATIENT_AGE: 50, f.ACQUISITION_YEAR: 2015}
    fractions = {f.PIXEL_SPACING_MM: 0.5, f.PECTORAL_AREA_FRACTION: 0.1, f.BREAST_AREA_FRACTION: 0.4}
    image = {f.IMAGE: scores.tobytes()}
    return example({**{k: v.encode() for k, v in texts.items()}, **numbers, **fractions, **image})


def artifact(kind: type, folder: Path) -> Any:
    made = kind()
    made.uri = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return made


def evaluate(folder: Path, config: EvaluatorConfig, serving_dir: Path) -> tuple[dict[str, Any], Any]:
    """Runs the executor; gives the summary and the blessing artifact."""
    examples = artifact(standard_artifacts.Examples, folder / "examples")
    examples.split_names = artifact_utils.encode_split_names(["test"])
    records = [record(e, s, d, view, scores) for e, s, d, views in exams() for view, scores in views]
    test_split = split_folder(examples.uri, "test")
    for shard in range(2):
        write_shard(str(Path(test_split, shard_name(shard, 2))), records[shard::2])
    model = artifact(standard_artifacts.Model, folder / "model")
    save(path_utils.serving_model_path(model.uri))
    baseline = artifact(standard_artifacts.Model, folder / "baseline")
    copy_baseline(str(serving_dir), baseline.uri, path_utils.serving_model_path(baseline.uri))
    schema = artifact(standard_artifacts.Schema, folder / "schema")
    Path(schema.uri, "schema.pbtxt").write_bytes(SCHEMA.read_bytes())
    evaluation = artifact(standard_artifacts.ModelEvaluation, folder / "evaluation")
    blessing = artifact(standard_artifacts.ModelBlessing, folder / "blessing")
    Executor().Do(
        {"examples": [examples], "model": [model], "baseline_model": [baseline], "schema": [schema]},
        {"evaluation": [evaluation], "blessing": [blessing]},
        {"config": config.model_dump_json(), "code": "any"},
    )
    return json.loads(Path(evaluation.uri, METRICS_FILE).read_text()), blessing


def mean_grades(keep: Any = lambda system: True) -> tuple[list[int], list[int]]:
    """True and predicted class of every exam, from the mean of its views' probabilities."""
    true, predicted = [], []
    for _, system, density, views in exams():
        if keep(system):
            weights = np.array([scores for _, scores in views], np.float64) + 1e-3
            true.append(f.DENSITY_CLASSES.index(density))
            predicted.append(int((weights / weights.sum(1, keepdims=True)).mean(0).argmax()))
    return true, predicted


@pytest.mark.slow
def test_first_run_has_no_baseline_and_equals_scikit_learn(tmp_path: Path) -> None:
    config = EvaluatorConfig(minimum_exam_accuracy=0.5, minimum_exam_quadratic_kappa=0.1, bootstrap_draws=200)
    summary, blessing = evaluate(tmp_path, config, tmp_path / "nothing_pushed")
    assert blessing.get_int_custom_property("blessed") == 1
    assert summary["blessed"] is True
    assert summary["baseline"] is None
    by_slice = {tuple(sorted(entry["slice"].items())): entry for entry in summary["exam"]}
    for key, keep in {
        (): lambda system: True,
        ((f.ACQUISITION_SYSTEM, SYSTEMS[1]),): lambda system: system == SYSTEMS[1],
    }.items():
        true, predicted = mean_grades(keep)
        entry = by_slice[key]
        assert entry["confusion_matrix"] == sk.confusion_matrix(true, predicted, labels=range(4)).tolist()
        assert entry["n"] == len(true)
        value = {name: figure["value"] for name, figure in entry["metrics"].items()}
        assert value["accuracy"] == pytest.approx(sk.accuracy_score(true, predicted), abs=1e-6)
        kappa = sk.cohen_kappa_score(true, predicted, weights="quadratic", labels=range(4))
        assert value["quadratic_kappa"] == pytest.approx(kappa, abs=1e-6)
    assert not any(f.VIEW in entry["slice"] for entry in summary["exam"])

    views = {tuple(sorted(entry["slice"].items())): entry for entry in summary["view"]}
    total = sum(len(v) for *_, v in exams())
    right = sum(int(scores.argmax() == f.DENSITY_CLASSES.index(d)) for _, _, d, v in exams() for _, scores in v)
    assert views[()]["n"] == total
    assert np.trace(views[()]["confusion_matrix"]) == right
    assert views[((f.VIEW, "MLO_L"),)]["n"] == sum(view == "MLO_L" for *_, v in exams() for view, _ in v)
    assert {gate["name"]: gate["passed"] for gate in summary["gates"]} == {
        "exam_accuracy": True,
        "exam_quadratic_kappa": True,
    }


@pytest.mark.slow
def test_a_floor_out_of_reach_withholds_the_blessing_and_a_baseline_is_compared(tmp_path: Path) -> None:
    save(tmp_path / "pushed" / "7", turn=1)
    config = EvaluatorConfig(
        minimum_exam_accuracy=0.999, minimum_exam_quadratic_kappa=None, maximum_kappa_loss=0.05, bootstrap_draws=100
    )
    summary, blessing = evaluate(tmp_path, config, tmp_path / "pushed")
    assert blessing.get_int_custom_property("blessed") == 0
    assert summary["blessed"] is False
    assert summary["baseline"] == {"version": "7"}
    true, predicted = mean_grades()
    turned = [(p + 1) % 4 for p in predicted]
    change = sk.cohen_kappa_score(true, predicted, weights="quadratic") - sk.cohen_kappa_score(
        true, turned, weights="quadratic", labels=range(4)
    )
    gates = {gate["name"]: gate for gate in summary["gates"]}
    assert gates["exam_accuracy"]["passed"] is False
    compared = gates["exam_quadratic_kappa against the latest pushed model"]
    assert compared["value"] == pytest.approx(change, abs=1e-6)
    assert compared["passed"] is True
