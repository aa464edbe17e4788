"""Looks into the network of each view: feature maps of its first blocks, and maps of randomised weights."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from components.common.png import decode_png
from components.common.shards import write_bytes
from components.common.views import View
from components.grad_cam_explainer.choices import choose_samples, choose_specimens
from components.grad_cam_explainer.config import ExplainerConfig
from components.grad_cam_explainer.feature_maps import draw_feature_maps
from components.grad_cam_explainer.figures import ExplainedView, mean_over_exams
from components.grad_cam_explainer.networks import (
    NetworkParts,
    block_layers,
    block_outputs,
    grad_cam,
    load_networks,
    network_input,
    predicted_classes,
    randomised_from_the_head,
)
from components.grad_cam_explainer.scores import rank_correlation
from components.grad_cam_explainer.view_shards import read_some
from components.transform.config import ImageConfig
from schema.features import laterality_of

_SEEDS_A_NETWORK: Final = 1000  # more than a network has weights to draw


@dataclass(frozen=True)
class NetworkTask:
    """The network of one view, and where its examples are.

    Attributes:
        view: One of VIEWS.
        path: ``.keras`` file.
        mirrored: The network sees right breasts mirrored.
        specimens: Shard's path and position of one view a class.
        samples: The same of the views whose heat maps are compared.
    """

    view: str
    path: str
    mirrored: bool
    specimens: tuple[tuple[str, int], ...]
    samples: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Similarity:
    """How alike a view's heat map is to that of its network with some stages made random.

    Attributes:
        stage: The last stage that was made random; all after it are, too.
        exam_id: Exam of the view.
        correlation: Spearman's rank correlation over the cells of the last block; 0 where the other map has no heat.
    """

    stage: str
    exam_id: str
    correlation: float


@dataclass(frozen=True)
class Inspection:
    """What was seen in the networks.

    Attributes:
        similarities: One a network, stage and view.
        pictures: Feature maps: view, block, picture and filters, as JSON has them.
    """

    similarities: tuple[Similarity, ...]
    pictures: tuple[dict[str, Any], ...]


def network_task(
    rows: Sequence[ExplainedView],
    shards: Sequence[str],
    view: str,
    path: str,
    config: ExplainerConfig,
    *,
    mirrored: bool,
) -> NetworkTask:
    """Chooses what the network of a view is shown.

    Args:
        rows: Every view that was explained.
        shards: Paths by number.
        view: One of VIEWS.
        path: Its network's ``.keras`` file.
        config: How many views.
        mirrored: The network sees right breasts mirrored.
    """

    def places(chosen: Iterable[ExplainedView]) -> tuple[tuple[str, int], ...]:
        return tuple((shards[row.shard], row.index) for row in chosen)

    specimens = choose_specimens(rows, view) if config.feature_map_blocks else ()
    return NetworkTask(view, path, mirrored, places(specimens), places(choose_samples(rows, view, config.sanity_views)))


def _read(places: Iterable[tuple[str, int]]) -> list[View]:
    by_shard: dict[str, list[int]] = defaultdict(list)
    for path, index in places:
        by_shard[path].append(index)
    return [view for path, wanted in sorted(by_shard.items()) for _, view in read_some(path, wanted)]


def compare_with_randomised(parts: NetworkParts, inputs: Any, exams: Sequence[str], seed: int = 0) -> list[Similarity]:
    """Compares heat maps with those of the network made random from the head on.

    The class asked for stays the one that the trained network gives. A view whose map has no heat, or the same in every
    cell, is left out: nothing can be like it.

    Args:
        parts: The network; its weights are lost.
        inputs: float32 [N, size, size, C].
        exams: Exam of each input.
        seed: Seed of the random weights.

    Returns:
        One figure a stage and view, stages from the head on.
    """
    classes = predicted_classes(parts, inputs)
    before = grad_cam(parts, inputs, classes)
    found = []
    for stage in randomised_from_the_head(parts, seed):
        after = grad_cam(parts, inputs, classes)
        for exam, one, other in zip(exams, before, after, strict=True):
            if np.ptp(one) > 0:
                found.append(Similarity(stage, exam, rank_correlation(one.ravel(), other.ravel()) or 0.0))
    return found


def _draw(task: NetworkTask, parts: NetworkParts, image: ImageConfig, blocks: int, out: str) -> list[dict[str, Any]]:
    views = sorted(_read(task.specimens), key=lambda view: view.density)
    if not views:
        return []
    inputs = network_input(views, image, mirrored=task.mirrored)
    # As the network has it, and therefore mirrored where it is.
    pictures: list[NDArray[np.uint8]] = [decode_png(view.image).astype(np.uint8) for view in views]
    if task.mirrored and laterality_of(task.view) == "R":
        pictures = [picture[:, ::-1] for picture in pictures]
    names = block_layers(parts.features, blocks)
    drawn = []
    for name, maps in zip(names, block_outputs(parts.features, names, inputs), strict=True):
        path = f"feature_maps/{task.view}_{name}.png"
        picture, filters = draw_feature_maps([view.density for view in views], pictures, maps)
        write_bytes(os.path.join(out, path), picture)
        drawn.append({"view": task.view, "block": name, "picture": path, "filters": filters, "of": int(maps.shape[-1])})
    return drawn


def inspect_networks(tasks: Sequence[NetworkTask], image: ImageConfig, config: ExplainerConfig, out: str) -> Inspection:
    """Draws the networks' feature maps, and compares their heat maps with those of randomised weights.

    Args:
        tasks: Networks of one architecture, and their examples.
        image: Input of the networks.
        config: Number of blocks.
        out: Folder of the explanations.

    Returns:
        What was seen, in the order of the tasks.
    """
    pictures: list[dict[str, Any]] = []
    similarities: list[Similarity] = []
    networks = load_networks(task.path for task in tasks)
    for number, (task, parts) in enumerate(zip(tasks, networks, strict=True)):
        pictures += _draw(task, parts, image, config.feature_map_blocks, out)
        samples = _read(task.samples)
        if samples:
            inputs = network_input(samples, image, mirrored=task.mirrored)
            exams = [view.exam_id for view in samples]
            similarities += compare_with_randomised(parts, inputs, exams, seed=_SEEDS_A_NETWORK * number)
    return Inspection(tuple(similarities), tuple(pictures))


def sanity_figures(similarities: Sequence[Similarity]) -> list[dict[str, Any]]:
    """Averages likeness by stage over all networks, in the order of the cascade: ``stage`` and its mean's figures."""
    stages = list(dict.fromkeys(similarity.stage for similarity in similarities))
    return [
        {
            "stage": stage,
            **mean_over_exams(
                [s.correlation for s in similarities if s.stage == stage],
                [s.exam_id for s in similarities if s.stage == stage],
            ).to_dict(),
        }
        for stage in stages
    ]
