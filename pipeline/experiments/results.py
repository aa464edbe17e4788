"""Write an outcome as JSON (metrics, configurations, exams and networks), and its conditions as sentences."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from components.statistics.intervals import Figure
from pipeline.experiments.arms import FinishedArm
from pipeline.experiments.declarations import Experiment, Key, Published
from pipeline.experiments.run import Outcome
from schema.features import DENSITY_CLASSES


def classes_text(counts: Mapping[str, int]) -> str:
    """Return the number of exams by class as text."""
    return f"{sum(counts.values())} exams ({', '.join(f'{name} {counts[name]}' for name in DENSITY_CLASSES)})"


def conditions(outcome: Outcome) -> list[str]:
    """Return sentences about the data, the image size and the training behind the metrics."""
    first = next(iter(outcome.arms.values()))
    trainer = outcome.base.pipeline.trainer
    phantoms = outcome.phantoms
    data = "the archive"
    if phantoms:
        data = f"{phantoms.exams} phantom exams, seed {phantoms.seed}, {phantoms.distribution} distribution"
    lines = [
        f"Data: {data}. Test split: {classes_text(first.exams['test'])}.",
        f"Networks: {trainer.image.size} pixels, {trainer.network.width:g} of the published filters, {trainer.epochs} "
        "epochs, one seed. Proportions have Wilson's interval, other metrics a bootstrap by patient; 95 %.",
    ]
    sizes = {name: arm.config.pipeline.trainer.image.size for name, arm in outcome.arms.items()}
    if len(set(sizes.values())) > 1:
        scaled = ", ".join(f"{name} = {size} pixels" for name, size in sizes.items())
        lines.append(f"Image sizes have the same proportion as in the thesis: {scaled}.")
    return lines


def slides_remark(experiment: Experiment) -> list[str]:
    """Return the source of the slides' values; empty if the slides have none."""
    published = experiment.published
    if published is None:
        return []
    return [f'"slides" is the thesis\'s slide "{published.caption}": {published.data}. No comparison is possible.']


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


def outcome_document(outcome: Outcome) -> dict[str, Any]:
    """Return an outcome as JSON types, without paths and without names of persons."""
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
