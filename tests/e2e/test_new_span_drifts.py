"""A new span of a machine that nobody has seen, with another class mix: the run goes on, and says so."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from components.drift_monitor.summary import SUMMARY_FILE, DriftSummary
from components.report_generator.report import ReportInputs, build_report
from pipeline.config import RunConfig
from pipeline.local_runner import NodeResult, build, run
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from pipeline.phantom.plan import plan_exams
from schema.acquisition import REFERENCE_SYSTEMS

pytestmark = pytest.mark.e2e

PHANTOMS = PhantomConfig(
    exams=32,
    seed=0,
    reduction=16,
    workers=1,
    system_weights=(0.3, 0.4, 0.0, 0.3),
    repeat_share=0,
    distribution="uniform",
)
NEW = 1  # index of the system that comes with the second span
INGEST = {"DicomExampleGen.span_1", "DicomExampleGen.span_2"}


class Silent:
    """Watches a run and shows nothing."""

    def start(self, node: str, number: int, count: int, progress_file: Path) -> None:
        pass

    def finish(self, result: NodeResult) -> None:
        pass


@pytest.fixture(scope="module")
def exams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exams")
    generate_phantoms(PHANTOMS, folder)
    return folder


def deliver(exams: Path, span: Path, names: set[str], density: str | None = None) -> None:
    """Puts exams into a span's folder, with their labels, or all with one."""
    with (exams / "labels.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["exam_id"] in names]
    (span / "images").mkdir(parents=True)
    for name in names:
        (exams / "images" / name).rename(span / "images" / name)
    with (span / "labels.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(row | ({"density": density} if density else {}) for row in rows)


def run_until(last: str, config: RunConfig) -> dict[str, NodeResult]:
    return {result.node: result for result in run(build(config, last=last), config.output, Silent())}


def test_an_unseen_system_and_another_class_mix_are_alerts_and_no_error(exams: Path, tmp_path: Path) -> None:
    config = RunConfig.model_validate(
        {
            "pipeline": {
                "ingest": {"longest_side": 160, "splits": {"train": 0.4, "eval": 0.3, "test": 0.3}},
                "preprocess": {"output_size": 96, "method": "none"},
                "trainer": {"image": {"size": 96}},
            },
            "data": {"folder": str(tmp_path / "s{SPAN}/images"), "labels": str(tmp_path / "s{SPAN}/labels.csv")},
            "output": str(tmp_path / "out"),
            "runner": {"workers": 1},
        }
    )
    plans = plan_exams(PHANTOMS)
    new = {plan.exam_id for plan in plans if plan.system == NEW}
    deliver(exams, tmp_path / "s1", {plan.exam_id for plan in plans} - new)
    run_until("DicomExampleGen.span_1", config)

    deliver(exams, tmp_path / "s2", new, density="D")
    results = run_until("DriftMonitor", config)
    assert {name for name in INGEST if results[name].cached} == {"DicomExampleGen.span_1"}
    report = Path(results["DriftMonitor"].outputs["drift_report"])
    summary = DriftSummary.model_validate_json((report / SUMMARY_FILE).read_text(encoding="utf-8"))
    drift = summary.comparisons[0]
    assert (drift.subject, drift.exams, drift.reference_exams) == ("newest span 2", 13, 19)
    [unseen] = drift.unseen
    assert unseen.system.startswith(REFERENCE_SYSTEMS[NEW].system.key)
    assert unseen.exams == 13
    assert summary.alerts[0] == (
        f"Unseen acquisition system in the newest span 2 (13 exams): {unseen.system}; "
        "no earlier training exam is of it."
    )
    told = {alert.partition(":")[0] for alert in summary.alerts}
    assert {"Drift of density", "Drift of acquisition_system"} <= told

    page = build_report(ReportInputs(drift=report))
    assert page.count(summary.alerts[0]) == 2  # at its head, and under limits
    assert "✗ moved" in page
