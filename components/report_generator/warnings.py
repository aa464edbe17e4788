"""Warnings about a run: what a reader must know before trusting its metrics, one sentence each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from components.report_generator.artifacts import IngestSummary, ReadEvaluation
from components.report_generator.loading import Artifacts, RunInfo
from components.report_generator.model_artifacts import ExplanationSummary
from components.report_generator.text import value_text
from components.statistics.intervals import SMALL_N
from schema.features import DENSITY_CLASSES

_CLEAR_MARGIN: Final = 0.1  # by which the share of heat in the breast must exceed the area of the breast
_SIMILAR: Final = 0.5  # rank correlation above which the heat maps of a randomised network count as unchanged


def _counts_text(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} ({n:,})" for name, n in counts)


def _of_evaluation(evaluation: ReadEvaluation) -> Iterator[str]:
    overall = evaluation.overall
    if overall is None:
        return
    if overall.n < SMALL_N:
        yield f"The test split has {overall.n:,} exams, fewer than {SMALL_N}: too few to judge the model."
        return
    totals = [(c, sum(row)) for c, row in zip(DENSITY_CLASSES, overall.confusion_matrix, strict=True)]
    if few := [(name, n) for name, n in totals if n < SMALL_N]:
        yield f"Classes with fewer than {SMALL_N} test exams (their recall is uncertain): {_counts_text(few)}."
    systems = [(s.slice["acquisition_system"], s.n) for s in evaluation.exam if set(s.slice) == {"acquisition_system"}]
    if few := [(name, n) for name, n in systems if n < SMALL_N]:
        yield f"Acquisition systems with fewer than {SMALL_N} test exams (not judged separately): {_counts_text(few)}."
    if overall.ungraded:
        yield f"Test exams without a prediction because views are missing: {overall.ungraded:,}."
    if skipped := [gate for gate in evaluation.gates if not gate.judged]:
        yield f"Gates not judged because the sample is too small: {len(skipped):,} of {len(evaluation.gates):,}."
    if missed := [gate for gate in evaluation.gates if gate.verdict == "warning"]:
        yield from (gate.reason for gate in missed)
    if evaluation.baseline is None:
        yield "There is no earlier blessed model to compare with."


def _of_ingest(ingest: IngestSummary, evaluation: ReadEvaluation | None) -> Iterator[str]:
    if evaluation and evaluation.overall:
        judged = {s.slice["acquisition_system"] for s in evaluation.exam if set(s.slice) == {"acquisition_system"}}
        unseen = sorted(name for name, size in ingest.systems.items() if size.exams and name not in judged)
        if judged and unseen:
            yield f"Acquisition systems without a test exam: {', '.join(unseen)}."
    yield from ingest.warnings
    if ingest.incomplete_exams:
        yield f"Kept exams with a missing view: {ingest.incomplete_exams:,} of {ingest.exams_kept:,}."


def _of_explanation(summary: ExplanationSummary) -> Iterator[str]:
    heat, area = summary.energy_in_breast.value, summary.mean_of("area_in_breast").value
    if heat is not None and area is not None and heat - area < _CLEAR_MARGIN:
        yield (
            f"Heat maps: {value_text('energy_in_breast', heat)} of the heat is inside the breast. Evenly spread heat"
            f" would reach {value_text('area_in_breast', area)}, the breast's share of the image area."
        )
    first = summary.sanity[0] if summary.sanity else None
    if first is not None and first.value is not None and first.value > _SIMILAR:
        yield "Heat maps change little if the head has random weights: they show little of what the network learned."


def run_warnings(artifacts: Artifacts, run: RunInfo | None) -> tuple[str, ...]:
    """Return the warnings about a run, the most serious first.

    Args:
        artifacts: Output of the nodes.
        run: Description of the run; it names the origin of the exams.

    Returns:
        One sentence per warning.
    """
    found = []
    if run is not None and run.origin:
        found.append(f"The exams are {run.origin}. No metric on this page applies to patients.")
    if artifacts.evaluation is not None:
        found += _of_evaluation(artifacts.evaluation)
    if artifacts.ingest is not None:
        found += _of_ingest(artifacts.ingest, artifacts.evaluation)
    if artifacts.quality is not None and (failed := artifacts.quality.summary.by_status.get("failed", 0)):
        found.append(f"Views with a failed segmentation: {failed:,} of {artifacts.quality.summary.views:,}.")
    if artifacts.drift is not None:
        found += artifacts.drift.alerts
    if artifacts.calibration is not None:
        found += artifacts.calibration.remarks
    if artifacts.explanations is not None:
        found += _of_explanation(artifacts.explanations.summary)
    return tuple(found)
