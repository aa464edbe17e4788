"""A version is pushed whole or not at all."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tfx.types import standard_artifacts

from components.common.artifacts import Explanations
from components.evaluator.slices import METRICS_FILE
from components.exam_ensemble.saving import make_contract
from components.exam_model.contract import (
    CONTRACT_FILE,
    Contract,
    ContractError,
    FamiliarityFacts,
    TrainingData,
    read_contract,
    sha256_of,
    write_contract,
)
from components.exam_model.contract_signatures import promised_signatures
from components.exam_model.saved_model import model_digest
from components.exam_model.signatures import ExamSettings
from components.pusher.executor import Executor
from components.pusher.push import push_version, with_evaluation
from components.statistics.calibration import fit_calibration
from components.statistics.intervals import Figure
from components.transform.config import ImageConfig


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact" / "Format-Serving"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_text("graph")
    (folder / "variables" / "variables.data").write_bytes(b"w" * 300_000)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_copy_is_whole_under_its_version(model: Path, tmp_path: Path) -> None:
    serving = tmp_path / "deep" / "serving"
    target = push_version(str(model), str(serving), 1700000000)
    assert target == str(serving / "1700000000")
    assert contents(Path(target)) == contents(model)
    assert [p.name for p in serving.iterdir()] == ["1700000000"]


def test_the_version_is_raised_above_the_newest(model: Path, tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    versions = [Path(push_version(str(model), str(serving), version)).name for version in (9, 9, 5, 100, 99)]
    assert versions == ["9", "10", "11", "100", "101"]


def test_a_failure_leaves_nothing_and_harms_no_version(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = tmp_path / "serving"
    push_version(str(model), str(serving), 1)
    copy = tf.io.gfile.copy
    copied: list[str] = []

    def failing(source: str, target: str, overwrite: bool = False) -> None:
        if copied:
            raise OSError("disk full")
        copied.append(target)
        copy(source, target, overwrite)

    monkeypatch.setattr(tf.io.gfile, "copy", failing)
    with pytest.raises(OSError, match="disk full"):
        push_version(str(model), str(serving), 2)
    assert copied, "it failed half way"
    assert [p.name for p in serving.iterdir()] == ["1"]


def test_whoever_watches_never_sees_half_a_version(model: Path, tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    serving.mkdir()
    wanted, halves, stop = set(contents(model)), [], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for folder in serving.iterdir():
                if folder.name.isdecimal() and set(contents(folder)) != wanted:
                    halves.append(folder.name)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for version in range(1, 15):
        push_version(str(model), str(serving), version)
    stop.set()
    watcher.join()
    assert halves == []


def metrics(**changed: Any) -> dict[str, Any]:
    """``exam_metrics.json`` with what the contract takes of it, and with what it leaves."""
    figures = {"accuracy": {"value": 0.98, "ci95": [0.89, 0.99], "n": 49}}
    undefined = {"macro_auc": {"value": None, "ci95": None, "n": 18}, "other": {"value": 1.0, "ci95": None, "n": 1}}
    sizes = {"ungraded": 1, "small": False, "confusion_matrix": [], "change": {}}
    exams = [
        {"slice": {}, "n": 49, **sizes, "metrics": figures},
        {"slice": {"acquisition_system": "GE"}, "n": 18, **sizes, "metrics": undefined},
        {"slice": {"acquisition_system": "GE", "density": "A"}, "n": 5, **sizes, "metrics": figures},
    ]
    return {"exam": exams, "breast": [], "view": [], "temperature": 1.0, "blessed": True} | changed


def write_contract_of(model: Path) -> Contract:
    """Writes a contract, and the graph whose signatures it is about."""
    signatures = promised_signatures(4, 4)
    saved = saved_model_pb2.SavedModel()
    graph = saved.meta_graphs.add()
    graph.meta_info_def.tags.append("serve")
    for name, signature in signatures.items():
        for kind in ("inputs", "outputs"):
            for key, tensor in getattr(signature, kind).items():
                info = getattr(graph.signature_def[name], kind)[key]
                info.dtype = tf.as_dtype(tensor.dtype).as_datatype_enum
                for size in tensor.shape:
                    info.tensor_shape.dim.add(size=size if isinstance(size, int) else -1)
                if tensor.optional:
                    graph.signature_def[name].defaults[key].SetInParent()
    (model / "saved_model.pb").write_bytes(saved.SerializeToString())
    calibration = fit_calibration(np.zeros((0, 4)), np.zeros(0))
    digest = model_digest(str(model))
    image = ImageConfig(size=32)
    data, known = TrainingData(splits={}), FamiliarityFacts(available=False)
    contract = make_contract(image, ExamSettings("{}"), calibration, b"", data, known, digest)
    contract = contract.model_copy(update={"signatures": signatures})
    (model / CONTRACT_FILE).parent.mkdir(exist_ok=True)
    (model / CONTRACT_FILE).write_bytes(write_contract(contract))
    return contract


def changed(left: dict[str, bytes], right: dict[str, bytes]) -> set[str]:
    return {name for name in left.keys() | right.keys() if left.get(name) != right.get(name)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (metrics(temperature=0.5), "evaluation is of another model: .* Received: temperature 0.5"),
        (metrics(exam=[]), "not what the Evaluator writes .ValidationError."),
        ({"exam": []}, "not what the Evaluator writes .KeyError."),
        ([], "not what the Evaluator writes .TypeError."),
    ],
)
def test_figures_of_another_evaluation_do_not_enter_the_contract(model: Path, content: Any, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        with_evaluation(write_contract_of(model), json.dumps(content).encode())


@pytest.mark.parametrize(
    ("blessed", "infra", "explained"),
    [
        (1, "INFRA_BLESSED", True),
        (0, "INFRA_BLESSED", True),
        (1, "INFRA_NOT_BLESSED", True),
        (1, "INFRA_BLESSED", False),
    ],
)
def test_only_a_model_that_passes_every_check_is_pushed(
    model: Path, tmp_path: Path, blessed: int, infra: str, explained: bool
) -> None:
    def artifact(kind: type, name: str) -> standard_artifacts.Model:
        made = kind()
        made.uri = str(tmp_path / name)
        Path(made.uri).mkdir(exist_ok=True)
        return made

    blessing = artifact(standard_artifacts.ModelBlessing, "blessing")
    blessing.set_int_custom_property("blessed", blessed)
    (Path(blessing.uri) / ("BLESSED" if blessed else "NOT_BLESSED")).touch()
    infra_blessing = artifact(standard_artifacts.InfraBlessing, "infra")
    infra_blessing.set_string_custom_property("blessed", infra)
    infra_blessing.set_int_custom_property("blessed", int(infra == "INFRA_BLESSED"))
    (Path(infra_blessing.uri) / infra).touch()
    explanations = artifact(Explanations, "explanations")
    (Path(explanations.uri) / "summary.json").write_text(json.dumps({"passed": explained}))
    pushed = artifact(standard_artifacts.PushedModel, "pushed")
    evaluation = artifact(standard_artifacts.ModelEvaluation, "evaluation")
    (Path(evaluation.uri) / METRICS_FILE).write_text(json.dumps(metrics()))
    write_contract_of(model)
    serving = tmp_path / "serving"
    Executor().Do(
        {
            "evaluation": [evaluation],
            "model": [artifact(standard_artifacts.Model, "artifact")],
            "model_blessing": [blessing],
            "infra_blessing": [infra_blessing],
            "explanations": [explanations],
        },
        {"pushed_model": [pushed]},
        {"serving_dir": str(serving), "code": "any"},
    )
    if blessed and explained and infra == "INFRA_BLESSED":
        (version,) = serving.iterdir()
        assert contents(version) == contents(Path(pushed.uri))
        assert changed(contents(version), contents(model)) == {CONTRACT_FILE}
        told = read_contract((version / CONTRACT_FILE).read_bytes()).evaluation
        assert told is not None
        assert [slice_.slice for slice_ in told.slices] == [{}, {"acquisition_system": "GE"}]
        assert told.slices[0].metrics["accuracy"] == Figure(value=0.98, ci95=(0.89, 0.99), n=49)
        assert told.model_sha256 == model_digest(str(model)) == model_digest(str(version))
        assert told.metrics_sha256 == sha256_of((Path(evaluation.uri) / METRICS_FILE).read_bytes())
        assert pushed.get_string_custom_property("pushed_version") == version.name
    else:
        assert not serving.exists()
        assert pushed.get_int_custom_property("pushed") == 0
