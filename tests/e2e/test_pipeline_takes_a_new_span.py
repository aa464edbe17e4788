"""New exams of a machine that nobody has seen: they are told of or stop the run, are trained on, and judged."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydicom import dcmread

from components.common.shards import split_folder
from components.common.views import read_views
from components.drift_monitor.summary import SUMMARY_FILE, DriftSummary
from components.evaluator.slices import METRICS_FILE
from pipeline.config import RunConfig, load_config
from pipeline.console import NodeResult
from pipeline.local.run import run_config
from pipeline.local.runner import NodeError, build, run
from pipeline.operations.lineage import read_lineage, require_store
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from schema.features import VIEWS

if TYPE_CHECKING:
    from tests.e2e.conftest import FinishedRun

pytestmark = pytest.mark.e2e

EXAMS = 8
NEW_SYSTEM = "Siemens Mammomat Revelation VC20"
DATA_NODES = {"MammogramPreprocessor", "StatisticsGen", "ExampleValidator"}


class Silent:
    """Watches a run and shows nothing."""

    def start(self, node: str, number: int, count: int, progress_file: Path) -> None:
        pass

    def finish(self, result: NodeResult) -> None:
        pass


def deliver(span: Path) -> None:
    """Writes exams of a new machine, all of one density, most of patients who have come before."""
    generate_phantoms(PhantomConfig(exams=EXAMS, seed=6, reduction=16, workers=1, repeat_share=0), span)
    for exam in sorted((span / "images").iterdir()):
        name = f"NEW-{exam.name}"  # a set of phantoms calls exams and patients as any other does
        for file in exam.iterdir():
            dataset = dcmread(file)
            dataset.StudyID = dataset.AccessionNumber = name
            dataset.Manufacturer, dataset.ManufacturerModelName = "SIEMENS", "Mammomat Revelation"
            dataset.SoftwareVersions = "VC20"
            dataset.save_as(file)
        exam.rename(exam.with_name(name))
    with (span / "labels.csv").open(encoding="utf-8") as table:
        rows = [row | {"exam_id": f"NEW-{row['exam_id']}", "density": "D"} for row in csv.DictReader(table)]
    with (span / "labels.csv").open("w", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def split_by_patient(examples: str | Path) -> dict[str, str]:
    """The split of each patient, who has one."""
    found = {(v.patient_id, s) for s in ("train", "eval", "test") for v in read_views(split_folder(str(examples), s))}
    assert len(dict(found)) == len(found)
    return dict(found)


def test_a_new_span_is_held_back_or_trained_on_judged_and_pushed(
    finished: FinishedRun, phantoms: Path, tmp_path: Path
) -> None:
    output, archive = tmp_path / "out", tmp_path / "archive"

    def settings(on_drift: str) -> RunConfig:
        values = {
            "output": str(output),
            "data.folder": f"{archive}/{{SPAN}}/images",
            "data.labels": f"{archive}/{{SPAN}}/labels.csv",
            "pipeline.drift.on_drift": on_drift,
            "pipeline.trainer.warm_start": "latest",
            "pipeline.trainer.epochs": 1,
            "runner.trainings": 2,
            "pipeline.evaluator.maximum_kappa_loss": 2.0,
            "pipeline.evaluator.bootstrap_draws": 100,
        }
        return load_config(finished.settings, (), values)

    # The finished run's exams are the first span, and its model is what is served: in another folder, so that other
    # tests still find it as it was.
    shutil.copytree(phantoms, archive / "1", copy_function=os.link)
    shutil.copytree(finished.config.output / "serving", output / "serving")
    shutil.copy(finished.config.output / "metadata.sqlite", output)
    serving = output / "serving" / "breast_density"
    versions = {path.name for path in serving.iterdir()}  # other tests may have pushed more
    blessed = max(versions, key=int)
    [first] = run(build(settings("alert"), last="DicomExampleGen.span_1"), output, Silent())
    assert not first.cached

    deliver(archive / "2")
    terminal = io.StringIO()
    with pytest.raises(NodeError, match=r"on_drift is stop, .*: Unseen acquisition system") as held_back:
        run_config(settings("stop"), terminal)
    assert held_back.value.node == "DriftMonitor"
    assert "DicomExampleGen.span_1     cached" in terminal.getvalue()
    assert "Transform" not in terminal.getvalue()
    assert {path.name for path in serving.iterdir()} == versions

    outcome = run_config(settings("alert"), io.StringIO())

    cached = {result.node for result in outcome.nodes if result.cached}
    assert cached == {"DicomExampleGen.span_1", "DicomExampleGen.span_2", "ImportSchemaGen", *DATA_NODES}
    outputs = {result.node: result.outputs for result in outcome.nodes}
    drift = Path(outputs["DriftMonitor"]["drift_report"], SUMMARY_FILE).read_text(encoding="utf-8")
    newest, held_out = DriftSummary.model_validate_json(drift).comparisons
    assert (newest.subject, newest.exams, newest.reference_exams) == ("newest span 2", EXAMS, 24)
    assert [(unseen.system, unseen.exams) for unseen in newest.unseen] == [(NEW_SYSTEM, EXAMS)]
    assert held_out.unseen == ()  # by now it is trained on
    first_alert = f"Unseen acquisition system in the newest span 2 ({EXAMS} exams): {NEW_SYSTEM}; "
    assert outcome.alerts[0] == first_alert + "no earlier training exam is of it."
    assert any(alert.startswith("Drift of acquisition_system: ") for alert in outcome.alerts)
    page = outcome.report.read_text(encoding="utf-8")
    assert page.count(outcome.alerts[0]) == 2  # at its head, and under limits
    assert "✗ changed" in page

    before = split_by_patient(finished.artifact("MammogramPreprocessor", "preprocessed_examples"))
    after = split_by_patient(outputs["MammogramPreprocessor"]["preprocessed_examples"])
    assert before.items() <= after.items()
    assert len(after) < len(before) + EXAMS  # some came again

    assert outcome.pushed
    [pushed] = {path.name for path in serving.iterdir()} - versions
    assert int(pushed) > int(blessed)
    evaluation = json.loads(Path(outputs["Evaluator"]["evaluation"], METRICS_FILE).read_text(encoding="utf-8"))
    assert evaluation["baseline"]["version"] == blessed
    assert "exam_quadratic_kappa against the latest pushed model" in {gate["name"] for gate in evaluation["gates"]}
    lineage = read_lineage(require_store(output))
    assert lineage.version == pushed
    assert lineage.versions_before == {"compared to": blessed, "started from": blessed}
    assert {"DicomExampleGen.span_1", "DicomExampleGen.span_2", "WarmStart"} <= {step.node for step in lineage.steps}
    trainers = [lineage.step(f"Trainer.{view}") for view in VIEWS]
    assert all(step and any(name.startswith("WarmStart/") for name in step.inputs) for step in trainers)
