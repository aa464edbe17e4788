"""The command ``run``: a configuration in, a report and a pushed or refused model out."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

from components.baseline_model.baseline import latest_version
from components.common.files import write_whole
from components.evaluator.results import METRICS_FILE
from components.pusher.push import push_version
from components.report_generator.executor import REPORT_FILE
from pipeline import local_runner
from pipeline.config import RunConfig
from pipeline.console import watching

LOG_FILE: Final = "pipeline.log"


@dataclass(frozen=True)
class RunOutcome:
    """What a run gave.

    Attributes:
        report: Copy of the report in the output folder.
        metrics: ``metrics.json``: exam-level figures by name, each with value, ci95 and n.
        blessed: The Evaluator's verdict.
        figures: What ``metrics.json`` holds.
        serving: Folder of pushed versions.
        pushed: A version of this model is there.
        nodes: Results of all nodes.
    """

    report: Path
    metrics: Path
    blessed: bool
    figures: dict[str, Any]
    serving: Path
    pushed: bool
    nodes: tuple[local_runner.NodeResult, ...]


def _overall_exam_figures(summary: dict[str, Any]) -> dict[str, Any]:
    [overall] = [part for part in summary["exam"] if not part["slice"]]
    return overall["metrics"]


def run_config(config: RunConfig, terminal: TextIO) -> RunOutcome:
    """Runs the pipeline of a configuration on this machine.

    Args:
        config: Configuration with data.
        terminal: Where progress is shown.

    Returns:
        The outcome; the report and ``metrics.json`` are copied to the output folder.

    Raises:
        NodeError: A node failed.
        ManifestError: Labels or manifest cannot be used.
    """
    pipeline = local_runner.build(config)
    with watching(terminal) as observer:
        nodes = local_runner.run(pipeline, config.output, observer)
    outputs = {result.node: result.outputs for result in nodes}
    evaluation = Path(outputs["Evaluator"]["evaluation"])
    summary = json.loads((evaluation / METRICS_FILE).read_text(encoding="utf-8"))
    report, metrics = config.output / REPORT_FILE, config.output / "metrics.json"
    page = Path(outputs["ReportGenerator"]["report"]) / REPORT_FILE
    write_whole(report, page.read_bytes())
    figures = _overall_exam_figures(summary)
    write_whole(metrics, json.dumps(figures, indent=1).encode())
    serving = Path(local_runner.places_in(config.output, config.pipeline.name).serving)
    pushed = Path(outputs["Pusher"]["pushed_model"])
    was_pushed = (pushed / "saved_model.pb").is_file()
    if was_pushed and latest_version(str(serving)) is None:
        # The Pusher is cached but somebody removed what it wrote: its artifact still has the model.
        push_version(str(pushed), str(serving), int(time.time()))
    return RunOutcome(
        report=report,
        metrics=metrics,
        blessed=summary["blessed"],
        figures=figures,
        serving=serving,
        pushed=was_pushed,
        nodes=tuple(nodes),
    )


def figures_table(figures: dict[str, Any]) -> list[str]:
    """Writes the headline figures, one line each: value, 95 % interval, n."""
    names = {
        "accuracy": "accuracy",
        "macro_recall": "macro recall",
        "macro_precision": "macro precision",
        "quadratic_kappa": "quadratic weighted kappa",
        "dense_accuracy": "dense / non-dense accuracy",
        "recall_A": "recall A",
        "recall_B": "recall B",
        "recall_C": "recall C",
        "recall_D": "recall D",
    }
    lines = []
    for key, name in names.items():
        figure = figures[key]
        if figure["value"] is None:
            lines.append(f"{name:<28} undefined (n = {figure['n']})")
            continue
        low, high = figure["ci95"] or (float("nan"), float("nan"))
        lines.append(f"{name:<28} {figure['value']:.3f}  (95 % interval {low:.3f} to {high:.3f}, n = {figure['n']})")
    return lines
