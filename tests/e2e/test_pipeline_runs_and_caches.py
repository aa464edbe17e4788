"""The whole pipeline on phantoms: every node runs once, then is cached; a code edit runs what it touches."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from schema.features import DENSITY_CLASSES, VIEWS
from tests.waiting import LONG

if TYPE_CHECKING:
    from tests.e2e.conftest import FinishedRun, States

pytestmark = pytest.mark.e2e

PROJECT = Path(__file__).resolve().parents[2]
NODES = {
    "DicomExampleGen",
    "MammogramPreprocessor",
    "StatisticsGen",
    "ImportSchemaGen",
    "ExampleValidator",
    "DriftMonitor",
    "Transform",
    *(f"Trainer.{view}" for view in VIEWS),
    "ExamEnsemble",
    "BaselineModel",
    "Evaluator",
    "GradCamExplainer",
    "InfraCheck",
    "Pusher",
    "ReportGenerator",
}


def run_command(settings: Path, code: Path = PROJECT, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``breast-density run``, in a process of its own, with the packages of ``code``."""
    environment = os.environ | {"PYTHONPATH": str(code)}
    command = [sys.executable, "-m", "pipeline.cli", "run", str(settings), *arguments]
    return subprocess.run(command, cwd=code, env=environment, capture_output=True, text=True, timeout=LONG, check=False)


@pytest.fixture(scope="module")
def finished(runs: tuple[FinishedRun, FinishedRun]) -> Any:
    """The shared run itself, which only this module's tests run again and add to; others have a copy."""
    return runs[0]


def test_each_node_runs_once_and_is_cached_the_second_time(finished: FinishedRun, execution_states: States) -> None:
    output = finished.config.output
    assert len(NODES) == 18
    before = execution_states(output)
    assert set(before) == NODES
    assert {node: states for node, states in before.items() if states != ["COMPLETE"]} == {}
    versions = sorted(path.name for path in finished.outcome.serving.iterdir())

    again = run_command(finished.settings)

    assert again.returncode == 0, again.stderr
    assert {node: states for node, states in execution_states(output).items() if states != ["COMPLETE", "CACHED"]} == {}
    assert len(re.findall(r"^\[[ \d]\d/18\] \S+ +cached$", again.stdout, re.M)) == 18
    assert sorted(path.name for path in finished.outcome.serving.iterdir()) == versions
    told = [line for line in again.stdout.splitlines() if line.startswith("alert ")]
    assert told == [f"alert    {alert}" for alert in finished.outcome.alerts]
    assert "model    blessed, served from" in again.stdout
    assert "Research software. Not a medical device." in again.stdout
    assert "Traceback" not in again.stdout + again.stderr


def test_terminal_shows_a_line_a_node_and_no_chatter(finished: FinishedRun) -> None:
    lines = finished.terminal.splitlines()
    named = [match[1] for line in lines if (match := re.match(r"\[[ \d]\d/18\] (\S+) +\d", line))]
    assert set(named) == NODES
    assert not re.search(r"WARNING|INFO|tensorflow", finished.terminal)
    [ingest] = [line for line in lines if "DicomExampleGen" in line and "files" in line]
    assert "96" in ingest or "192" in ingest


def test_the_model_is_shown_beside_the_readers(finished: FinishedRun) -> None:
    evaluation = finished.artifact("Evaluator", "evaluation")
    metrics = json.loads((evaluation / "exam_metrics.json").read_text(encoding="utf-8"))
    pairs = {(pair["first"], pair["second"]): pair for pair in metrics["readers"]}
    assert set(pairs) == {("(model)", "1"), ("(model)", "2"), ("1", "2")}
    whole = metrics["exam"][0]
    # The first reader is the labels.
    assert pairs["(model)", "1"]["exact_agreement"]["value"] == whole["metrics"]["accuracy"]["value"]
    assert pairs["(model)", "1"]["exact_agreement"]["n"] == whole["n"]
    page = finished.outcome.report.read_text(encoding="utf-8")
    assert "Agreement of readers, kept exams that both read" in page
    assert "Agreement of model and readers, exams of the test split" in page


def test_model_is_blessed_and_pushed(finished: FinishedRun) -> None:
    assert finished.outcome.blessed
    assert finished.outcome.pushed
    [version] = finished.outcome.serving.iterdir()
    assert version.name.isdecimal()
    assert (version / "saved_model.pb").is_file()
    assert finished.outcome.serving == finished.config.output.resolve() / "serving" / "breast_density"


def test_metrics_have_value_interval_and_count(finished: FinishedRun) -> None:
    figures = json.loads(finished.outcome.metrics.read_text(encoding="utf-8"))
    assert finished.outcome.metrics == finished.config.output / "metrics.json"
    assert {"accuracy", "macro_recall", "quadratic_kappa", *(f"recall_{c}" for c in DENSITY_CLASSES)} <= set(figures)
    for name, figure in figures.items():
        assert {"value", "ci95", "n"} <= set(figure), name
    accuracy = figures["accuracy"]
    assert accuracy["n"] == 7
    low, high = accuracy["ci95"]
    assert 0 <= low <= accuracy["value"] <= high <= 1
    assert accuracy["value"] * 7 == pytest.approx(round(accuracy["value"] * 7), abs=1e-4)


def test_report_works_offline_and_shows_the_exam_figures(finished: FinishedRun) -> None:
    page = finished.outcome.report.read_text(encoding="utf-8")
    assert finished.outcome.report == finished.config.output / "report.html"
    loaded = re.findall(r"""(?:src|href|action|data)\s*=\s*["']([^"']*)|url\(([^)]*)\)|@import""", page)
    sources = [source for pair in loaded for source in pair if source]
    assert sources
    assert [s[:80] for s in sources if not s.strip("'\"").startswith(("data:", "#"))] == []
    assert "<script src" not in page
    accuracy = finished.outcome.figures["accuracy"]
    assert f"{100 * accuracy['value']:.1f}" in page
    assert f"{100 * accuracy['ci95'][0]:.1f} to {100 * accuracy['ci95'][1]:.1f}" in page
    assert f"{finished.outcome.figures['quadratic_kappa']['value']:.3f}" in page
    for view in VIEWS:
        assert view in page


def test_nothing_past_ingest_names_a_patient(finished: FinishedRun, phantoms: Path) -> None:
    import csv
    import gzip

    with (phantoms / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = {row["patient_id"].encode() for row in rows}
    exams = {row["exam_id"].encode() for row in rows}
    output = finished.config.output
    files = [p for p in output.rglob("*") if p.is_file() and p.name != "pipeline.log"]
    assert len(files) > 50
    for path in files:
        data = path.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        assert not [name for name in names if name in data], path
        # Exam ids are folder names here, and the ingest report names files for their owner.
        if "ingest_report" not in path.parts:
            assert not [exam for exam in exams if exam in data], path


@pytest.fixture(scope="module")
def code_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("checkout")
    for name in ("components", "schema", "serving", "pipeline"):
        shutil.copytree(PROJECT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def test_editing_a_nodes_code_runs_it_again_and_a_failed_run_resumes(
    finished: FinishedRun, code_copy: Path, execution_states: States
) -> None:
    output = finished.config.output

    def new_states(run: Any) -> tuple[subprocess.CompletedProcess[str], dict[str, list[str]]]:
        before = execution_states(output)
        done = run()
        after = execution_states(output)
        return done, {node: states[len(before.get(node, [])) :] for node, states in after.items()}

    edited = code_copy / "components" / "grad_cam_explainer" / "executor.py"
    sound = edited.read_text(encoding="utf-8")
    broken = sound.replace(
        'expect(sum(task.views for task in tasks), "views")\n',
        'raise ValueError("heat maps are out of order\\nmore")\n',
    )
    assert broken != sound
    edited.write_text(broken, encoding="utf-8")

    failed, states = new_states(lambda: run_command(finished.settings, code_copy))

    assert failed.returncode == 1
    [error] = [line for line in failed.stderr.splitlines() if line.startswith("Error: ")]
    assert error == "Error: Node GradCamExplainer failed: heat maps are out of order"
    assert "Traceback" not in failed.stdout + failed.stderr
    assert states["GradCamExplainer"] == ["FAILED"]
    assert states["Pusher"] == states["ReportGenerator"] == []
    # Nodes that do not depend on the failed one may come before it or after it.
    others = NODES - {"GradCamExplainer", "Pusher", "ReportGenerator"}
    assert {node: states[node] for node in others if states[node] not in ([], ["CACHED"])} == {}
    needed = {"DicomExampleGen", "MammogramPreprocessor", "Transform", "ExamEnsemble", *(f"Trainer.{v}" for v in VIEWS)}
    assert {node for node in needed if states[node] == ["CACHED"]} == needed

    edited.write_text(sound + "\n_UNUSED = 1\n", encoding="utf-8")
    # What no node runs: texts of modules that every run needs, and the style of the gateway's page.
    for name, comment in (("greyscale.py", "# Edited."), ("run_fn.py", "# Edited."), ("page.css", "/* Edited. */")):
        [file] = code_copy.rglob(name)
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace('"""', '"""Edited. ', 1) + comment + "\n", encoding="utf-8")
    resumed, states = new_states(lambda: run_command(finished.settings, code_copy))

    assert resumed.returncode == 0, resumed.stderr
    ran = {node for node, new in states.items() if new == ["COMPLETE"]}
    assert ran == {"GradCamExplainer", "Pusher", "ReportGenerator"}
    assert {node for node, new in states.items() if new == ["CACHED"]} == NODES - ran


def test_an_edited_schema_runs_what_depends_on_it(finished: FinishedRun, code_copy: Path) -> None:
    """Without running it: the node's parameters differ by the schema's text and by nothing else."""
    from pipeline.config import load_config
    from pipeline.local.runner import build

    probe = (
        "import json, sys; from pipeline.config import load_config; from pathlib import Path;"
        "from pipeline.local.runner import build;"
        "nodes = build(load_config(Path(sys.argv[1]))).components;"
        "print(json.dumps({n.id: {k: str(v) for k, v in n.exec_properties.items()} for n in nodes}))"
    )
    schema = code_copy / "schema" / "schema.pbtxt"
    schema.write_text(schema.read_text(encoding="utf-8") + "\n# edited\n", encoding="utf-8")
    command = [sys.executable, "-c", probe, str(finished.settings)]
    environment = os.environ | {"PYTHONPATH": str(code_copy)}
    done = subprocess.run(command, cwd=code_copy, env=environment, capture_output=True, text=True, check=True)
    after = json.loads(done.stdout.splitlines()[-1])["ImportSchemaGen"]
    [node] = [node for node in build(load_config(finished.settings)).components if node.id == "ImportSchemaGen"]
    before = {name: str(value) for name, value in node.exec_properties.items()}
    assert before != after
    assert before["schema_text"] + "\n# edited\n" == after["schema_text"]


def test_an_empty_split_is_one_readable_sentence(finished: FinishedRun, tmp_path: Path) -> None:
    from pipeline.config import load_config
    from pipeline.local.run import run_config
    from pipeline.local.runner import NodeError

    overrides = [f"output={tmp_path}", "pipeline.ingest.splits={train: 1.0, eval: 0.0, test: 0.0}"]
    with pytest.raises(NodeError) as raised, (tmp_path / "terminal").open("w") as terminal:
        run_config(load_config(finished.settings, overrides), terminal)
    assert raised.value.node == "DicomExampleGen"
    text = str(raised.value)
    assert "\n" not in text
    assert text.startswith(
        "Node DicomExampleGen failed: Ingest accepted 96 of 96 files (rejected: none) and left no image for: eval, t"
    )
    assert "ingest.splits" in text
    assert yaml.safe_load(finished.settings.read_text())["pipeline"]["ingest"]["splits"]["train"] == 0.5
