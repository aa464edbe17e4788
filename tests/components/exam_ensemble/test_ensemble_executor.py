"""The executor: networks and the eval split in, a calibrated SavedModel with its calibration.json out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.common.shards import shard_name, split_folder, write_shard
from components.exam_ensemble.config import EnsembleConfig
from components.exam_ensemble.executor import Executor
from components.exam_model.contract import (
    CONTRACT_FILE,
    FamiliarityFacts,
    SplitCounts,
    TrainingData,
    sha256_of,
    write_contract,
)
from components.exam_model.saved_model import check_contract, load_contract
from components.statistics.calibration import fit_temperature, load_calibration
from components.transform.config import ImageConfig
from schema import features as f
from schema.training_systems import TrainedSystem, TrainingSystems

pytestmark = pytest.mark.slow

EXAMS = 24  # the last has one view


def views_of(exam: int) -> tuple[str, ...]:
    return f.VIEWS if exam < EXAMS - 1 else f.VIEWS[:1]


def record(png: bytes, view: str, exam: int) -> bytes:
    density = f.DENSITY_CLASSES[exam % 4]
    values = {f.IMAGE: png, f.VIEW: view.encode(), f.EXAM_ID: f"exam{exam}".encode(), f.DENSITY: density.encode()}
    values[f.ACQUISITION_SYSTEM] = f"system {exam % 2}".encode()
    values |= {f.MANUFACTURER: b"GE", f.MODEL_NAME: b"Senograph DS", f.SOFTWARE_VERSION: b"ADS 53.40"}
    features = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


@pytest.fixture(scope="module")
def pngs(texture_png: Callable[..., bytes]) -> dict[tuple[int, str], bytes]:
    return {(exam, v): texture_png(4 * exam + i) for exam in range(EXAMS) for i, v in enumerate(views_of(exam))}


def artifact(kind: Any, folder: Path) -> list[Any]:
    made = kind()
    made.uri = str(folder)
    return [made]


@pytest.fixture
def model_folder(exam_networks: dict[str, Any], pngs: dict[tuple[int, str], bytes], tmp_path: Path) -> str:
    """Runs the executor, which grades exams of two views or more; returns the SavedModel's folder."""
    records = [record(png, view, exam) for (exam, view), png in pngs.items()]
    for index in range(2):  # the exam in the middle lies in both shards
        part = records[:50] if index == 0 else records[50:]
        write_shard(str(Path(split_folder(str(tmp_path / "examples"), "eval"), shard_name(index, 2))), part)
    write_shard(str(Path(split_folder(str(tmp_path / "examples"), "train"), shard_name(0, 1))), records[:7])
    inputs = {"examples": artifact(standard_artifacts.Examples, tmp_path / "examples")}
    inputs["examples"][0].split_names = '["train", "eval", "test"]'
    for view, network in exam_networks.items():
        [inputs[view]] = [artifact(standard_artifacts.Model, tmp_path / view)]
        Path(path_utils.serving_model_path(str(tmp_path / view))).mkdir(parents=True)
        network.save(Path(path_utils.serving_model_path(str(tmp_path / view)), "network.keras"))

    properties = {
        "image": ImageConfig(size=64).model_dump_json(),
        "preprocessing": "{}",
        "config": EnsembleConfig(minimum_views=2).model_dump_json(),
        "mirrored": 0,
        "origin": "noise",
    }
    Executor().Do(inputs, {"model": artifact(standard_artifacts.Model, tmp_path / "model")}, properties)
    return path_utils.serving_model_path(str(tmp_path / "model"))


def test_the_temperature_is_fitted_to_the_eval_exams_that_are_graded_and_applied_only_if_it_helps(
    model_folder: str, pngs: dict[tuple[int, str], bytes]
) -> None:
    calibration = load_calibration(model_folder)
    assert calibration is not None
    model = tf.saved_model.load(model_folder)
    answer = model.signatures["predict_exam"](
        image_bytes=tf.constant(list(pngs.values())),
        view=tf.constant([view for _, view in pngs]),
        exam_id=tf.constant([f"{exam}" for exam, _ in pngs]),
    )
    got = {name: value.numpy() for name, value in answer.items()}
    raw, labels = got["raw_probabilities"][:-1], np.arange(EXAMS - 1) % 4
    assert (got["density"][-1], calibration.exams) == (b"", EXAMS - 1)
    # Labels at random: cross-validation does not show that the fitted temperature helps, so it is not applied.
    assert calibration.fitted == pytest.approx(fit_temperature(raw, labels), rel=1e-4)
    assert calibration.fitted != 1.0
    assert (calibration.decision, calibration.temperature) == ("not_shown_to_help", 1.0)
    np.testing.assert_allclose(got["probabilities"][:-1], raw, atol=1e-6)
    contract = load_contract(model_folder)
    assert {TrainingSystems.of_model(text) for text in got["training_systems"]} == {
        contract.training_data.training_systems
    }
    assert set(got["familiarity"].tolist()) == {-1.0}
    assert calibration.by_class == {"A": 6, "B": 6, "C": 6, "D": 5}
    assert calibration.nll.before == calibration.nll.after
    assert contract.calibration.reason == calibration.reason
    assert "not shown to help" in calibration.reason
    check_contract_of(model_folder, calibration.temperature)


def check_contract_of(model_folder: str, temperature: float) -> None:
    contract = load_contract(model_folder)
    check_contract(contract, model_folder)
    assert Path(model_folder, CONTRACT_FILE).read_bytes() == write_contract(contract)
    assert (contract.calibration.temperature, contract.calibration.exams) == (temperature, EXAMS - 1)
    file = Path(model_folder, contract.calibration.file).read_bytes()
    assert (contract.calibration.file_sha256, json.loads(file)["temperature"]) == (sha256_of(file), temperature)
    assert (contract.exam.minimum_views, contract.image.height, contract.evaluation) == (2, 64, None)
    assert contract.training_data == TrainingData(
        origin="noise",
        splits={
            "train": SplitCounts(
                exams=2,
                views=7,
                by_class={"A": 1, "B": 1, "C": 0, "D": 0},
                by_acquisition_system={"system 0": 1, "system 1": 1},
            ),
            "eval": SplitCounts(
                exams=EXAMS,
                views=4 * EXAMS - 3,
                by_class=dict.fromkeys(f.DENSITY_CLASSES, EXAMS // 4),
                by_acquisition_system={"system 0": EXAMS // 2, "system 1": EXAMS // 2},
            ),
        },
        systems=(
            TrainedSystem(name="GE Senograph DS", software_versions=("ADS 53.40",), exams=2),
            TrainedSystem(name="system 0", exams=1),
            TrainedSystem(name="system 1", exams=1),
        ),
    )
    assert contract.familiarity == FamiliarityFacts(
        available=False, reason="a network has 1 training views, and 20 are needed", train_exams=2, eval_exams=EXAMS
    )
    assert {"missing_views", "unseen_system", "for_processing", "not_mammography"} <= set(contract.refuses)
