"""A refused model is seen: exit code 4 and the reason, and a warning where it is used all the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from components.exam_model.contract import CONTRACT_FILE, Evaluation, SliceMetrics, write_contract
from components.exam_model.saved_model import load_contract
from pipeline.cli import app
from pipeline.commands.runs import REFUSED
from pipeline.local import run as local_run
from pipeline.local.demo import ModelRefusedError
from serving.client.local_model import LocalModel

FIGURE = {"value": 0.5, "ci95": [0.4, 0.6], "n": 100}


def outcome(folder: Path, **values: Any) -> local_run.RunOutcome:
    names = ("accuracy", "macro_recall", "macro_precision", "quadratic_kappa", "dense_accuracy")
    figures = dict.fromkeys((*names, *(f"recall_{c}" for c in "ABCD")), FIGURE)
    return local_run.RunOutcome(
        report=folder / "report.html",
        metrics=folder / "metrics.json",
        serving=folder / "serving",
        figures=figures,
        alerts=(),
        public_key=False,
        nodes=(),
        **values,
    )


@pytest.mark.parametrize(
    ("values", "code", "said"),
    [
        ({"blessed": True, "pushed": True, "warnings": ("no gain",)}, 0, ["warning  no gain", "blessed, served from"]),
        ({"blessed": False, "pushed": False, "refusals": ("exam_accuracy: 0.5",)}, REFUSED, ["refused  exam_accuracy"]),
        ({"blessed": True, "pushed": False, "refusals": ("heat maps",)}, REFUSED, ["refused by a later check"]),
    ],
)
def test_the_exit_code_of_a_run_says_whether_its_model_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, values: dict[str, Any], code: int, said: list[str]
) -> None:
    """The verdict comes from the Evaluator, whose own tests run it; here only what the command makes of it."""
    monkeypatch.setattr(local_run, "run_config", lambda config, terminal: outcome(tmp_path, **values))
    (tmp_path / "images").mkdir()
    (tmp_path / "labels.csv").write_text("exam_id,density\nE1,A\n")
    data = ["--data", str(tmp_path / "images"), "--labels", str(tmp_path / "labels.csv")]
    done = CliRunner().invoke(app, ["run", "small", *data, "--output", str(tmp_path / "out")])
    assert done.exit_code == code, done.output
    for text in (*said, "report   "):
        assert text in done.output
    assert code == {True: 0, False: 4}[values["pushed"]]


def test_the_demo_of_a_refused_model_ends_so_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise ModelRefusedError("The model was refused.")

    monkeypatch.setattr("pipeline.local.demo.run_demo", refuse)
    done = CliRunner().invoke(app, ["demo"])
    assert done.exit_code == 4
    assert "The model was refused." in done.output


def test_only_a_model_with_an_evaluation_in_its_contract_was_blessed(exported_exam_model: Path, tmp_path: Path) -> None:
    refused = LocalModel(exported_exam_model).evaluation_warning()
    assert "refused by the gates, or never evaluated" in refused
    contract = load_contract(str(exported_exam_model))
    whole = SliceMetrics(slice={}, exams=9, ungraded=0, small=True, metrics={})
    evaluation = Evaluation(model_sha256=contract.model_sha256, metrics_sha256="0" * 64, slices=(whole,))
    pushed = tmp_path / "7"
    (pushed / CONTRACT_FILE).parent.mkdir(parents=True)
    (pushed / "saved_model.pb").touch()
    assert "has no contract" in LocalModel(tmp_path).evaluation_warning()
    (pushed / CONTRACT_FILE).write_bytes(write_contract(contract.model_copy(update={"evaluation": evaluation})))
    assert LocalModel(tmp_path).evaluation_warning() == ""
    (pushed / CONTRACT_FILE).write_text(json.dumps({"contract_version": "9.0"}))
    assert "cannot be read" in LocalModel(tmp_path).evaluation_warning()
