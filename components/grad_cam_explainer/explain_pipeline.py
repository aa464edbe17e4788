"""The Beam pipeline of GradCamExplainer: one element per TFRecord shard, one batch of views in memory per worker.

Steps: score the views of each shard; choose from the scores which views are drawn, and draw them; inspect the networks,
one after the other; write the files of the explanations.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.utils.shared import Shared

from components.common.shards import write_text
from components.common.stages import Element, Gathered, Stage, elements
from components.exam_model.heat_source import GRAD_CAM, HeatMapConfig
from components.grad_cam_explainer.config import ExplainerConfig
from components.grad_cam_explainer.heat_maps import Explainer
from components.grad_cam_explainer.inspection import inspect_networks, mean_similarities, network_task
from components.grad_cam_explainer.mean_scores import ExplainedView, judge_mean_scores, scores_by_slice
from components.grad_cam_explainer.view_selection import PICTURES, Place, choose_pictures
from components.grad_cam_explainer.view_shards import ExplainTask, draw_shard, explain_shard
from components.transform.config import ImageConfig
from schema.features import VIEWS


@dataclass(frozen=True)
class NetworkFiles:
    """The networks behind the exam model.

    Attributes:
        files: ``.keras`` file of each view, all of one architecture; empty to inspect none.
        image: Input of the networks.
        mirrored: True if the networks see right breasts mirrored.
        heat_map: Method and stages of the heat maps, as the exam model draws them.
    """

    files: Mapping[str, str]
    image: ImageConfig
    mirrored: bool = False
    heat_map: HeatMapConfig = GRAD_CAM


@dataclass(frozen=True)
class SharedExplainer:
    """Loader of the exam model, which all elements of a worker process share.

    Attributes:
        handle: Beam's handle of the shared model.
        model_dir: Folder of the SavedModel.
    """

    handle: Shared
    model_dir: str

    def __call__(self) -> Explainer:
        """Return the model; the first call loads it."""
        result: Explainer = self.handle.acquire(self._load)
        return result

    def _load(self) -> Explainer:
        return Explainer(self.model_dir)


@dataclass(frozen=True)
class _Explained:
    """Scores of all views, and the pictures of those that are drawn: path by kind."""

    rows: tuple[ExplainedView, ...]
    pictures: Mapping[Place, Mapping[str, str]]


def _choose(explained: Gathered, config: ExplainerConfig) -> list[Element]:
    rows = tuple(row for part in explained.results for row in part)
    overlays = choose_pictures(rows, config.pictures_a_group)
    by_shard: dict[int, dict[int, str]] = defaultdict(dict)
    for (shard, index), path in overlays.items():
        by_shard[shard][index] = path
    tasks: Sequence[ExplainTask] = explained.context
    return elements([(tasks[shard], wanted) for shard, wanted in by_shard.items()], rows)


def _networks(drawn: Gathered, shards: Sequence[str], networks: NetworkFiles, config: ExplainerConfig) -> list[Element]:
    pictures = {place: paths for part in drawn.results for place, paths in part.items()}
    explained = _Explained(drawn.context, pictures)
    tasks = [
        network_task(explained.rows, shards, view, networks.files[view], config, mirrored=networks.mirrored)
        for view in VIEWS
        if view in networks.files
    ]
    # One element, because networks are built and traced only once. One after the other, they use all cores.
    return elements([[task for task in tasks if task.specimens or task.samples]], context=explained)


def _line(row: ExplainedView, pictures: Mapping[str, str]) -> dict[str, Any]:
    return {
        "exam_id": row.exam_id,
        "view": row.view,
        "density": row.density,
        "acquisition_system": row.acquisition_system,
        "predicted": row.predicted,
        "probabilities": list(row.probabilities),
        **row.scores,
        **{kind: pictures.get(kind) for kind in PICTURES},
    }


def _report(inspected: Gathered, heat_map: HeatMapConfig, config: ExplainerConfig, out: str) -> None:
    explained: _Explained = inspected.context
    rows = explained.rows
    lines = [json.dumps(_line(row, explained.pictures.get((row.shard, row.index), {}))) for row in rows]
    groups = scores_by_slice(rows)
    gates = judge_mean_scores(groups, config)
    summary = {
        "views": len(rows),
        "exams": len({row.exam_id for row in rows}),
        "method": heat_map.name,
        "target_class": config.target_class,
        "groups": [
            {"slice": dict(g.slice), "scores": {name: mean.to_dict() for name, mean in g.scores.items()}}
            for g in groups
        ],
        "gates": gates,
        "sanity": mean_similarities([s for part in inspected.results for s in part.similarities]),
        "feature_maps": [picture for part in inspected.results for picture in part.pictures],
        "passed": all(gate["passed"] for gate in gates),
    }
    write_text(os.path.join(out, "explanations.jsonl"), "".join(line + "\n" for line in lines))
    write_text(os.path.join(out, "summary.json"), json.dumps(summary, indent=1))


def explain(
    pipeline: beam.Pipeline,
    tasks: Sequence[ExplainTask],
    model_dir: str,
    networks: NetworkFiles,
    config: ExplainerConfig,
    out: str,
) -> None:
    """Add the steps that write overlays, feature maps, ``explanations.jsonl`` and ``summary.json``.

    Args:
        pipeline: Beam pipeline to add to.
        tasks: Shards to explain, in the order of their numbers.
        model_dir: SavedModel with the signature ``gradcam``.
        networks: Networks that the exam model contains.
        config: Which views are explained, and the gates.
        out: Folder of the explanations.
    """
    load = SharedExplainer(Shared(), model_dir)
    _ = (
        pipeline
        | "Shards" >> beam.Create(elements(tasks, context=tasks), reshuffle=False)
        | Stage("Explain", explain_shard, load, config)
        | "Choose" >> beam.FlatMap(_choose, config)
        | Stage("Draw", draw_shard, load, config, out)
        | "Networks" >> beam.FlatMap(_networks, [task.path for task in tasks], networks, config)
        | Stage("Inspect", inspect_networks, networks.image, networks.heat_map, config, out)
        | "Report" >> beam.Map(_report, networks.heat_map, config, out)
    )
