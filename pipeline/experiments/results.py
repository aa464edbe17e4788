"""The outcome as JSON: every figure, every arm's configuration, exams and networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from components.statistics.intervals import Figure
from pipeline.experiments.arms import FinishedArm
from pipeline.experiments.declarations import Key, Published
from pipeline.experiments.run import Outcome


def _figures(figures: Mapping[Key, Figure], published: Published | None = None) -> list[dict[str, Any]]:
    rows = []
    for (arm, part, name), figure in figures.items():
        row: dict[str, Any] = {"arm": arm, "part": part, "figure": name, **figure.to_dict()}
        beside = published.figures.get((arm, part, name)) if published else None
        rows.append(row if beside is None else {**row, "slides": beside})
    return rows


def _published(published: Published | None) -> dict[str, Any] | None:
    return {"caption": published.caption, "data": published.data} if published else None


def _arm(arm: FinishedArm) -> dict[str, Any]:
    return {
        "exams": arm.exams,
        "systems_learnt_from": list(arm.learnt_systems),
        "networks": {name: dataclasses.asdict(network) for name, network in arm.networks.items()},
        "temperature": arm.temperature,
        "predictions": f"predictions/{arm.file.name}",
        "seconds": round(arm.seconds, 1),
        "nodes": {node.node: {"cached": node.cached, "seconds": round(node.seconds, 1)} for node in arm.nodes},
        "configuration": arm.config.pipeline.model_dump(mode="json"),
    }


def results(outcome: Outcome) -> dict[str, Any]:
    """Writes an outcome as JSON has it; it names no folder and no person."""
    experiment = outcome.experiment
    return {
        "experiment": experiment.name,
        "title": experiment.title,
        "sentence": experiment.sentence,
        "note": experiment.note,
        "date": outcome.date,
        "seconds": round(outcome.seconds, 1),
        "phantoms": outcome.phantoms.model_dump(mode="json") if outcome.phantoms else None,
        "baseline": experiment.baseline,
        "slides": _published(experiment.published),
        "figures": _figures(outcome.figures, experiment.published),
        "differences": _figures(outcome.differences),
        "view_by_view": _figures(outcome.details, experiment.detail_published),
        "arms": {name: _arm(arm) for name, arm in outcome.arms.items()},
        "base_configuration": outcome.base.pipeline.model_dump(mode="json"),
    }
