"""What a reader must know before believing a report's figures, each as a sentence."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from components.report_generator.artifacts import Evaluation, IngestSummary
from components.report_generator.inputs import RunInfo
from components.report_generator.loading import Artifacts
from components.report_generator.model_artifacts import ExplanationSummary
from components.report_generator.text import value_text
from components.statistics.intervals import SMALL_N
from schema.features import DENSITY_CLASSES

_CLEARLY: Final = 0.1  # by which the heat in the breast must be more than the breast's area
_ALIKE: Final = 0.5  # rank correlation from which maps of random networks are called alike


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name} ({n:,})" for name, n in counts)


def _of_evaluation(evaluation: Evaluation) -> Iterator[str]:
    overall = evaluation.overall
    if overall is None:
        return
    if overall.n < SMALL_N:
        yield f"The test split has {overall.n:,} exams, fewer than {SMALL_N}: no basis for a judgement."
        return
    totals = [(c, sum(row)) for c, row in zip(DENSITY_CLASSES, overall.confusion_matrix, strict=True)]
    if few := [(name, n) for name, n in totals if n < SMALL_N]:
        yield f"Classes with fewer than {SMALL_N} test exams, whose recall is uncertain: {_listed(few)}."
    systems = [(s.slice["acquisition_system"], s.n) for s in evaluation.exam if set(s.slice) == {"acquisition_system"}]
    if few := [(name, n) for name, n in systems if n < SMALL_N]:
        yield f"Acquisition systems with fewer than {SMALL_N} test exams, not judged one by one: {_listed(few)}."
    if overall.ungraded:
        yield f"Test exams without a grade, for want of views: {overall.ungraded:,}."
    if skipped := [gate for gate in evaluation.gates if not gate.judged]:
        yield f"Gates that could not be judged, for want of exams: {len(skipped):,} of {len(evaluation.gates):,}."
    if evaluation.baseline is None:
        yield "There was no earlier blessed model to compare with."


def _of_ingest(ingest: IngestSummary, evaluation: Evaluation | None) -> Iterator[str]:
    if evaluation and evaluation.overall:
        judged = {s.slice["acquisition_system"] for s in evaluation.exam if set(s.slice) == {"acquisition_system"}}
        unseen = sorted(name for name, size in ingest.systems.items() if size.exams and name not in judged)
        if judged and unseen:
            yield f"Acquisition systems without a test exam: {', '.join(unseen)}."
    yield from ingest.warnings
    if ingest.incomplete_exams:
        yield f"Kept exams that lack a view: {ingest.incomplete_exams:,} of {ingest.exams_kept:,}."


def _of_explanation(summary: ExplanationSummary) -> Iterator[str]:
    heat, area = summary.energy_in_breast.value, summary.mean_of("area_in_breast").value
    if heat is not None and area is not None and heat - area < _CLEARLY:
        yield (
            f"Heat maps: {value_text('energy_in_breast', heat)} of the heat lies in the breast, which fills"
            f" {value_text('area_in_breast', area)} of the picture, where heat spread evenly would have its share."
        )
    first = summary.sanity[0] if summary.sanity else None
    if first is not None and first.value is not None and first.value > _ALIKE:
        yield "Heat maps stay much the same when the head's weights are random: they say little about what was learnt."


def cautions(artifacts: Artifacts, run: RunInfo | None) -> tuple[str, ...]:
    """Collects the cautions of a run, the gravest first.

    Args:
        artifacts: What the nodes wrote.
        run: The run, for where its exams are from.
    """
    found = []
    if run is not None and run.origin:
        found.append(f"The exams are {run.origin}. No figure on this page says anything about patients.")
    if artifacts.evaluation is not None:
        found += _of_evaluation(artifacts.evaluation)
    if artifacts.ingest is not None:
        found += _of_ingest(artifacts.ingest, artifacts.evaluation)
    if artifacts.quality is not None and (failed := artifacts.quality.summary.by_status.get("failed", 0)):
        found.append(f"Views whose segmentation failed: {failed:,} of {artifacts.quality.summary.views:,}.")
    if artifacts.drift is not None:
        found += artifacts.drift.alerts
    if artifacts.calibration is not None:
        found += artifacts.calibration.remarks
    if artifacts.explanations is not None:
        found += _of_explanation(artifacts.explanations.summary)
    return tuple(found)
