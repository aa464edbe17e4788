"""Reads the JSON and JSON lines files of other nodes into typed records."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from components.drift_monitor import SUMMARY_FILE, DriftSummary
from components.report_generator.artifacts import (
    Evaluation,
    History,
    IngestSummary,
    Quality,
    QualitySummary,
    QualityView,
)
from components.report_generator.inputs import ReportInputs
from components.report_generator.model_artifacts import (
    Calibration,
    Explanation,
    Explanations,
    ExplanationSummary,
    Infra,
)
from components.report_generator.spans import combine
from components.statistics.calibration import CALIBRATION_FILE

_Model = TypeVar("_Model", bound=BaseModel)


class ReportInputError(ValueError):
    """A file that the report needs is absent or does not have the agreed form."""


@dataclass(frozen=True)
class Artifacts:
    """Everything the report shows, parsed; ``None`` where the input was not given."""

    ingest: IngestSummary | None
    quality: Quality | None
    drift: DriftSummary | None
    training: Mapping[str, History]
    evaluation: Evaluation | None
    explanations: Explanations | None
    infra: Infra | None
    calibration: Calibration | None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportInputError(
            f"{path} cannot be read ({error}); run the node that writes it again, or leave the input out"
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
    """Reads a JSON file as ``model``.

    Raises:
        ReportInputError: The file is absent, is not JSON, or a key is missing or of the wrong type.
    """
    return _parse(model, _text(path), str(path))


def read_json_lines(model: type[_Model], path: Path) -> tuple[_Model, ...]:
    """Reads a JSON lines file as records of ``model``; blank lines are skipped.

    Raises:
        ReportInputError: As for :func:`read_json`; the message names the line.
    """
    lines = enumerate(_text(path).split("\n"), start=1)
    return tuple(_parse(model, line, f"{path} line {number}") for number, line in lines if line.strip())


def load_quality(folder: Path) -> Quality:
    """Reads a quality report. Raises ``ReportInputError``."""
    return Quality(
        folder,
        read_json(QualitySummary, folder / "summary.json"),
        read_json_lines(QualityView, folder / "views.jsonl"),
    )


def load_explanations(folder: Path) -> Explanations:
    """Reads the explanations. Raises ``ReportInputError``."""
    return Explanations(
        folder,
        read_json(ExplanationSummary, folder / "summary.json"),
        read_json_lines(Explanation, folder / "explanations.jsonl"),
    )


def load_artifacts(inputs: ReportInputs) -> Artifacts:
    """Reads whatever was given.

    Raises:
        ReportInputError: A given folder lacks a file, or a file lacks a key.
    """
    spans = [read_json(IngestSummary, folder / "summary.json") for folder in inputs.ingest]
    return Artifacts(
        ingest=combine(spans) if spans else None,
        quality=load_quality(inputs.quality) if inputs.quality else None,
        drift=read_json(DriftSummary, inputs.drift / SUMMARY_FILE) if inputs.drift else None,
        training={v: read_json(History, p / "history.json") for v, p in sorted(inputs.training.items())},
        evaluation=read_json(Evaluation, inputs.evaluation / "exam_metrics.json") if inputs.evaluation else None,
        explanations=load_explanations(inputs.explanations) if inputs.explanations else None,
        infra=read_json(Infra, inputs.infra / "infra.json") if inputs.infra else None,
        calibration=read_json(Calibration, inputs.exam_model / CALIBRATION_FILE) if inputs.exam_model else None,
    )
