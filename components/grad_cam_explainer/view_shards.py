"""Work on one shard of views: score all its views, or draw some of them."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from components.common.progress import advance
from components.common.shards import read_shard, write_bytes
from components.common.stages import LostRecordsError
from components.common.views import View, batched, parse_view
from components.grad_cam_explainer.config import ExplainerConfig
from components.grad_cam_explainer.heat_maps import Explainer, score_view
from components.grad_cam_explainer.mean_scores import ExplainedView
from components.grad_cam_explainer.view_selection import Place, beside

LoadExplainer = Callable[[], Explainer]


@dataclass(frozen=True)
class ExplainTask:
    """One shard to explain.

    Attributes:
        number: Index in the split.
        path: TFRecord shard of preprocessed views.
        views: Number of views to explain, from the beginning of the shard.
    """

    number: int
    path: str
    views: int


def read_some(path: str, wanted: Iterable[int]) -> Iterator[tuple[int, View]]:
    """Yield the views at some positions of a shard, one at a time."""
    positions = set(wanted)
    for index, record in enumerate(itertools.islice(read_shard(path), max(positions, default=-1) + 1)):
        if index in positions:
            yield index, parse_view(record)


def explain_shard(task: ExplainTask, load: LoadExplainer, config: ExplainerConfig) -> list[ExplainedView]:
    """Score the heat maps of a shard, one batch at a time.

    Args:
        task: The shard.
        load: Returns the exam model, loaded once per worker.
        config: Class to explain, and views per call.

    Returns:
        One row per view, in the order of the records.

    Raises:
        LostRecordsError: The shard has fewer views than were counted before.
    """
    explainer = load()
    rows: list[ExplainedView] = []
    records = itertools.islice(read_shard(task.path), task.views)
    for batch in batched(map(parse_view, records), config.batch_size):
        found = explainer.heat_maps(batch, config.target_class)
        for view, density, probabilities, heatmap in zip(
            batch, found.density, found.probabilities, found.heatmaps, strict=True
        ):
            rows.append(
                ExplainedView(
                    shard=task.number,
                    index=len(rows),
                    exam_id=view.exam_id,
                    view=view.view,
                    density=view.density,
                    acquisition_system=view.acquisition_system,
                    predicted=density,
                    probabilities=tuple(round(float(p), 6) for p in probabilities),
                    scores=score_view(heatmap, view).to_dict(),
                )
            )
        advance(len(batch))
    if len(rows) != task.views:
        raise LostRecordsError(
            f"{task.path}: {task.views} views were counted; run the preprocessing again. Received: {len(rows)} views."
        )
    return rows


def draw_shard(
    work: tuple[ExplainTask, Mapping[int, str]], load: LoadExplainer, config: ExplainerConfig, out: str
) -> dict[Place, dict[str, str]]:
    """Draw some views of a shard, see :meth:`components.grad_cam_explainer.heat_maps.Explainer.pictures`.

    Args:
        work: The shard, and the path of the overlay in ``out`` by position.
        load: Returns the exam model, loaded once per worker.
        config: The configuration with which the shard was explained.
        out: Folder of the explanations.

    Returns:
        Paths in ``out`` by kind of picture, by shard and index.
    """
    task, wanted = work
    explainer = load()
    drawn: dict[Place, dict[str, str]] = {}
    for batch in batched(read_some(task.path, wanted), config.batch_size):
        pictures = explainer.pictures([view for _, view in batch], config.target_class)
        for (index, _), of_view in zip(batch, pictures, strict=True):
            paths = {kind: beside(wanted[index], kind) for kind in of_view}
            for kind, picture in of_view.items():
                write_bytes(os.path.join(out, paths[kind]), picture)
            drawn[task.number, index] = paths
    return drawn
