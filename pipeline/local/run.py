"""The command ``run``: from a configuration to a report, and to a pushed or refused model."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from components.common.files import write_whole
from components.dicom_example_gen.plan.identity import find_key
from components.drift_monitor.summary import SUMMARY_FILE, DriftSummary
from components.evaluator.slices import METRICS_FILE
from components.exam_model.versions import latest_version
from components.pusher.push import push_version
from components.report_generator.executor import REPORT_FILE
from components.statistics.metrics import IN_RUN_SUMMARY, short_name
from pipeline.config import RunConfig
from pipeline.console import NodeResult, watching
from pipeline.local import runner as local_runner
from pipeline.local.trainings import trainings_at_once
from pipeline.local.verdict_lines import baseline_lines, refusals, warned_gates

_MODEL_FILE: Final = "saved_model.pb"
_FINGERPRINT_FILE: Final = "fingerprint.pb"


@dataclass(frozen=True)
class RunOutcome:
    """The result of a run.

    Attributes:
        report: Copy of the report in the output folder.
        metrics: Path of ``metrics.json``: exam-level metrics by name, each with value, ci95 and n.
        blessed: The Evaluator's verdict.
        figures: Content of ``metrics.json``.
        serving: Folder of pushed versions.
        pushed: A version of this model is there.
        alerts: Alerts of DriftMonitor.
        public_key: Identifiers were hashed with the public key, because no secret key is set.
        nodes: Results of all nodes.
        refusals: Why the model was not pushed, one line per reason; empty if it was.
        warnings: Gates that were missed and only warn.
        baseline: The model beside the baseline of grey statistics, as lines.
    """

    report: Path
    metrics: Path
    blessed: bool
    figures: dict[str, Any]
    serving: Path
    pushed: bool
    alerts: tuple[str, ...]
    public_key: bool
    nodes: tuple[NodeResult, ...]
    refusals: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    baseline: tuple[str, ...] = ()


def is_served(pushed: Path, serving: Path) -> bool:
    """Return True if the newest version is the model that the Pusher archived, by TensorFlow's fingerprint."""
    version = latest_version(str(serving))
    served = serving / version / _FINGERPRINT_FILE if version else None
    return served is not None and served.is_file() and served.read_bytes() == (pushed / _FINGERPRINT_FILE).read_bytes()


def _overall_exam_figures(summary: dict[str, Any]) -> dict[str, Any]:
    [overall] = [part for part in summary["exam"] if not part["slice"]]
    result: dict[str, Any] = overall["metrics"]
    return result


def _json(outputs: Mapping[str, Mapping[str, str]], node: str, output: str, name: str) -> dict[str, Any] | None:
    """Return a JSON file of a node; None if the run has no such node or file."""
    file = Path(outputs.get(node, {}).get(output, ""), name)
    return json.loads(file.read_text(encoding="utf-8")) if output in outputs.get(node, {}) and file.is_file() else None


def _alerts(outputs: Mapping[str, Mapping[str, str]]) -> tuple[str, ...]:
    if "DriftMonitor" not in outputs:
        return ()
    summary = Path(outputs["DriftMonitor"]["drift_report"], SUMMARY_FILE).read_text(encoding="utf-8")
    return DriftSummary.model_validate_json(summary).alerts


def run_config(config: RunConfig, terminal: TextIO) -> RunOutcome:
    """Run the pipeline of a configuration on this machine.

    Args:
        config: Configuration with data.
        terminal: Shows the progress.

    Returns:
        The outcome; the report and ``metrics.json`` are copied to the output folder.

    Raises:
        NodeError: A node failed.
        ManifestError: Labels or manifest cannot be used.
    """
    pipeline = local_runner.build(config)
    trainings = trainings_at_once(config.runner.trainings, os.environ)
    with watching(terminal) as observer:
        nodes = local_runner.run(pipeline, config.output, observer, trainings)
    outputs = {result.node: result.outputs for result in nodes}
    evaluation = Path(outputs["Evaluator"]["evaluation"])
    summary = json.loads((evaluation / METRICS_FILE).read_text(encoding="utf-8"))
    report, metrics = config.output / REPORT_FILE, config.output / "metrics.json"
    page = Path(outputs["ReportGenerator"]["report"]) / REPORT_FILE
    write_whole(report, page.read_bytes())
    figures = _overall_exam_figures(summary)
    write_whole(metrics, json.dumps(figures, indent=1).encode())
    serving = Path(local_runner.run_paths(config.output, config.pipeline.name).serving)
    pushed = Path(outputs["Pusher"]["pushed_model"])
    was_pushed = (pushed / _MODEL_FILE).is_file()
    if was_pushed and not is_served(pushed, serving):
        # The Pusher is cached, but its version was removed, or another run pushed a later one. The model that was
        # evaluated here must be served.
        push_version(str(pushed), str(serving), int(time.time()))
    return RunOutcome(
        report=report,
        metrics=metrics,
        blessed=summary["blessed"],
        figures=figures,
        serving=serving,
        pushed=was_pushed,
        alerts=_alerts(outputs),
        public_key=find_key(config.pipeline.ingest, os.environ).is_research,
        nodes=tuple(nodes),
        refusals=()
        if was_pushed
        else tuple(
            refusals(
                summary,
                _json(outputs, "GradCamExplainer", "explanations", "summary.json"),
                _json(outputs, "InfraCheck", "blessing", "infra.json"),
            )
        ),
        warnings=tuple(warned_gates(summary["gates"])),
        baseline=tuple(baseline_lines(summary)),
    )


def figures_table(figures: dict[str, Any]) -> list[str]:
    """Return the main metrics, one line each: value, 95 % interval, n."""
    lines = []
    for key in IN_RUN_SUMMARY:
        name = short_name(key)
        figure = figures[key]
        if figure["value"] is None:
            lines.append(f"{name:<28} undefined (n = {figure['n']})")
            continue
        interval = "95 % interval {:.3f} to {:.3f}".format(*figure["ci95"]) if figure["ci95"] else "no interval"
        lines.append(f"{name:<28} {figure['value']:.3f}  ({interval}, n = {figure['n']})")
    return lines
