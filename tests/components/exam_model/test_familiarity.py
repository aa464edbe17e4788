"""Familiarity of the SavedModel against scikit-learn on the features of the Keras networks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from components.common.shards import shard_name, split_folder, write_shard
from components.common.views import View
from components.evaluator.familiarity import measure_familiarity
from components.exam_ensemble.ensemble import grade_split, load_exam_model
from components.exam_ensemble.familiarity import fit_distributions, fit_familiarity
from components.exam_ensemble.saving import save_exam_model
from components.exam_model.batching import BatchingConfig
from components.exam_model.contract import CONTRACT_FILE, FamiliarityFacts, TrainingData, write_contract
from components.exam_model.familiarity import feature_layers
from components.exam_model.saved_model import load_contract
from components.exam_model.signatures import ExamModel, ExamSettings, export
from components.statistics.calibration import fit_calibration
from components.trainer.config import NetworkConfig
from components.trainer.network import build_head
from components.transform.config import ImageConfig
from components.transform.images import decode_images, normalise
from schema import features as f
from serving.client.local_model import LocalModel
from serving.infra_check import probe
from serving.infra_check.check import build_requests
from tests.pictures import decode_picture
from tests.systems import systems_of_phantoms

IMAGE = ImageConfig(size=64)
TRAIN, HELD_OUT, NEW = 30, 40, 60


def record(png: bytes, view: str, exam: str) -> bytes:
    values = {f.IMAGE: png, f.VIEW: view.encode(), f.EXAM_ID: exam.encode(), f.DENSITY: b"B"}
    features = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


Exam = dict[str, bytes]


@pytest.fixture(scope="module")
def exams(texture_png: Callable[..., bytes]) -> list[Exam]:
    """Exams of smooth noise; every fifth lacks a view."""
    return [
        {view: texture_png(4 * exam + i) for i, view in enumerate(f.VIEWS) if exam % 5 or i != exam % 4}
        for exam in range(TRAIN + HELD_OUT + NEW)
    ]


@pytest.fixture(scope="module")
def splits(exams: list[Exam], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    root = str(tmp_path_factory.mktemp("examples"))
    folders = {split: split_folder(root, split) for split in ("train", "eval")}
    for split, part in (("train", range(TRAIN)), ("eval", range(TRAIN, TRAIN + HELD_OUT))):
        rows = [record(png, view, f"exam {exam}") for exam in part for view, png in exams[exam].items()]
        write_shard(str(Path(folders[split], shard_name(0, 1))), rows)
    return folders


@pytest.fixture(scope="module")
def networks(exam_networks: dict[str, Any]) -> dict[str, Any]:
    """The networks of the views, and one with a cumulative head for all views."""
    import keras

    features = exam_networks["CC_R"].get_layer("features")
    head = build_head(features, NetworkConfig(), seed=1, head="cumulative")
    outer = keras.Input((IMAGE.size, IMAGE.size, 1))
    return {**exam_networks, "ALL": keras.Model(outer, head(features(outer)))}


@pytest.fixture(scope="module")
def network_files(networks: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("networks")
    for name, network in networks.items():
        network.save(folder / f"{name}.keras")
    return {name: str(folder / f"{name}.keras") for name in networks}


@pytest.fixture(scope="module")
def files(network_files: dict[str, str]) -> dict[str, str]:
    return {view: network_files[view] for view in f.VIEWS}


def fitted(model: ExamModel, splits: dict[str, str], most: int = 1000) -> tuple[ExamModel, FamiliarityFacts]:
    found = fit_distributions(model, splits["train"], most)
    to_grade = model if found.problem else model.changed(familiarity=found.familiarity())
    known, facts = fit_familiarity(model, found, grade_split(to_grade, splits["eval"]))
    return model.changed(familiarity=known), facts


def ask(folder: Path, exams: list[Exam], signature: str = "predict_exam") -> dict[str, np.ndarray]:
    rows = [(png, view, str(number)) for number, exam in enumerate(exams) for view, png in exam.items()]
    inputs = {
        name: tf.constant(values)
        for name, values in zip(("image_bytes", "view", "exam_id"), zip(*rows, strict=True), strict=True)
    }
    if signature == "predict_view":
        del inputs["exam_id"]
    elif signature == "explain_exam":
        inputs["target_class"] = tf.constant([""])
    model = tf.saved_model.load(str(folder))
    return {name: value.numpy() for name, value in model.signatures[signature](**inputs).items()}


def features_of(network: Any, png: bytes, flip: bool) -> np.ndarray:
    part = network.get_layer("features")
    import keras

    outputs = keras.Model(part.inputs, [part.get_layer(name).output for name in ("conv2_3_add", "conv3_3_add")])
    pixels = normalise(decode_images(tf.constant([png]), IMAGE.size), IMAGE).numpy()
    layers = [np.asarray(value, np.float64)[0] for value in outputs(pixels[:, :, ::-1] if flip else pixels)]
    return np.concatenate([part for layer in layers for part in (layer.mean((0, 1)), layer.std((0, 1)))])


def test_the_layers_are_the_last_sums_of_two_stages_whatever_the_number_of_blocks() -> None:
    names = [f"conv{stage}_{block}_add" for stage in (4, 3, 2) for block in range(1, 13)]
    assert feature_layers([*names, "conv2_13_relu", "pool1"]) == ("conv2_12_add", "conv3_12_add")
    assert feature_layers(["conv3_1_add", "conv2_1_add"]) == ("conv2_1_add", "conv3_1_add")
    assert feature_layers(["conv2_1_add", "conv4_1_add"]) == ()


@pytest.mark.parametrize("kind", ["four batched", "mirrored", "one"])
def test_it_is_the_mahalanobis_distance_of_scikit_learn_to_a_conformal_threshold(
    kind: str, exams: list[Exam], splits: dict[str, str], network_files: dict[str, str], networks: Any, tmp_path: Path
) -> None:
    shared = {
        "four batched": dict(zip(f.VIEWS, f.VIEWS, strict=True)),
        "mirrored": {"CC_R": "CC_L", "CC_L": "CC_L", "MLO_R": "MLO_L", "MLO_L": "MLO_L"},
        "one": dict.fromkeys(f.VIEWS, "ALL"),
    }
    network_of, mirrored = shared[kind], kind in ("mirrored", "one")
    batching = BatchingConfig(max_batch=4) if kind == "four batched" else None
    settings = ExamSettings("{}", mirrored=mirrored, batching=batching)
    files = {view: network_files[network_of[view]] for view in f.VIEWS}
    model, facts = fitted(load_exam_model(files, IMAGE, settings), splits)
    export(model, str(tmp_path))

    rows: dict[str, list[tuple[int, str, np.ndarray]]] = {}
    for number, exam in enumerate(exams):
        for view, png in exam.items():
            name = network_of[view]
            found = features_of(networks[name], png, mirrored and view.endswith("R"))
            rows.setdefault(name, []).append((number, view, found))
    relative: dict[tuple[int, str], float] = {}
    for of_network in rows.values():
        train = np.array([row for number, _, row in of_network if number < TRAIN])
        scaler = StandardScaler().fit(train)
        shrunk = LedoitWolf(assume_centered=True).fit(scaler.transform(train))
        distance = {(n, v): np.sqrt(shrunk.mahalanobis(scaler.transform(row[None])))[0] for n, v, row in of_network}
        held_out = sorted(d for (n, _), d in distance.items() if TRAIN <= n < TRAIN + HELD_OUT)
        threshold = held_out[int(np.ceil(0.95 * (len(held_out) + 1))) - 1]
        relative |= {key: d / threshold for key, d in distance.items()}

    new = range(TRAIN + HELD_OUT, len(exams))
    answer = ask(tmp_path, [exams[n] for n in new], "predict_view")
    expected = [1 / relative[n, view] for n in new for view in exams[n]]
    np.testing.assert_allclose(answer["familiarity"], expected, rtol=2e-4)

    means = {n: np.mean([relative[n, view] for view in exams[n]]) for n in range(len(exams))}
    whole = sorted(means[n] for n in range(TRAIN, TRAIN + HELD_OUT) if len(exams[n]) == 4)
    thresholds = facts.exam_thresholds
    assert thresholds[3] == pytest.approx(whole[int(np.ceil(0.95 * (len(whole) + 1))) - 1], rel=2e-4)
    answer = ask(tmp_path, [exams[n] for n in new], "explain_exam")
    np.testing.assert_allclose(
        answer["familiarity"], [thresholds[len(exams[n]) - 1] / means[n] for n in new], rtol=2e-4
    )
    np.testing.assert_allclose(answer["view_familiarity"], expected, rtol=2e-4)


@pytest.fixture(scope="module")
def folder(files: dict[str, str], splits: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("model")
    export(fitted(load_exam_model(files, IMAGE, ExamSettings("{}")), splits)[0], str(found))
    return found


def test_infra_check_compares_the_answers_with_the_contract(
    files: dict[str, str], splits: dict[str, str], exams: list[Exam], tmp_path: Path
) -> None:
    preprocessing = '{"longest_side": 512}'
    model, facts = fitted(load_exam_model(files, IMAGE, ExamSettings(preprocessing)), splits)
    assert facts.available
    assert (facts.train_exams, facts.eval_exams, len(facts.train_views)) == (TRAIN, HELD_OUT, 4)
    assert facts.false_refusals is not None
    assert facts.false_refusals.ci95 is not None
    assert facts.false_refusals.ci95[0] < 0.05 < facts.false_refusals.ci95[1] < 0.2
    calibration = fit_calibration(np.zeros((0, 4)), np.zeros(0))
    data = TrainingData(origin="noise", splits={}, systems=systems_of_phantoms())
    contract = save_exam_model(model, str(tmp_path), calibration, data, facts)
    requests = build_requests([View(png, view, "exam", "B") for view, png in exams[-1].items()])

    def failed() -> list[str]:
        checks = probe.run_checks(str(tmp_path), requests)
        return [c["detail"] for c in checks if not c["passed"] and "no code of this package" not in c["name"]]

    assert failed() == []

    new = range(TRAIN + HELD_OUT, len(exams))
    rows = [record(png, view, f"exam {n}") for n in new for view, png in exams[n].items()]
    for shard in range(2):  # the images of an exam lie apart
        write_shard(str(Path(split_folder(str(tmp_path / "x"), "test"), shard_name(shard, 2))), rows[shard::2])
    measured = measure_familiarity(str(tmp_path), split_folder(str(tmp_path / "x"), "test"))
    expected = ask(tmp_path, [exams[n] for n in new])["familiarity"]
    everything, unknown = measured["slices"]
    assert (everything["n"], everything["unlike"]["value"]) == (NEW, round(float(np.mean(expected < 1)), 6))
    assert everything["quantiles"]["0.5"] == pytest.approx(np.median(expected), rel=1e-3)
    assert unknown["slice"] == {"acquisition_system": "unknown"}
    for change, complaint in (
        ({"familiarity": FamiliarityFacts(available=False)}, "familiarity is a number, against the contract"),
        ({"training_data": data.model_copy(update={"systems": ()})}, "training_systems is not what training_data says"),
    ):
        (tmp_path / CONTRACT_FILE).write_bytes(write_contract(contract.model_copy(update=change)))
        assert any(complaint in detail for detail in failed())


def test_a_contract_of_before_familiarity_is_read_and_says_nothing_about_it(
    files: dict[str, str], splits: dict[str, str], tmp_path: Path
) -> None:
    model = load_exam_model(files, IMAGE, ExamSettings("{}"))
    calibration = fit_calibration(np.zeros((0, 4)), np.zeros(0))
    content = json.loads(write_contract(save_exam_model(model, str(tmp_path), calibration, TrainingData(splits={}))))
    del content["familiarity"]
    for signature in content["signatures"].values():
        for name in [name for name in signature["outputs"] if name.endswith("familiarity")]:
            del signature["outputs"][name]
    (tmp_path / CONTRACT_FILE).write_text(json.dumps(content))
    assert load_contract(str(tmp_path)).familiarity is None
    measured = measure_familiarity(str(tmp_path), splits["eval"])
    assert measured == {"available": False, "reason": "the model has no contract, or an older one", "slices": []}


def test_few_exams_like_the_training_are_flagged_and_other_pictures_are(folder: Path, exams: list[Exam]) -> None:
    new = exams[TRAIN + HELD_OUT :]

    def flagged(change: Callable[[np.ndarray], np.ndarray]) -> float:
        def changed(png: bytes) -> bytes:
            picture = decode_picture(png)
            return cv2.imencode(".png", change(picture))[1].tobytes()

        other = [{view: changed(png) for view, png in exam.items()} for exam in new]
        found = ask(folder, other)["familiarity"]
        assert np.isfinite(found).all()
        assert found.min() >= 0
        return float(np.mean(found < 1))

    random = np.random.default_rng(1)
    assert flagged(lambda picture: picture) <= 0.15, "5 % are expected of 60, from 40 held-out exams"
    assert flagged(lambda picture: 255 - picture) > 0.9
    assert flagged(lambda picture: np.zeros_like(picture)) == 1
    assert flagged(lambda picture: random.integers(0, 256, picture.shape).astype(np.uint8)) > 0.9


def test_several_images_of_a_view_count_as_one(folder: Path, exams: list[Exam]) -> None:
    exam = exams[-1]
    once = ask(folder, [exam])["familiarity"]
    model = LocalModel(folder)
    assert model.predict_exam(exam).familiarity == pytest.approx(float(once[0]), rel=1e-5)
    answer = tf.saved_model.load(str(folder)).signatures["predict_exam"](
        image_bytes=tf.constant([*exam.values(), exam["CC_R"], exam["CC_R"]]),
        view=tf.constant([*exam, "CC_R", "CC_R"]),
        exam_id=tf.constant(["x"] * (len(exam) + 2)),
    )
    np.testing.assert_allclose(answer["familiarity"], once, rtol=1e-5)
    assert answer["view_count"].numpy().tolist() == [len(exam)]


def test_too_few_exams_make_no_familiarity_and_the_contract_says_why(
    files: dict[str, str], splits: dict[str, str], exams: list[Exam], tmp_path: Path
) -> None:
    plain = load_exam_model(files, IMAGE, ExamSettings("{}"))
    few = {**splits, "eval": split_folder(str(tmp_path), "few")}
    rows = [record(png, view, f"exam {n}") for n in range(18) for view, png in exams[n].items()]
    write_shard(str(Path(few["eval"], shard_name(0, 1))), rows)
    for (model, facts), reason in (
        (fitted(plain, few), "the eval split has 18 exams, and a threshold needs 19"),
        (fitted(plain, splits, most=10), "training views, and 20 are needed"),
        (fitted(plain, splits, most=0), "it is off"),
    ):
        assert reason in facts.reason
        assert not facts.available
        assert model._settings.familiarity is None
    export(plain, str(tmp_path / "model"))
    assert set(ask(tmp_path / "model", exams[:3])["familiarity"].tolist()) == {-1.0}
    grade = LocalModel(tmp_path / "model").explain_exam(exams[0])
    assert grade.grade.familiarity is None
    assert {view.familiarity for view in grade.views.values()} == {None}
