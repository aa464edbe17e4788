"""The inputs of a report, and the functions that read the files of the other nodes into typed records."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from components.drift_monitor import SUMMARY_FILE, DriftSummary
from components.report_generator.artifacts import (
    AgeSummary,
    Familiarity,
    History,
    IngestSummary,
    Quality,
    QualitySummary,
    QualityView,
    ReadEvaluation,
)
from components.report_generator.model_artifacts import (
    Explanation,
    ExplanationSummary,
    Infra,
    ReadCalibration,
    ReadExplanations,
)
from components.statistics.calibration import CALIBRATION_FILE


@dataclass(frozen=True)
class NodeInfo:
    """A node of the run.

    Attributes:
        node: ID of the node.
        code: Fingerprint of its source; empty for TFX's own nodes.
        data: Fingerprint of the archive if the node ingests one, else empty.
        parents: IDs of the nodes whose outputs it reads.
    """

    node: str
    code: str = ""
    data: str = ""
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunInfo:
    """The run that is reported.

    Attributes:
        name: Pipeline or run name.
        generated: Date of the report, ISO 8601. The caller passes it, so that equal inputs make equal pages.
        configuration: Effective configuration, YAML text.
        packages: Versions of the main packages, by name.
        origin: Kind of the exams if they are not exams of patients, such as ``computed phantoms``; else empty.
        nodes: The nodes that run before the report.
        artifacts: Artifacts that the page is made from: ``NODE/OUTPUT/EXECUTION`` by input.
    """

    name: str
    generated: str
    configuration: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    nodes: tuple[NodeInfo, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PushInfo:
    """Result of the Pusher.

    Attributes:
        pushed: True if the model is in the serving directory.
        version: Version of the model in the serving directory.
    """

    pushed: bool
    version: str | None = None


@dataclass(frozen=True)
class ReportInputs:
    """Artifact folders of the other nodes. If one is absent, its section names what is missing.

    Attributes:
        ingest: Folders of DicomExampleGen, one per span; each holds ``summary.json``.
        quality: Folder of MammogramPreprocessor: ``summary.json``, ``views.jsonl`` and ``overlays/``.
        drift: Folder of DriftMonitor: ``summary.json``.
        training: Folder with ``history.json``, by view.
        evaluation: Folder of the Evaluator: ``exam_metrics.json``, and ``familiarity.json`` if it has one.
        explanations: Folder of GradCamExplainer: ``summary.json``, ``explanations.jsonl`` and ``overlays/``.
        infra: Folder of InfraCheck: ``infra.json``.
        exam_model: SavedModel of ExamEnsemble, which contains ``assets.extra/calibration.json``.
        push: Result of the Pusher.
        run: Name, date, configuration and package versions.
    """

    ingest: tuple[Path, ...] = ()
    quality: Path | None = None
    drift: Path | None = None
    training: Mapping[str, Path] = field(default_factory=dict)
    evaluation: Path | None = None
    explanations: Path | None = None
    infra: Path | None = None
    exam_model: Path | None = None
    push: PushInfo | None = None
    run: RunInfo | None = None


_Model = TypeVar("_Model", bound=BaseModel)


class ReportInputError(ValueError):
    """A file that the report requires is absent or does not have the agreed form."""


@dataclass(frozen=True)
class Artifacts:
    """Everything that the report shows, parsed; ``None`` for each input that is absent."""

    ingest: IngestSummary | None
    quality: Quality | None
    drift: DriftSummary | None
    training: Mapping[str, History]
    evaluation: ReadEvaluation | None
    familiarity: Familiarity | None
    explanations: ReadExplanations | None
    infra: Infra | None
    calibration: ReadCalibration | None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportInputError(
            f"{path} cannot be read ({error}); run the node that writes it again, or omit this input"
        ) from error


def _parse(model: type[_Model], text: str, place: str) -> _Model:
    try:
        return model.model_validate(json.loads(text))
    except json.JSONDecodeError as error:
        raise ReportInputError(f"{place} is not JSON: {error.msg} at character {error.pos}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(map(str, first["loc"])) or "(top level)"
        received = repr(first["input"])
        received = received if len(received) <= 80 else f"{received[:77]}..."
        raise ReportInputError(f"{place}: key {key}: {first['msg']}. Received: {received}") from error


def read_json(model: type[_Model], path: Path) -> _Model:
    """Read a JSON file as ``model``.

    Raises:
        ReportInputError: The file is absent, is not JSON, or a key is missing or of the wrong type.
    """
    return _parse(model, _text(path), str(path))


def read_json_lines(model: type[_Model], path: Path) -> tuple[_Model, ...]:
    """Read a JSON lines file as records of ``model``; blank lines are skipped.

    Raises:
        ReportInputError: As for :func:`read_json`; the message names the line.
    """
    lines = enumerate(_text(path).split("\n"), start=1)
    return tuple(_parse(model, line, f"{path} line {number}") for number, line in lines if line.strip())


def load_quality(folder: Path) -> Quality:
    """Read a quality report.

    Raises:
        ReportInputError: As for :func:`read_json`.
    """
    return Quality(
        folder,
        read_json(QualitySummary, folder / "summary.json"),
        read_json_lines(QualityView, folder / "views.jsonl"),
    )


def load_explanations(folder: Path) -> ReadExplanations:
    """Read the explanations.

    Raises:
        ReportInputError: As for :func:`read_json`.
    """
    return ReadExplanations(
        folder,
        read_json(ExplanationSummary, folder / "summary.json"),
        read_json_lines(Explanation, folder / "explanations.jsonl"),
    )


def load_artifacts(inputs: ReportInputs) -> Artifacts:
    """Read the inputs that are present.

    Raises:
        ReportInputError: A folder lacks a file, or a file lacks a key.
    """
    spans = [read_json(IngestSummary, folder / "summary.json") for folder in inputs.ingest]
    return Artifacts(
        ingest=combine(spans) if spans else None,
        quality=load_quality(inputs.quality) if inputs.quality else None,
        drift=read_json(DriftSummary, inputs.drift / SUMMARY_FILE) if inputs.drift else None,
        training={v: read_json(History, p / "history.json") for v, p in sorted(inputs.training.items())},
        evaluation=read_json(ReadEvaluation, inputs.evaluation / "exam_metrics.json") if inputs.evaluation else None,
        familiarity=_familiarity(inputs.evaluation),
        explanations=load_explanations(inputs.explanations) if inputs.explanations else None,
        infra=read_json(Infra, inputs.infra / "infra.json") if inputs.infra else None,
        calibration=read_json(ReadCalibration, inputs.exam_model / CALIBRATION_FILE) if inputs.exam_model else None,
    )


def _familiarity(evaluation: Path | None) -> Familiarity | None:
    """Read the familiarity of the test exams; evaluations of earlier versions have none."""
    path = evaluation / "familiarity.json" if evaluation else None
    return read_json(Familiarity, path) if path is not None and path.exists() else None


def _add(first: Any, second: Any) -> Any:
    """Return the sum of two numbers, or of two mappings key by key."""
    if isinstance(first, Mapping):
        names = [*first, *(name for name in second if name not in first)]
        return {
            name: _add(first[name], second[name]) if name in first and name in second else (first | second)[name]
            for name in names
        }
    return first + second


def _ages(parts: Iterable[AgeSummary]) -> AgeSummary:
    counts = sum((Counter(part.counts) for part in parts), Counter[int]())
    ages = sorted(counts.elements())
    return AgeSummary(
        mean=round(statistics.fmean(ages), 2) if ages else None,
        sd=round(statistics.stdev(ages), 2) if len(ages) > 1 else None,
        median=statistics.median(ages) if ages else None,
        counts=dict(sorted(counts.items())),
    )


def combine(spans: Sequence[IngestSummary]) -> IngestSummary:
    """Return the sum of the summaries of several spans.

    An exam or patient in several spans is counted in each. The quality report counts the exams excluded for it.

    Args:
        spans: Summary of each span, at least one.

    Returns:
        Summary of all spans. Mean, standard deviation and median of the age are computed over all exams.
    """
    if len(spans) == 1:
        return spans[0]
    total = reduce(_add, (span.model_dump(exclude={"ages"}) for span in spans))
    classes = dict.fromkeys(density for span in spans for density in span.ages)
    ages = {density: _ages(span.ages[density] for span in spans if density in span.ages) for density in classes}
    warnings = tuple(dict.fromkeys(total["warnings"]))
    return IngestSummary.model_validate(total | {"ages": ages, "warnings": warnings})
