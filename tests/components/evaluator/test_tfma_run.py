"""The Evaluator's executor for real: TFMA over a small test split and real SavedModels, against scikit-learn."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from sklearn import metrics as sk
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from components.common.shards import shard_name, split_folder, write_shard
from components.evaluator.config import EvaluatorConfig
from components.evaluator.executor import Executor
from components.evaluator.slices import METRICS_FILE
from components.exam_model.versions import copy_baseline
from components.grey_statistics.classifier import GreyClassifier, ViewStatistics
from components.grey_statistics.features import grey_statistics
from components.statistics.calibration import (
    CALIBRATION_FILE,
    calibrate,
    fit_calibration,
)
from components.statistics.probabilities import expected_calibration_error
from schema import features as f

pytestmark = pytest.mark.slow

SCHEMA = Path(__file__).parents[3] / "schema" / "schema.pbtxt"
LARGE, SECOND, SMALL = "GE Senograph DS ADS 53.40", "IMS Giotto Image SDL", "Hologic Selenia Dimensions"
EXAMS = {LARGE: 24, SECOND: 20, SMALL: 4}
CANDIDATE, BASELINE = 0, 4  # where a model's four bytes begin


class FourBytes(tf.Module):
    """A stand-in whose probabilities are four of the first pixels of the picture."""

    def __init__(self, start: int) -> None:
        super().__init__()
        self.start = start

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        tf.debugging.assert_equal(tf.size(examples), 1)  # what a network gives must not depend on the images beside
        parsed = tf.io.parse_example(examples, {f.IMAGE: tf.io.FixedLenFeature((), tf.string)})
        pixels = tf.io.decode_png(parsed[f.IMAGE][0], channels=1)[tf.newaxis, 0, :8, 0]
        weights = tf.cast(pixels, tf.float32) + 1e-3
        weights = weights[:, self.start : self.start + 4]
        probabilities = weights / tf.reduce_sum(weights, axis=1, keepdims=True)
        density = tf.gather(tf.constant(f.DENSITY_CLASSES), tf.argmax(probabilities, axis=1))
        return {"probabilities": probabilities, "density": density}


@dataclass(frozen=True)
class Exam:
    """An exam of the test split: its views' eight bytes, four a model."""

    name: str
    patient: str
    system: str
    true: int
    age: int
    views: dict[str, np.ndarray]
    failed: bool

    def probabilities(self, start: int, views: tuple[str, ...] = f.VIEWS) -> np.ndarray:
        """Probabilities of the views, as the model gives them, [N, 4]."""
        weights = np.array([self.views[v] for v in views if v in self.views], np.float32)[:, start : start + 4] + 1e-3
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float64)


def exams() -> list[Exam]:
    """Makes exams; some have three views, two patients have several.

    The candidate is right more often than the baseline everywhere but on the second system.
    """
    random = np.random.default_rng(5)
    made = []
    for system, count in EXAMS.items():
        for number in range(count):
            true = number % 4
            clues = {CANDIDATE: 10 if system == SECOND and number % 2 else 90, BASELINE: 90 if system == SECOND else 20}
            views = {}
            for view in f.VIEWS[: 3 if number % 5 == 0 else 4]:
                scores = random.integers(0, 160, 8)
                for start, clue in clues.items():
                    scores[start + true] += clue
                views[view] = scores.astype(np.uint8)
            name = f"{system.split()[0]}{number:02d}"
            patient = f"{system.split()[0]}{number % 18}"
            made.append(Exam(name, patient, system, true, 35 + number, views, failed=number % 9 == 0))
    return made


def picture(exam: Exam, view: str) -> np.ndarray:
    """The eight bytes that the models read, in one row above tissue whose grey tells the class, but for noise."""
    random = np.random.default_rng([len(exam.name), exam.age, exam.true, f.VIEWS.index(view), *exam.views[view]])
    pixels = np.clip(random.normal(60 + 18 * exam.true + random.normal(0, 18), 12, (32, 32)), 1, 255).astype(np.uint8)
    pixels[0] = 0
    pixels[0, :8] = exam.views[view]
    return pixels


def png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def learnt() -> list[Exam]:
    """Exams of the train split; the stand-ins learn nothing from them, the baseline of grey statistics does."""
    random = np.random.default_rng(8)
    views = {view: np.zeros(8, np.uint8) for view in f.VIEWS}
    return [
        Exam(f"T{n:03d}", f"T{n}", LARGE, int(random.integers(0, 4)), 30 + n, views, failed=False) for n in range(60)
    ]


def records(of: list[Exam]) -> Iterator[bytes]:
    def feature(value: Any) -> tf.train.Feature:
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))

    for exam in of:
        for view in exam.views:
            status = ("failed" if exam.failed else "removed") if f.is_mlo(view) else "not_applicable"
            texts = {
                f.VIEW: view,
                f.LATERALITY: f.laterality_of(view),
                f.EXAM_ID: exam.name,
                f.PATIENT_ID: exam.patient,
                f.DENSITY: f.DENSITY_CLASSES[exam.true],
                f.ACQUISITION_SYSTEM: exam.system,
                f.MANUFACTURER: exam.system.split()[0],
                f.MODEL_NAME: exam.system,
                f.SOFTWARE_VERSION: f.UNKNOWN,
                f.PECTORAL_STATUS: status,
            }
            numbers = {f.IMAGE_HEIGHT: 64, f.IMAGE_WIDTH: 64, f.PATIENT_AGE: exam.age, f.ACQUISITION_YEAR: -1}
            fractions = {f.PIXEL_SPACING_MM: 0.5, f.PECTORAL_AREA_FRACTION: 0.1, f.BREAST_AREA_FRACTION: 0.4}
            values = {
                **{k: v.encode() for k, v in texts.items()},
                **numbers,
                **fractions,
                f.IMAGE: png(picture(exam, view)),
            }
            named = {name: feature(value) for name, value in values.items()}
            yield tf.train.Example(features=tf.train.Features(feature=named)).SerializeToString()


def save(folder: str | Path, start: int, temperature: float | None = None) -> None:
    module = FourBytes(start)
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serving_default})
    if temperature is not None:
        fitted = fit_calibration(np.full((1, 4), 0.25), np.zeros(1, int)).model_copy(
            update={"temperature": temperature}
        )
        file = Path(folder, CALIBRATION_FILE)
        file.parent.mkdir(parents=True)
        file.write_text(fitted.model_dump_json())


def artifact(kind: type, folder: Path) -> Any:
    made = kind()
    made.uri = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return made


def evaluate(
    folder: Path, config: EvaluatorConfig, serving_dir: Path, temperature: float, train: list[Exam]
) -> tuple[dict[str, Any], Any]:
    """Runs the executor; gives the summary and the blessing artifact."""
    examples = artifact(standard_artifacts.Examples, folder / "examples")
    examples.split_names = artifact_utils.encode_split_names(["train", "test"])
    for split, of in (("train", train), ("test", exams())):
        views = list(records(of))
        for shard in range(2):
            write_shard(str(Path(split_folder(examples.uri, split), shard_name(shard, 2))), views[shard::2])
    model = artifact(standard_artifacts.Model, folder / "model")
    save(path_utils.serving_model_path(model.uri), CANDIDATE, temperature)
    baseline = artifact(standard_artifacts.Model, folder / "baseline")
    copy_baseline(str(serving_dir), baseline.uri, path_utils.serving_model_path(baseline.uri))
    schema = artifact(standard_artifacts.Schema, folder / "schema")
    Path(schema.uri, "schema.pbtxt").write_bytes(SCHEMA.read_bytes())
    evaluation = artifact(standard_artifacts.ModelEvaluation, folder / "evaluation")
    blessing = artifact(standard_artifacts.ModelBlessing, folder / "blessing")
    Executor().Do(
        {"examples": [examples], "model": [model], "baseline_model": [baseline], "schema": [schema]},
        {"evaluation": [evaluation], "blessing": [blessing]},
        {"config": config.model_dump_json(), "minimum_views": 1, "code": "any"},
    )
    summary = json.loads(Path(evaluation.uri, METRICS_FILE).read_text())
    return summary | {"folder": evaluation.uri}, blessing


def by_slice(entries: list[dict[str, Any]]) -> dict[tuple[tuple[str, str], ...], dict[str, Any]]:
    return {tuple(sorted(entry["slice"].items())): entry for entry in entries}


def values(entry: dict[str, Any]) -> dict[str, float | None]:
    return {name: figure["value"] for name, figure in entry["metrics"].items()}


def expected(labels: np.ndarray, p: np.ndarray) -> dict[str, float]:
    predicted = p.argmax(1)
    return {
        "accuracy": sk.accuracy_score(labels, predicted),
        "macro_recall": sk.balanced_accuracy_score(labels, predicted),
        "macro_precision": sk.precision_score(labels, predicted, average="macro", zero_division=0),
        "quadratic_kappa": sk.cohen_kappa_score(labels, predicted, weights="quadratic"),
        "linear_kappa": sk.cohen_kappa_score(labels, predicted, weights="linear"),
        "dense_accuracy": sk.accuracy_score(labels >= 2, predicted >= 2),
        "dense_auc": sk.roc_auc_score(labels >= 2, p[:, 2:].sum(1)),
        "macro_auc": sk.roc_auc_score(labels, p / p.sum(1, keepdims=True), multi_class="ovr"),
        "top_2_accuracy": sk.top_k_accuracy_score(labels, p, k=2),
        "top_3_accuracy": sk.top_k_accuracy_score(labels, p, k=3),
        "nll": sk.log_loss(labels, p / p.sum(1, keepdims=True)),
        "ece": expected_calibration_error(p, labels),
        "off_by_two": float((np.abs(labels - predicted) >= 2).sum()),
    }


def exam_scores(
    start: int = CANDIDATE, keep: Callable[[Exam], bool] = lambda exam: True, views: tuple[str, ...] = f.VIEWS
) -> tuple[np.ndarray, np.ndarray]:
    """True classes and mean probabilities of the exams, or of one side."""
    kept = [exam for exam in exams() if keep(exam)]
    means = [exam.probabilities(start, views).mean(0) for exam in kept]
    return np.array([exam.true for exam in kept]), np.array(means)


def gains(summary: dict[str, Any]) -> bool:
    return summary["grey_baseline"]["gain"]["quadratic_kappa"]["ci95"][0] > 0


def check_grey_baseline(summary: dict[str, Any]) -> None:
    """The baseline's metrics and the paired gain are those of scikit-learn and of a bootstrap written here."""
    grey = summary["grey_baseline"]
    assert (grey["problem"], grey["train_exams"], grey["exam"]["n"]) == ("", len(learnt()), len(exams()))
    found = [[(exam, view) for view in exam.views] for exam in exams()]
    trained = GreyClassifier(
        [
            ViewStatistics(exam.name, view, grey_statistics(picture(exam, view)))
            for exam in learnt()
            for view in exam.views
        ],
        {exam.name: exam.true for exam in learnt()},
    )
    names, p = trained.predict(
        ViewStatistics(exam.name, view, grey_statistics(picture(exam, view))) for views in found for exam, view in views
    )
    by_name = dict(zip(names, p, strict=True))
    grades = np.array([by_name[exam.name].argmax() for exam in exams()])
    labels, model = exam_scores()
    for name, value in expected(labels, np.stack([by_name[exam.name] for exam in exams()])).items():
        if name != "nll":  # scikit-learn has another smallest probability
            assert values(grey["exam"])[name] == pytest.approx(value, abs=2e-6), name
    kappas = [sk.cohen_kappa_score(labels, g, weights="quadratic") for g in (model.argmax(1), grades)]
    gain = grey["gain"]["quadratic_kappa"]
    assert gain["value"] == pytest.approx(kappas[0] - kappas[1], abs=2e-6)
    patients = np.array([exam.patient for exam in exams()])
    random, resampled = np.random.default_rng(3), []
    for _ in range(400):
        drawn = random.choice(np.unique(patients), len(np.unique(patients)))
        rows = np.concatenate([np.flatnonzero(patients == patient) for patient in drawn])
        pair = [sk.cohen_kappa_score(labels[rows], g[rows], weights="quadratic") for g in (model.argmax(1), grades)]
        resampled.append(pair[0] - pair[1])
    assert gain["ci95"] == pytest.approx(np.percentile(resampled, [2.5, 97.5]), abs=0.08)


def check_selective_grading(summary: dict[str, Any]) -> None:
    labels, raw = exam_scores()
    p = calibrate(raw, 0.5)
    points = summary["selective"]
    assert (points[0]["coverage"], points[0]["n"]) == (1.0, len(labels))
    assert points[0]["metrics"]["accuracy"] == by_slice(summary["exam"])[()]["metrics"]["accuracy"]
    for point in points:
        kept = p.max(1) >= point["confidence"] - 1e-6
        assert point["n"] == kept.sum()
        assert point["coverage"] == pytest.approx(kept.mean(), abs=1e-6)
        right = sk.accuracy_score(labels[kept], p[kept].argmax(1))
        assert point["metrics"]["accuracy"]["value"] == pytest.approx(right, abs=1e-6)
    assert [point["n"] for point in points] == sorted({point["n"] for point in points}, reverse=True)


def test_first_run_has_no_baseline_and_every_level_equals_scikit_learn(tmp_path: Path) -> None:
    config = EvaluatorConfig(minimum_exam_accuracy=0.3, minimum_exam_quadratic_kappa=0.1, bootstrap_draws=100)
    summary, blessing = evaluate(tmp_path, config, tmp_path / "nothing_pushed", temperature=0.5, train=learnt())
    assert blessing.get_int_custom_property("blessed") == 1
    assert Path(blessing.uri, "BLESSED").is_file()
    assert (summary["blessed"], summary["baseline"], summary["temperature"]) == (True, None, 0.5)
    assert {gate["name"]: gate["verdict"] for gate in summary["gates"]} == {
        "exam_accuracy": "passed",
        "exam_quadratic_kappa": "passed",
        "exam_quadratic_kappa against grey statistics": "passed" if gains(summary) else "warning",
    }
    assert sorted(path.name for path in Path(summary["folder"]).iterdir() if "observation" in path.name) == []
    check_grey_baseline(summary)
    check_selective_grading(summary)

    whole = by_slice(summary["exam"])
    slices: dict[tuple[tuple[str, str], ...], Callable[[Exam], bool]] = {
        (): lambda exam: True,
        ((f.ACQUISITION_SYSTEM, SECOND),): lambda exam: exam.system == SECOND,
        (("age_band", "40 to 49"),): lambda exam: 40 <= exam.age < 50,
        ((f.ACQUISITION_YEAR, "unknown"),): lambda exam: True,
    }
    for key, keep in slices.items():
        labels, p = exam_scores(keep=keep)
        figures = expected(labels, calibrate(p, 0.5))
        figures |= {
            "uncalibrated_nll": expected(labels, p)["nll"],
            "uncalibrated_ece": expected_calibration_error(p, labels),
        }
        assert {name: values(whole[key])[name] for name in figures} == pytest.approx(figures, abs=2e-6), key
        matrix = sk.confusion_matrix(labels, p.argmax(1), labels=range(4))
        assert whole[key]["confusion_matrix"] == matrix.tolist()
        assert (whole[key]["n"], whole[key]["ungraded"]) == (len(labels), 0)
        recall = whole[key]["metrics"]["recall_D"]
        assert recall["n"] == (labels == 3).sum()
        assert recall["ci95"][0] <= recall["value"] <= recall["ci95"][1]
    failed = whole[((f.PECTORAL_STATUS, "failed"),)]
    assert failed["n"] == sum(exam.failed for exam in exams())
    assert ((f.PECTORAL_STATUS, "not_applicable"),) not in whole
    assert not any(f.VIEW in entry["slice"] for entry in summary["exam"])
    assert whole[((f.ACQUISITION_SYSTEM, SMALL),)]["small"]
    assert not whole[()]["small"]
    one_class = whole[((f.ACQUISITION_SYSTEM, LARGE), (f.DENSITY, "B"))]
    assert one_class["n"] == 6
    assert values(one_class)["quadratic_kappa"] is None
    assert "change" not in whole[()]

    sides = [exam_scores(views=tuple(v for v in f.VIEWS if v.endswith(side))) for side in ("R", "L")]
    labels, p = (np.concatenate(parts) for parts in zip(*sides, strict=True))
    breasts = by_slice(summary["breast"])[()]
    figures = expected(labels, calibrate(p, 0.5))
    assert {name: values(breasts)[name] for name in figures} == pytest.approx(figures, abs=2e-6)

    for side, (labels, p) in zip("RL", sides, strict=True):
        entry = by_slice(summary["breast"])[((f.LATERALITY, side),)]
        assert values(entry)["macro_auc"] == pytest.approx(expected(labels, calibrate(p, 0.5))["macro_auc"], abs=2e-6)
        assert entry["n"] == len(exams())

    single = [(exam.true, row) for exam in exams() for row in exam.probabilities(CANDIDATE)]
    labels, p = np.array([true for true, _ in single]), np.array([row for _, row in single])
    views = by_slice(summary["view"])
    figures = expected(labels, p)
    assert {name: values(views[()])[name] for name in figures} == pytest.approx(figures, abs=2e-6)
    assert "uncalibrated_ece" not in views[()]["metrics"]
    assert views[((f.VIEW, "MLO_L"),)]["n"] == sum("MLO_L" in exam.views for exam in exams())
    assert views[((f.PECTORAL_STATUS, "not_applicable"),)]["n"] == 2 * len(exams())


def test_a_model_that_is_better_overall_and_worse_on_one_scanner_is_not_blessed(tmp_path: Path) -> None:
    save(tmp_path / "pushed" / "7", BASELINE)
    config = EvaluatorConfig(
        minimum_exam_accuracy=0.3,
        maximum_kappa_loss=0.05,
        maximum_dense_flips=0.5,
        maximum_system_loss=0.1,
        bootstrap_draws=100,
    )
    summary, blessing = evaluate(tmp_path, config, tmp_path / "pushed", temperature=0.8, train=learnt()[:19])
    gates = {(gate["name"], gate["slice"]): gate for gate in summary["gates"]}
    loss = "exam_accuracy by system against the latest pushed model"

    def hits(keep: Callable[[Exam], bool] = lambda exam: True) -> tuple[np.ndarray, np.ndarray]:
        labels, new = exam_scores(CANDIDATE, keep)
        _, old = exam_scores(BASELINE, keep)
        return new.argmax(1) == labels, old.argmax(1) == labels

    new, old = hits()
    assert new.mean() > old.mean() + 0.1  # better overall
    overall = by_slice(summary["exam"])[()]
    assert overall["change"]["accuracy"]["value"] == pytest.approx(new.mean() - old.mean(), abs=1e-6)
    kappa = gates["exam_quadratic_kappa against the latest pushed model", "all"]
    assert kappa["value"] > 0
    assert kappa["verdict"] == "passed"
    new, old = hits(lambda exam: exam.system == SECOND)
    worse = gates[loss, SECOND]
    assert worse["value"] == pytest.approx(new.mean() - old.mean(), abs=1e-6)
    assert worse["value"] < -0.1
    assert (worse["verdict"], worse["n"]) == ("failed", 20)
    assert {where: gate["verdict"] for (name, where), gate in gates.items() if name == loss} == {
        LARGE: "passed",
        SECOND: "failed",
        SMALL: "not judged",
    }
    assert [gate["name"] for gate in summary["gates"] if not gate["passed"]] == [loss]
    assert summary["blessed"] is False
    assert blessing.get_int_custom_property("blessed") == 0
    assert Path(blessing.uri, "NOT_BLESSED").is_file()
    assert summary["baseline"] == {"version": "7", "temperature": 1.0}

    grey = summary["grey_baseline"]
    assert (grey["problem"], grey["exam"], grey["gain"]) == ("too_few_exams", None, {})
    missed = gates["exam_quadratic_kappa against grey statistics", "all"]
    assert (missed["verdict"], missed["passed"], missed["reason"]) == ("warning", True, grey["message"])

    labels, new_p = exam_scores(CANDIDATE)
    _, old_p = exam_scores(BASELINE)
    for index, density in enumerate(f.DENSITY_CLASSES):
        of_class = labels == index
        difference = (new_p[of_class].argmax(1) == index).mean() - (old_p[of_class].argmax(1) == index).mean()
        recall = gates[f"exam_recall_{density} against the latest pushed model", "all"]
        assert recall["value"] == pytest.approx(difference, abs=1e-6)
        assert (recall["n"], recall["verdict"]) == (of_class.sum(), "passed")
    dense = labels >= 2
    lost = ((old_p.argmax(1) >= 2) == dense) & ((new_p.argmax(1) >= 2) != dense)
    assert gates["dense grades lost against the latest pushed model", "all"]["value"] == pytest.approx(
        lost.mean(), abs=1e-6
    )
