"""DriftMonitor on real shards: what moved, what is new, what few exams cannot tell, and what stops a run."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.common.artifacts import DriftReport
from components.common.shards import shard_name, span_prefix, split_folder, write_shard
from components.common.views import parse_view
from components.drift_monitor import executor
from components.drift_monitor.compare import compare_groups, null_bound_of_divergence, null_bound_of_shares
from components.drift_monitor.config import DriftConfig
from components.drift_monitor.measure import Group, grouped_shards
from components.drift_monitor.summary import Comparison, DriftSummary, PushedFamiliarity
from components.exam_model.contract import CONTRACT_FILE, write_contract
from components.exam_model.measured_familiarity import familiarity_facts, measure_exams
from components.exam_model.saved_model import load_contract
from components.reference_model import reference_folder
from schema import features as f

pytestmark = pytest.mark.slow

SCHEMA = Path(__file__).parents[3] / "schema" / "schema.pbtxt"
SPLITS = ("train", "eval", "test")


def record(exam: str, view: str, **change: Any) -> bytes:
    number = int(exam.rsplit(" ", 1)[1])
    values: dict[str, Any] = {
        f.IMAGE: "pixels",
        f.IMAGE_HEIGHT: 96,
        f.IMAGE_WIDTH: 96,
        f.PIXEL_SPACING_MM: 0.5 + 0.01 * (number % 7),
        f.VIEW: view,
        f.LATERALITY: f.laterality_of(view),
        f.EXAM_ID: exam,
        f.PATIENT_ID: exam,
        f.DENSITY: "ABCD"[number % 4],
        f.ACQUISITION_SYSTEM: "GE Senograph DS ADS 53.40",
        f.MANUFACTURER: "GE",
        f.MODEL_NAME: "Senograph DS",
        f.SOFTWARE_VERSION: "ADS 53.40",
        f.PATIENT_AGE: 50 + number % 20,
        f.ACQUISITION_YEAR: 2015,
        f.PECTORAL_STATUS: "removed" if f.is_mlo(view) else "not_applicable",
        f.PECTORAL_AREA_FRACTION: 0.1 + 0.001 * (number % 11) if f.is_mlo(view) else 0.0,
        f.BREAST_AREA_FRACTION: 0.4 + 0.01 * (number % 13),
        **change,
    }
    example = tf.train.Example()
    for name, value in values.items():
        feature = example.features.feature[name]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        elif isinstance(value, str):
            feature.bytes_list.value.append(value.encode())
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        else:
            feature.int64_list.value.append(value)
    return example.SerializeToString()


def write_span(root: Path, exams: dict[str, int], span: int | None = None, **change: Any) -> None:
    """Writes that many four-view exams a split, as MammogramPreprocessor names their shards."""
    prefix = "" if span is None else span_prefix(span)
    for split, count in exams.items():
        names = [f"{split} {span} {number}" for number in range(count)]
        records = [record(exam, view, **change) for exam in names for view in f.VIEWS]
        write_shard(str(Path(split_folder(str(root), split)) / (prefix + shard_name(0, 1))), records)


def monitor(
    root: Path, config: DriftConfig, span: int = 0, selected: Path | None = None, pushed: Path | None = None
) -> DriftSummary:
    """Runs the executor; where drift is to stop the run, it has to."""
    examples, schema, report = standard_artifacts.Examples(), standard_artifacts.Schema(), DriftReport()
    examples.uri, examples.span = str(root), span
    examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
    schema.uri, report.uri = str(SCHEMA.parent), str(root / "report")
    context = executor.Executor.Context(tmp_dir=str(root / "tmp"), unique_id="1")
    inputs: dict[str, list[Any]] = {"examples": [examples], "schema": [schema]}
    if selected is not None:
        chosen = standard_artifacts.Examples()
        chosen.uri = str(selected)
        inputs["selected_examples"] = [chosen]
    arguments = inputs, {"drift_report": [report]}
    properties = {"config": config.model_dump_json(), "serving_dir": str(pushed or root / "serving")}
    if config.on_drift == "stop":
        with pytest.raises(executor.DriftError, match=r"to go on: Unseen .*Fujifilm.* Drift of density"):
            executor.Executor(context).Do(*arguments, properties)
    else:
        executor.Executor(context).Do(*arguments, properties)
    return DriftSummary.model_validate_json((root / "report" / "summary.json").read_text(encoding="utf-8"))


def verdicts(comparison: Comparison) -> dict[str, str]:
    return {moved.feature: moved.verdict for moved in comparison.features}


def alarmed(comparison: Comparison) -> set[str]:
    return {name for name, verdict in verdicts(comparison).items() if verdict == "alert"}


NEW: dict[str, Any] = {f.DENSITY: "D", f.ACQUISITION_SYSTEM: "Fujifilm Innovality", f.MANUFACTURER: "Fujifilm"}


def test_a_new_span_of_another_system_and_class_mix_is_told(tmp_path: Path) -> None:
    write_span(tmp_path, {"train": 32, "eval": 8, "test": 8}, span=1)
    write_span(tmp_path, {"train": 8, "eval": 8, "test": 8}, span=12, **NEW)
    summary = monitor(tmp_path, DriftConfig(on_drift="stop"), span=12)
    drift, skew = summary.comparisons

    assert (drift.exams, drift.reference_exams) == (24, 48)
    assert alarmed(drift) == {f.DENSITY, f.ACQUISITION_SYSTEM, f.MANUFACTURER}
    [density] = [moved for moved in drift.features if moved.feature == f.DENSITY]
    assert density.distance == pytest.approx(0.75)
    assert density.detail == "D: 25 % -> 100 %"
    assert 0.1 == density.threshold < density.chance < density.distance
    assert f.ACQUISITION_YEAR not in verdicts(drift)  # a new span is of a new year
    assert [(unseen.system, unseen.exams) for unseen in drift.unseen] == [("Fujifilm Innovality", 24)]

    # Eval and test have it more often, which so few exams do not make sure of; but training has it too.
    assert (skew.exams, skew.reference_exams) == (32, 40)
    assert verdicts(skew)[f.ACQUISITION_SYSTEM] == "chance"
    assert not skew.unseen
    assert verdicts(skew)[f.ACQUISITION_YEAR] == "alike"

    first, *others = summary.alerts
    assert first == (
        "Unseen acquisition system in the newest span 12 (24 exams): Fujifilm Innovality; "
        "no earlier training exam is of it."
    )
    [sentence] = [alert for alert in others if f.DENSITY in alert]
    assert sentence.startswith(
        "Drift of density: D: 25 % -> 100 % (earlier spans -> newest span 12); L-infinity 0.750, threshold 0.1, "
    )


def test_without_spans_held_out_exams_are_compared_alone(tmp_path: Path) -> None:
    write_span(tmp_path, {"train": 16, "test": 8})
    write_span(tmp_path, {"eval": 1}, **NEW)
    drift, skew = (summary := monitor(tmp_path, DriftConfig())).comparisons
    assert drift.remark == "There is one span, or none: nothing to compare new exams with."
    assert not drift.features
    assert [(unseen.system, unseen.exams) for unseen in skew.unseen] == [("Fujifilm Innovality", 1)]
    assert alarmed(skew) == set()  # 9 exams against 16 move by chance
    assert verdicts(skew)[f.DENSITY] == "alike"
    assert verdicts(skew)[f.ACQUISITION_SYSTEM] == "chance"
    assert len(summary.alerts) == 1


def test_the_pushed_model_tells_whether_new_exams_are_like_its_training_exams(
    texture_png: Callable[..., bytes], tmp_path: Path
) -> None:
    data, pushed = tmp_path / "data", tmp_path / "pushed"
    exams, cap = 12, 10
    pictures = [texture_png(number, 128) for number in range(exams)]
    rows = [record(f"exam {n}", view, **{f.IMAGE: png}) for n, png in enumerate(pictures) for view in f.VIEWS]
    for shard in range(2):  # the images of an exam lie apart
        path = Path(split_folder(str(data), "test"), span_prefix(2) + shard_name(shard, 2))
        write_shard(str(path), rows[shard::2])
    write_span(data, {"train": 16}, span=1)
    config = DriftConfig(familiarity_exams=cap)

    found = monitor(data, config, span=2, pushed=pushed).familiarity
    assert found is not None
    assert found.unlike is None
    assert found.remark == "Not compared with a model: none had been pushed when these exams came."

    [newest] = reference_folder().glob("*/saved_model.pb")
    shutil.copytree(newest.parent, pushed / "7")
    summary = monitor(data, config, span=2, pushed=pushed)
    found = summary.familiarity
    assert found is not None
    assert found.unlike is not None
    assert found.expected is not None
    assert (found.version, found.subject, found.unlike.value, found.unlike.n) == ("7", "newest span 2", 1.0, cap)
    low, high = found.expected.ci95 or (0, 0)
    assert summary.alerts[0] == (
        "100% (72% to 100%) of the 10 exams of the newest span 2 are unlike the training exams of model 7; "
        f"5% ({low:.0%} to {high:.0%}) are expected."
    )

    # Which exams are unlike is what the model itself answers.
    model = tf.saved_model.load(str(pushed / "7"))
    answer = model.signatures["predict_exam"](
        image_bytes=tf.constant([png for png in pictures for _ in f.VIEWS]),
        view=tf.constant([*f.VIEWS] * exams),
        exam_id=tf.constant([f"exam {n}" for n in range(exams) for _ in f.VIEWS]),
    )
    asked = answer["familiarity"].numpy()
    contract = load_contract(str(pushed / "7"))
    facts = familiarity_facts(str(pushed / "7"))
    views = (parse_view(row) for row in rows)
    measured = measure_exams(str(pushed / "7"), facts, views)
    np.testing.assert_allclose([exam.familiarity for exam in measured], asked, rtol=1e-4)

    no_surprise = facts.model_copy(update={"exam_thresholds": (1e6,) * 4})
    changed = contract.model_copy(update={"familiarity": no_surprise})
    (pushed / "7" / CONTRACT_FILE).write_bytes(write_contract(changed))
    summary = monitor(data, config, span=2, pushed=pushed)
    assert summary.familiarity is not None
    assert summary.familiarity.unlike is not None
    assert summary.familiarity.unlike.value == 0.0
    assert not any("unlike" in alert for alert in summary.alerts)

    without = contract.model_copy(update={"familiarity": None})
    (pushed / "7" / CONTRACT_FILE).write_bytes(write_contract(without))
    assert monitor(data, config, span=2, pushed=pushed).familiarity == PushedFamiliarity(
        subject="newest span 2",
        version="7",
        remark="Model 7 cannot tell whether an exam is unlike its training exams: the model has no contract, or an "
        "older one.",
    )


def test_what_has_no_image_is_not_compared() -> None:
    schema = text_format.Parse(SCHEMA.read_text(encoding="utf-8"), schema_pb2.Schema())
    drift, skew = compare_groups({}, {group: {} for group in Group}, schema, span=2).comparisons
    assert drift.remark == "Nothing to compare: no image of the newest span 2."
    assert skew.remark == "Nothing to compare: no image of the eval and test splits."


def test_exams_that_selection_leaves_out_are_not_trained_on(tmp_path: Path) -> None:
    data, selected = tmp_path / "data", tmp_path / "selected"
    write_span(data, {"train": 8, "eval": 4, "test": 4}, span=1)
    write_span(data, {"train": 6}, span=2, **NEW)  # seen by ingest
    write_span(data, {"train": 4, "test": 4}, span=3, **NEW)
    drift, skew = monitor(data, DriftConfig(), span=3).comparisons
    assert (drift.unseen, skew.unseen) == ((), ())
    assert skew.reference_exams == 18

    # As ExamSelector writes the exams of the other system: a shard without any is not there.
    write_span(selected, {"train": 8, "eval": 4}, span=1)
    chosen = monitor(data, DriftConfig(), span=3, selected=selected)
    for comparison, unseen in zip(chosen.comparisons, (8, 4), strict=True):
        assert [(found.system, found.exams) for found in comparison.unseen] == [("Fujifilm Innovality", unseen)]
    assert chosen.comparisons[1].reference_exams == 8
    # What has come is compared with what had come, whoever learns from it.
    assert chosen.comparisons[0].features == drift.features
    assert "no training exam is of it" in chosen.alerts[1]


def groups_of(root: Path, newest: int) -> dict[str, set[Group]]:
    shards = grouped_shards(str(root), SPLITS, newest)
    return {Path(shard.path).parent.name.removeprefix("Split-"): set(shard.groups) for shard in shards}


def test_a_shard_belongs_to_the_groups_of_its_split_and_span(tmp_path: Path) -> None:
    write_span(tmp_path, dict.fromkeys(SPLITS, 1), span=2)
    held_out = {Group.HELD_OUT, Group.NEWEST}
    assert groups_of(tmp_path, 2) == {"train": {Group.TRAIN, Group.NEWEST}, "eval": held_out, "test": held_out}
    held_out = {Group.HELD_OUT, Group.EARLIER}
    earlier = {Group.TRAIN, Group.EARLIER, Group.TRAIN_EARLIER}
    assert groups_of(tmp_path, 3) == {"train": earlier, "eval": held_out, "test": held_out}

    without = tmp_path / "without spans"
    write_span(without, dict.fromkeys(SPLITS, 1))
    assert groups_of(without, 0) == {"train": {Group.TRAIN}, "eval": {Group.HELD_OUT}, "test": {Group.HELD_OUT}}


def divergences(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence, base 2, of pairs of histograms."""
    p, q = (counts / counts.sum(axis=1, keepdims=True) for counts in (first, second))
    middle = np.where(p + q > 0, (p + q) / 2, 1)
    terms = [np.where(x > 0, x * np.log2(np.where(x > 0, x, 1) / middle), 0) for x in (p, q)]
    return np.sum(terms, axis=(0, 2)) / 2


@pytest.mark.parametrize(("n", "others"), [(30, 120), (400, 4000)])
def test_chance_seldom_exceeds_its_bounds_and_they_are_not_far_off(n: int, others: int) -> None:
    random = np.random.default_rng(1)
    shares = np.array([0.12, 0.28, 0.5, 0.1])
    new, old = (random.multinomial(size, shares, 20_000) for size in (n, others))
    distances = np.abs(new / n - old / others).max(axis=1)
    bound = null_bound_of_shares(list(shares), n, others, 0.01)
    assert np.mean(distances > bound) <= 0.01
    assert np.mean(distances > 0.8 * bound) > 0.01

    bins = np.full(20, 1 / 20)
    found = divergences(*(random.multinomial(size, bins, 20_000) for size in (n, others)))
    bound = null_bound_of_divergence(20, n, others, 0.01)
    assert np.mean(found > bound) <= 0.01
    assert np.mean(found > 0.6 * bound) > 0.01


def test_bounds_shrink_with_exams_and_stay_distances() -> None:
    assert null_bound_of_shares([0.5, 0.5], 1, 1, 0.01) == null_bound_of_divergence(20, 1, 1, 0.01) == 1.0
    assert null_bound_of_shares([0.5, 0.5], 100_000, 100_000, 0.01) < 0.01
    assert null_bound_of_divergence(20, 100_000, 100_000, 0.01) < 0.001
    assert null_bound_of_divergence(1, 5, 5, 0.01) == null_bound_of_shares([1.0], 5, 5, 0.01) == 0.0
