"""The head of the page: the verdict, the state of each check, the main metrics and the warnings."""

from __future__ import annotations

from components.report_generator.artifacts import IngestSummary, ReadEvaluation
from components.report_generator.figures import axis_of, mark_of, scale_of
from components.report_generator.loading import Artifacts, PushInfo, RunInfo
from components.report_generator.model_artifacts import Infra, ReadExplanations
from components.report_generator.page import Cell, Tile, Tone, Verdict
from components.report_generator.text import metric_label, value_text
from components.report_generator.warnings import run_warnings
from components.statistics.intervals import SMALL_N
from components.statistics.metrics import HEADLINE


def _state(name: str, passed: bool | None, detail: str = "") -> Cell:
    if passed is None:
        return Cell(f"{name}: not available", detail, "muted")
    return Cell(f"{'✓' if passed else '✗'} {name}", detail, "pass" if passed else "fail")


def _tiles(evaluation: ReadEvaluation | None) -> tuple[Tile, ...]:
    overall = evaluation.overall if evaluation else None
    if overall is None:
        return ()
    metrics = {name: overall.metrics[name] for name in HEADLINE if name in overall.metrics}
    scale = scale_of(metrics.values())  # one scale for all tiles makes them comparable
    return tuple(
        Tile(
            metric_label(name),
            mark_of(name, metric, scale),
            axis_of(name, scale, narrow=True),
            f"n = {metric.n:,} exams",
            metric.n < SMALL_N,
        )
        for name, metric in metrics.items()
    )


def _word(artifacts: Artifacts, push: PushInfo | None) -> tuple[str, str, Tone]:
    evaluation, explanations, infra = artifacts.evaluation, artifacts.explanations, artifacts.infra
    if evaluation is None:
        return "NOT EVALUATED", "There is no evaluation, so this model cannot be judged.", "warn"
    if push is None:
        pushed = "It is not known whether it was pushed."
    else:
        pushed = f"Pushed as version {push.version or 'unknown'}." if push.pushed else "Not pushed."
    if not evaluation.blessed:
        failed = [f"{g.name} ({g.slice or 'all'})" for g in evaluation.gates if not g.passed]
        why = f"Gates failed: {', '.join(failed)}." if failed else "A condition for the blessing failed."
        return "REFUSED", f"{why} {pushed}", "fail"
    warned = sum(gate.judged and not gate.met for gate in evaluation.gates)
    later = (("explanation", explanations), ("serving checks", infra))
    failed = [name for name, found in later if found and not _passed(found)]
    if failed:
        return (
            "BLESSED",
            f"{_gates('of the evaluation ', warned)}, but these checks failed: {', '.join(failed)}. {pushed}",
            "warn",
        )
    tone: Tone = "warn" if warned or (push and not push.pushed) else "pass"
    return "BLESSED", f"{_gates('', warned)}. {pushed}", tone


def _gates(of: str, warned: int) -> str:
    return f"No gate {of}refused the model, and {warned} warned" if warned else f"All gates {of}passed"


def _passed(found: ReadExplanations | Infra) -> bool:
    return found.summary.passed if isinstance(found, ReadExplanations) else found.passed


def _subject(ingest: IngestSummary | None) -> str:
    if ingest is None:
        return ""
    parts = [f"{sum(ingest.exams.values()):,} exams from {len(ingest.systems)} acquisition systems"]
    if "train" in ingest.splits:
        parts.append(f"trained on {ingest.splits['train'].exams:,}")
    if "test" in ingest.splits:
        parts.append(f"tested on {ingest.splits['test'].exams:,} held-out exams")
    return ", ".join(parts) + "."


def verdict(artifacts: Artifacts, push: PushInfo | None, run: RunInfo | None = None) -> Verdict:
    """Summarise a run for the head of the page.

    Args:
        artifacts: Output of the nodes.
        push: Result of the Pusher, None if it is not known.
        run: Description of the run; it names the origin of the exams.

    Returns:
        Verdict, checks, main metrics and warnings.
    """
    evaluation, explanations, infra = artifacts.evaluation, artifacts.explanations, artifacts.infra
    word, sentence, tone = _word(artifacts, push)
    judged = [g for g in evaluation.gates if g.judged] if evaluation else []
    gates = f"{sum(g.met for g in judged)} of {len(judged)} passed" if evaluation else ""
    checks = f"{sum(c.passed for c in infra.checks)} of {len(infra.checks)} passed" if infra else ""
    heat = explanations.summary.energy_in_breast if explanations else None
    states = (
        _state("Gates", evaluation.blessed if evaluation else None, gates),
        _state(
            "Explanation",
            explanations.summary.passed if explanations else None,
            f"{value_text('energy_in_breast', heat.value)} of the heat inside the breast" if heat else "",
        ),
        _state("Serving checks", infra.passed if infra else None, checks),
        _state(
            "Pushed",
            push.pushed if push else None,
            f"version {push.version}" if push and push.version else "",
        ),
    )
    return Verdict(
        word, sentence, tone, _subject(artifacts.ingest), states, _tiles(evaluation), run_warnings(artifacts, run)
    )
