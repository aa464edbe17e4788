"""The compiled package without a cluster: every container's own command, in order, from phantoms to a pushed model."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

PROJECT = Path(__file__).resolve().parents[2]
KEY = "0123456789abcdef0123456789abcdef"
ROOT = "minio://mlpipeline/v2/artifacts/breast-density"


def breast_density(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pipeline.cli", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "BREAST_DENSITY_HASH_KEY": KEY}
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1700, check=False)


def test_phantoms_to_a_pushed_model(phantoms: Path, settings_file: Path, tmp_path: Path) -> None:
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
    settings["kubeflow"] = {"spans": 2, "serving": {"claim": "models", "path": str(tmp_path / "models")}}
    config, package, folder = tmp_path / "walk.yaml", tmp_path / "pipeline.yaml", tmp_path / "walk"
    config.write_text(yaml.safe_dump(settings), encoding="utf-8")

    compiled = breast_density("compile", config, "--runner", "kubeflow", "--out", package)
    assert compiled.returncode == 0, compiled.stderr
    refused = breast_density("walk", package, "--folder", folder, "-p", "epochs=0")
    assert "epochs: Input should be greater than or equal to 1" in refused.stderr
    walked = breast_density("walk", package, "--folder", folder, "-p", "epochs=1", "-p", "minimum_exam_accuracy=0")
    assert walked.returncode == 0, walked.stderr + walked.stdout

    lines = walked.stdout.splitlines()
    count = len(yaml.safe_load(package.read_text(encoding="utf-8").partition("\n---\n")[0])["root"]["dag"]["tasks"])
    assert [line.partition("]")[0] for line in lines] == [f"[{number:2}/{count}" for number in range(1, count + 1)]

    def output(task: str, name: str) -> tuple[dict[str, object], Path]:
        """What the backend was told of an artifact, and the artifact in the store."""
        told = json.loads((folder / "pods" / task / "tmp/kfp_outputs/output_metadata.json").read_text())
        (artifact,) = told["artifacts"][name]["artifacts"]
        assert artifact["uri"] == f"{ROOT}/breast-density/walk/{task}/{name}"
        assert str(folder) not in json.dumps(artifact)
        return artifact["metadata"], folder / "store" / artifact["uri"].replace("://", "/")

    metadata, examples = output("dicom-example-gen", "examples")
    assert metadata["span"] == 3
    assert list((examples / "Split-train").glob("*"))
    assert output("dicom-example-gen-before-1", "examples")[0]["span"] == 2
    # Both are trained on, and the newest is compared with the one before.
    _, examples = output("mammogram-preprocessor", "preprocessed_examples")
    names = {file.name[:10] for file in (examples / "Split-train").glob("*.gz")}
    assert names == {"span-00002", "span-00003"}
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
    assert KEY not in "".join(path.read_text(errors="replace") for path in (folder / "logs").iterdir())
