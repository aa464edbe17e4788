"""The lineage of the pushed model, read back from the run's ML Metadata."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipeline.operations.lineage import LineageError, read_lineage, require_store
from schema.features import VIEWS
from tests.waiting import HANG

if TYPE_CHECKING:
    from tests.e2e.conftest import FinishedRun

pytestmark = pytest.mark.e2e

TRAINERS = {f"Trainer.{view}" for view in VIEWS}


def lineage_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", "lineage", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)


def test_everything_that_made_the_model_is_named(finished: FinishedRun, runs: tuple[FinishedRun, FinishedRun]) -> None:
    found = read_lineage(require_store(finished.config.output))
    [version] = finished.outcome.serving.iterdir()
    assert (found.version, Path(found.destination)) == (version.name, runs[0].outcome.serving / version.name)
    assert found.blessings == {"Evaluator": True, "InfraCheck": True}
    assert found.versions_before == {}
    # The report and the statistics made nothing of it.
    made = {"DicomExampleGen", "MammogramPreprocessor", "ImportSchemaGen", "Transform", *TRAINERS, "ExamEnsemble"}
    judged = {"BaselineModel", "Evaluator", "GradCamExplainer", "InfraCheck", "Pusher"}
    assert {step.node for step in found.steps} == made | judged
    assert [step.execution for step in found.steps] == sorted(step.execution for step in found.steps)

    ingest, ensemble = found.step("DicomExampleGen"), found.step("ExamEnsemble")
    assert ingest is not None
    assert ensemble is not None
    source = json.loads(ingest.configuration["source"])
    assert source == {"folder": str(finished.config.data.folder), "labels": str(finished.config.data.labels)}
    assert len(ingest.configuration["fingerprint"]) == 32
    assert {name.split("/")[0] for name in ensemble.inputs} == {"MammogramPreprocessor", *TRAINERS}
    written = {name for step in found.steps for name in step.outputs}
    assert {name for step in found.steps for name in step.inputs} <= written
    assert all(step.seconds >= 0 and step.tfx for step in found.steps)
    assert len({step.configuration_digest for step in found.steps if step.node in TRAINERS}) == len(TRAINERS)


def test_command_prints_tables_or_json(finished: FinishedRun) -> None:
    done = lineage_command(finished.config.output)
    assert (done.returncode, done.stderr) == (0, "")
    assert all(node in done.stdout for node in ("DicomExampleGen", "Trainer.CC_R", "Pusher"))
    document = json.loads(lineage_command(finished.config.output, "--json").stdout)
    assert document["version"] in done.stdout
    assert document["steps"][-1]["node"] == "Pusher"


def test_what_is_not_there_is_one_sentence(finished: FinishedRun, tmp_path: Path) -> None:
    with pytest.raises(LineageError, match="Version 7 was not pushed by this run: give one of"):
        read_lineage(require_store(finished.config.output), "7")
    done = lineage_command(tmp_path)
    assert done.returncode == 1
    assert "holds no metadata.sqlite: give the output folder of a run" in done.stderr
