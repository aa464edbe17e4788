"""The compiled package without a cluster: every container's own command, in order, from phantoms to a pushed model.

Then a second walk, which runs what a second run on Kubeflow would run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.kubeflow.specification import COMMAND
from tests.forked import run_module

pytestmark = pytest.mark.e2e

PROJECT = Path(__file__).resolve().parents[2]
KEY = "0123456789abcdef0123456789abcdef"
ROOT = "minio://hospital/density"


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    returncode: int
    said: str


def breast_density(folder: Path, *arguments: object) -> Done:
    """The command in a process of its own; what it says is in a file of the folder."""
    said = folder / f"{arguments[0]}.said"
    code = run_module("pipeline.cli", [*map(str, arguments)], os.environ, PROJECT, said, said)
    return Done(code, said.read_text(encoding="utf-8"))


class Containers:
    """In the place of the module ``subprocess``: a process for each container, with its command, variables and folder.

    The first is started; the others are forked, for each would import for ten seconds what all import.
    """

    DEVNULL, STDOUT = subprocess.DEVNULL, subprocess.STDOUT

    def __init__(self) -> None:
        self.commands: list[Sequence[str]] = []

    def run(
        self, command: Sequence[str], *, stdout: Any, env: Mapping[str, str], cwd: Path, **others: Any
    ) -> subprocess.CompletedProcess[bytes]:
        self.commands.append(command)
        if len(self.commands) == 1:
            return subprocess.run(command, stdout=stdout, env=env, cwd=cwd, **others)
        assert tuple(command[:3]) == COMMAND
        log = Path(stdout.name)
        return subprocess.CompletedProcess(command, run_module(command[2], command[3:], env, cwd, log, log))


def test_phantoms_to_a_pushed_model(
    phantoms: Path, settings_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BREAST_DENSITY_HASH_KEY", KEY)
    settings = yaml.safe_load(settings_file.read_text(encoding="utf-8"))
    settings["pipeline"]["trainer"] |= {"sides": "mirrored", "epochs": 9}
    # What a volume with a folder a delivery looks like; the run is told to take the latest two.
    spans = tmp_path / "data"
    (spans / "span-1" / "images").mkdir(parents=True)
    (spans / "span-1" / "images" / "old.dcm").write_bytes(b"of an older span, which nobody reads")
    exams = sorted(folder.name for folder in (phantoms / "images").iterdir())
    for span, names in ((2, exams[:14]), (3, exams[14:])):
        for name in names:
            target = spans / f"span-{span}" / "images" / name
            shutil.copytree(phantoms / "images" / name, target, copy_function=os.link)
        lines = (phantoms / "labels.csv").read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if line.split(",")[0] in ("exam_id", *names)]
        (spans / f"span-{span}" / "labels.csv").write_text("\n".join([*kept, ""]), encoding="utf-8")
    settings["data"] = {"folder": f"{spans}/span-{{SPAN}}/images", "labels": f"{spans}/span-{{SPAN}}/labels.csv"}
    settings["kubeflow"] = {
        "pipeline_root": ROOT,
        "spans": 2,
        "serving": {"claim": "models", "path": str(tmp_path / "models")},
    }
    config, package, folder = tmp_path / "walk.yaml", tmp_path / "pipeline.yaml", tmp_path / "walk"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")

    compiled = breast_density(tmp_path, "compile", config, "--runner", "kubeflow", "--out", package)
    assert compiled.returncode == 0, compiled.said
    refused = breast_density(tmp_path, "walk", package, "--folder", folder, "-p", "epochs=0")
    assert refused.returncode == 1
    assert "epochs: Input should be greater than or equal to 1" in refused.said
    containers = Containers()
    monkeypatch.setattr("pipeline.kubeflow.walk.subprocess", containers)
    parameters = ("-p", "epochs=1", "-p", "minimum_exam_accuracy=0")
    walked = CliRunner().invoke(app, ["walk", str(package), "--folder", str(folder), *parameters])
    assert walked.exit_code == 0, walked.output + str(walked.exception)

    lines = walked.output.splitlines()
    count = len(yaml.safe_load(package.read_text(encoding="utf-8").partition("\n---\n")[0])["root"]["dag"]["tasks"])
    assert [line.partition("]")[0] for line in lines] == [f"[{number:2}/{count}" for number in range(1, count + 1)]
    assert len(containers.commands) == count

    def output(task: str, name: str) -> tuple[dict[str, object], Path]:
        """What the backend was told of an artifact, and the artifact in the store."""
        place = f"hospital/density/breast-density/walk-1/{task}"
        (told,) = (folder / "pods" / "walk-1" / task / "minio" / place).glob("*/output_metadata.json")
        (artifact,) = json.loads(told.read_text())["artifacts"][name]["artifacts"]
        assert artifact["uri"] == f"minio://{place}/{told.parent.name}/{name}"
        assert str(folder) not in json.dumps(artifact)
        return artifact["metadata"], folder / "store" / artifact["uri"].replace("://", "/")

    metadata, examples = output("dicom-example-gen", "examples")
    assert metadata["span"] == 3
    assert list((examples / "Split-train").glob("*"))
    assert output("dicom-example-gen-before-1", "examples")[0]["span"] == 2
    # Both are trained on, and the newest is compared with the one before.
    _, examples = output("mammogram-preprocessor", "preprocessed_examples")
    trained_on = {file.name[:10] for file in (examples / "Split-train").glob("*.gz")}
    assert trained_on == {"span-00002", "span-00003"}
    _, drift = output("drift-monitor", "drift_report")
    compared = json.loads((drift / "summary.json").read_text(encoding="utf-8"))["comparisons"]
    assert ("newest span 3", "earlier spans") in {(one["subject"], one["reference"]) for one in compared}
    # The run parameter, not what was compiled.
    _, network = output("trainer-cc", "model")
    assert len(json.loads((network / "Format-Serving" / "history.json").read_text())["epochs"]) == 1
    metadata, pushed = output("pusher", "pushed_model")
    assert metadata["pushed"] == 1
    (version,) = (tmp_path / "models" / "breast_density").iterdir()
    assert (version / "saved_model.pb").read_bytes() == (pushed / "saved_model.pb").read_bytes()
    # A first run has no model to compare with: its artifact has no file, so the store has no trace of it.
    assert not output("baseline-model", "baseline_model")[1].exists()
    page = (output("report-generator", "report")[1] / "report.html").read_text(encoding="utf-8")
    assert "epochs: 1\n" in page
    logs = {path.stem: path for path in (folder / "logs" / "walk-1").iterdir()}
    assert KEY not in "".join(path.read_text(errors="replace") for path in logs.values())
    # The launcher's logs are artifacts in the store.
    stored = {path.parts[-3]: path for path in (folder / "store").rglob("executor-logs")}
    assert set(stored) == set(logs)
    assert all(stored[task].read_bytes() == logs[task].read_bytes() for task in logs)
    assert logs["exam-ensemble"].stat().st_size > 0

    # Nothing has changed, so a second run looks at the archive, and that is all.
    again = CliRunner().invoke(app, ["walk", str(package), "--folder", str(folder), *parameters])
    assert again.exit_code == 0, again.output + str(again.exception)
    assert len(again.output.splitlines()) == count
    assert len(containers.commands) == count + 2
    uncached = {line.partition("]")[2].split()[0] for line in again.output.splitlines() if "cached" not in line}
    assert uncached == {"archive-scan", "archive-scan-before-1"}
    assert list((tmp_path / "models" / "breast_density").iterdir()) == [version]
