"""An experiment of two arms: what a run or an earlier arm has made is not made again, and nothing is pushed."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

if TYPE_CHECKING:
    from tests.e2e.conftest import FinishedRun, States

pytestmark = pytest.mark.e2e


def test_the_second_arm_takes_its_data_from_the_cache(
    finished: FinishedRun, execution_states: States, tmp_path: Path
) -> None:
    from components.evaluator.offline import evaluate_predictions
    from components.evaluator.predictions import read_predictions
    from pipeline.commands.experiments import run_named
    from pipeline.experiments.catalogue import EXPERIMENTS

    # Another folder that knows the finished run, so that its own test still finds it as it was.
    shutil.copy(finished.config.output / "metadata.sqlite", tmp_path)
    before = execution_states(tmp_path)
    text = io.StringIO()

    run_named([EXPERIMENTS["flip"]], finished.settings, (), {"output": str(tmp_path)}, Console(file=text, width=160))

    after = execution_states(tmp_path)
    new = {node: states[len(before.get(node, ())) :] for node, states in after.items()}
    data = (
        "DicomExampleGen",
        "MammogramPreprocessor",
        "StatisticsGen",
        "ImportSchemaGen",
        "ExampleValidator",
        "Transform",
    )
    assert {node: new[node] for node in data} == {node: ["CACHED", "CACHED"] for node in data}
    # The first arm is the finished run's own configuration; the second one trains two networks.
    assert {node: states for node, states in new.items() if "COMPLETE" in states} == {
        "Trainer.CC": ["COMPLETE"],
        "Trainer.MLO": ["COMPLETE"],
        "ExamEnsemble": ["CACHED", "COMPLETE"],
    }
    assert not any(new[node] for node in ("BaselineModel", "Evaluator", "InfraCheck", "Pusher", "ReportGenerator"))
    assert not (tmp_path / "serving").exists()

    folder = tmp_path / "experiments"
    outcome = json.loads((folder / "flip.json").read_text(encoding="utf-8"))
    assert list(outcome["arms"]) == ["Without flip", "With flip"]
    networks = {arm: set(found["networks"]) for arm, found in outcome["arms"].items()}
    assert networks == {"Without flip": {"CC_R", "CC_L", "MLO_R", "MLO_L"}, "With flip": {"CC", "MLO"}}
    figures = {(row["arm"], row["part"], row["figure"]): row for row in outcome["figures"]}
    assert figures["Without flip", "All", "accuracy"]["slides"] == 0.784
    for arm, found in outcome["arms"].items():
        kept = read_predictions(folder / found["predictions"])
        whole = evaluate_predictions(kept, found["temperature"], 200)["exam"][0]
        assert figures[arm, "All", "accuracy"]["value"] == whole["metrics"]["accuracy"]["value"]
        assert figures[arm, "All", "exams"]["n"] == whole["n"] == sum(found["exams"]["test"].values())
    # The model that was run and the one that the experiment took from the cache are one.
    assert figures["Without flip", "All", "accuracy"]["value"] == finished.outcome.figures["accuracy"]["value"]
    page = (folder / "flip.html").read_text(encoding="utf-8")
    assert "other data: 1,962 AOUP exams" in page
    assert "http" not in page.replace("http-equiv", "").replace("http://www.w3.org/2000/svg", "")
    assert "slides 78.4" in text.getvalue().replace("\u00a0", " ")
