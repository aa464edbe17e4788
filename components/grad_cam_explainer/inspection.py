"""Inspection of the network of each view: feature maps of its first blocks, and heat maps with random weights.

Feature maps are drawn as one picture per block: one row per class, one column per filter.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.common.png import decode_png, encode_png
from components.common.shards import write_bytes
from components.common.views import View
from components.exam_model.heat_source import HeatMapConfig
from components.grad_cam_explainer.config import ExplainerConfig
from components.grad_cam_explainer.heat_maps import rank_correlation
from components.grad_cam_explainer.mean_scores import ExplainedView, mean_over_exams
from components.grad_cam_explainer.networks import (
    NetworkParts,
    block_layers,
    block_outputs,
    load_networks,
    maps_of,
    network_input,
    predicted_classes,
    randomised_from_the_head,
)
from components.grad_cam_explainer.view_selection import choose_samples, choose_specimens
from components.grad_cam_explainer.view_shards import read_some
from components.transform.config import ImageConfig
from schema.features import laterality_of

_TILE: Final = 112  # pixels
_GAP: Final = 4
_MARGIN: Final = 26  # for names, left and above
_FILTERS: Final = 7
_INK: Final = (31, 36, 27)
_FONT: Final = cv2.FONT_HERSHEY_SIMPLEX


def liveliest_filters(maps: NDArray[np.float32], count: int = _FILTERS) -> list[int]:
    """Choose the filters whose maps vary most within an image.

    Args:
        maps: float32 [N, h, w, K].
        count: Number of filters.

    Returns:
        Indices of at most ``count`` filters, ascending.
    """
    spread = maps.std(axis=(1, 2)).mean(axis=0)
    return sorted(np.argsort(-spread, kind="stable")[:count].tolist())


def _write(sheet: NDArray[np.uint8], text: str, x: int, y: int) -> None:
    cv2.putText(sheet, text, (x, y), _FONT, 0.5, _INK, 1, cv2.LINE_AA)


def _tile(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    shrinks = max(picture.shape[:2]) > _TILE
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_NEAREST
    return cv2.resize(picture, (_TILE, _TILE), interpolation=interpolation).astype(np.uint8)


def draw_feature_maps(
    names: Sequence[str], images: Sequence[NDArray[np.uint8]], maps: NDArray[np.float32]
) -> tuple[bytes, list[int]]:
    """Draw the input of the network and the feature maps of some filters, one row per view.

    Each filter has one colour scale for all rows, so that rows can be compared; dark is low.

    Args:
        names: Name of each row, such as its class.
        images: uint8 [H, W], input image of each row.
        maps: float32 [N, h, w, K], feature maps of the rows.

    Returns:
        Colour PNG, and the indices of the filters that are drawn.
    """
    filters = liveliest_filters(maps)
    step = _TILE + _GAP
    height, width = _MARGIN + step * len(names), _MARGIN + step * (1 + len(filters))
    sheet = np.full((height, width, 3), 255, np.uint8)
    for column, title in enumerate(["input", *(f"filter {number}" for number in filters)]):
        _write(sheet, title, _MARGIN + column * step + 4, _MARGIN - 9)
    lows, highs = maps.min(axis=(0, 1, 2)), maps.max(axis=(0, 1, 2))
    for row, (name, image) in enumerate(zip(names, images, strict=True)):
        top = _MARGIN + row * step
        _write(sheet, name, 6, top + _TILE // 2 + 5)
        tiles = [cv2.cvtColor(_tile(image), cv2.COLOR_GRAY2BGR)]
        for number in filters:
            span = max(float(highs[number] - lows[number]), 1e-12)
            shades = np.rint(255 * (maps[row, :, :, number] - lows[number]) / span).astype(np.uint8)
            tiles.append(cv2.applyColorMap(_tile(shades), cv2.COLORMAP_VIRIDIS))
        for column, tile in enumerate(tiles):
            left = _MARGIN + column * step
            sheet[top : top + _TILE, left : left + _TILE] = tile
    return encode_png(sheet), filters


_SEEDS_PER_NETWORK: Final = 1000  # more than the number of random variables of a network


@dataclass(frozen=True)
class NetworkTask:
    """The network of one view, and the location of its examples.

    Attributes:
        view: One of VIEWS.
        path: ``.keras`` file.
        mirrored: True if the network sees right breasts mirrored.
        specimens: Shard path and position of one view per class, for the feature maps.
        samples: Shard path and position of the views whose heat maps are compared.
    """

    view: str
    path: str
    mirrored: bool
    specimens: tuple[tuple[str, int], ...]
    samples: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Similarity:
    """Similarity of two heat maps of a view: of the trained network, and of the network with some random stages.

    Attributes:
        stage: The stage that was randomised last; all stages after it are random too.
        exam_id: Exam of the view.
        correlation: Spearman's rank correlation over the cells of the map; 0 if the second map has no heat.
    """

    stage: str
    exam_id: str
    correlation: float


@dataclass(frozen=True)
class Inspection:
    """Result of an inspection.

    Attributes:
        similarities: One per network, stage and view.
        pictures: Feature maps: view, block, picture and filters, in the form of the JSON file.
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
    """Choose the examples for the inspection of one network.

    Args:
        rows: All views that were explained.
        shards: Paths of the shards by number.
        view: One of VIEWS.
        path: ``.keras`` file of the network of this view.
        config: Number of views.
        mirrored: True if the network sees right breasts mirrored.
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
    """Compare heat maps with those of the same network, randomised stage by stage from the head on.

    The target class is always the prediction of the trained network. Views with a constant map are skipped, because
    their rank correlation is undefined.

    Args:
        parts: The network; its weights are overwritten.
        inputs: float32 [N, size, size, C].
        exams: Exam of each input.
        seed: Seed of the random weights.

    Returns:
        One similarity per stage and view, in the order of the stages from the head on.
    """
    classes = predicted_classes(parts, inputs)
    before = maps_of(parts, inputs, classes)
    found = []
    for stage in randomised_from_the_head(parts, seed):
        after = maps_of(parts, inputs, classes)
        for exam, one, other in zip(exams, before, after, strict=True):
            if np.ptp(one) > 0:
                found.append(Similarity(stage, exam, rank_correlation(one.ravel(), other.ravel()) or 0.0))
    return found


def _draw(task: NetworkTask, parts: NetworkParts, image: ImageConfig, blocks: int, out: str) -> list[dict[str, Any]]:
    views = sorted(_read(task.specimens), key=lambda view: view.density)
    if not views:
        return []
    inputs = network_input(views, image, mirrored=task.mirrored)
    # The input as the network sees it: mirrored for networks that mirror right breasts.
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


def inspect_networks(
    tasks: Sequence[NetworkTask], image: ImageConfig, heat_map: HeatMapConfig, config: ExplainerConfig, out: str
) -> Inspection:
    """Draw the feature maps of the networks, and compare their heat maps with those of random weights.

    Args:
        tasks: Networks of one architecture, and their examples.
        image: Input of the networks.
        heat_map: Method and stages of their heat maps.
        config: Number of blocks.
        out: Folder of the explanations.

    Returns:
        Similarities and pictures, in the order of the tasks.
    """
    pictures: list[dict[str, Any]] = []
    similarities: list[Similarity] = []
    networks = load_networks((task.path for task in tasks), heat_map)
    for number, (task, parts) in enumerate(zip(tasks, networks, strict=True)):
        pictures += _draw(task, parts, image, config.feature_map_blocks, out)
        samples = _read(task.samples)
        if samples:
            inputs = network_input(samples, image, mirrored=task.mirrored)
            exams = [view.exam_id for view in samples]
            similarities += compare_with_randomised(parts, inputs, exams, seed=_SEEDS_PER_NETWORK * number)
    return Inspection(tuple(similarities), tuple(pictures))


def mean_similarities(similarities: Sequence[Similarity]) -> list[dict[str, Any]]:
    """Return the mean similarity of each stage over all networks, in the order of randomisation, as JSON objects."""
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
