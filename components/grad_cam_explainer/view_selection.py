"""Selection of the views that are drawn. It uses the scores of all views and favours neither the first nor the best."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from components.grad_cam_explainer.mean_scores import ExplainedView
from schema.features import DENSITY_CLASSES

_SYSTEMS: Final = 6  # acquisition systems whose views are drawn separately: those with the most views
_EXTREMES: Final = 4  # number of views furthest from the label, and of views with the least heat in the breast
_SCORE: Final = "energy_in_breast"

Place = tuple[int, int]  # shard and index


def _heat(row: ExplainedView) -> float:
    return row.scores[_SCORE] or 0.0


def _typical_first(rows: Sequence[ExplainedView]) -> list[ExplainedView]:
    """Sort by the distance from the median share of heat; ties by exam hash."""
    middle = statistics.median(map(_heat, rows)) if rows else 0.0
    return sorted(rows, key=lambda row: (round(abs(_heat(row) - middle), 6), row.exam_id, row.view))


def _worst_first(row: ExplainedView) -> tuple[int, float, str, str]:
    distance = abs(DENSITY_CLASSES.index(row.density) - DENSITY_CLASSES.index(row.predicted))
    return -distance, -max(row.probabilities), row.exam_id, row.view


def _grouped(
    rows: Iterable[ExplainedView], key: Callable[[ExplainedView], tuple[str, ...]]
) -> list[list[ExplainedView]]:
    groups: dict[tuple[str, ...], list[ExplainedView]] = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return [group for _, group in sorted(groups.items())]


def choose_pictures(rows: Sequence[ExplainedView], count: int) -> dict[Place, str]:
    """Choose the views that are drawn.

    Args:
        rows: All views that were explained.
        count: Number of pictures per group. For each class and view, correct predictions come before wrong ones. For
            each class and acquisition system, this many correct and this many wrong ones are chosen. 0 chooses none.

    Returns:
        Path of the overlay by shard and index, in the order of the shards: ``overlays/CLASS_VIEW_NUMBER.png``.
    """
    if count == 0:
        return {}
    chosen: set[Place] = set()

    def take(group: Sequence[ExplainedView], most: int) -> None:
        chosen.update((row.shard, row.index) for row in group[:most])

    for group in _grouped(rows, lambda row: (row.density, row.view)):
        wrong = [row for row in group if not row.right]
        take([*_typical_first([row for row in group if row.right]), *_typical_first(wrong)], count)
    systems = Counter(row.acquisition_system for row in rows)
    largest = {name for name, _ in sorted(systems.items(), key=lambda item: (-item[1], item[0]))[:_SYSTEMS]}
    of_systems = [row for row in rows if row.acquisition_system in largest]
    for group in _grouped(of_systems, lambda row: (row.density, row.acquisition_system)):
        take(_typical_first([row for row in group if row.right]), count)
        take(sorted((row for row in group if not row.right), key=_worst_first), count)
    take(sorted((row for row in rows if not row.right), key=_worst_first), _EXTREMES)
    with_heat = [row for row in rows if row.scores[_SCORE] is not None]
    take(sorted(with_heat, key=lambda row: (_heat(row), row.exam_id, row.view)), _EXTREMES)
    numbers: Counter[str] = Counter()
    paths = {}
    for row in sorted(rows, key=lambda row: (row.shard, row.index)):
        if (row.shard, row.index) in chosen:
            group_name = f"{row.density}_{row.view}"
            numbers[group_name] += 1
            paths[row.shard, row.index] = f"overlays/{group_name}_{numbers[group_name]}.png"
    return paths


PICTURES: Final = {"overlay": "overlays", "image": "images", "muscle": "muscle", "texture": "texture", "sum": "sum"}


def beside(overlay: str, kind: str) -> str:
    """Return the path of another picture of the view: ``images/CLASS_VIEW_NUMBER.png`` of ``overlays/...``."""
    return overlay.replace("overlays/", f"{PICTURES[kind]}/", 1)


def choose_specimens(rows: Sequence[ExplainedView], view: str) -> list[ExplainedView]:
    """Choose one view per class, with a correct prediction if there is one, for the feature maps of a network."""
    groups = _grouped((row for row in rows if row.view == view), lambda row: (row.density,))
    return [_typical_first([row for row in group if row.right] or group)[0] for group in groups]


def choose_samples(rows: Sequence[ExplainedView], view: str, count: int) -> list[ExplainedView]:
    """Choose views in the order of their exam hashes, which is as good as a random choice."""
    return sorted((row for row in rows if row.view == view), key=lambda row: (row.exam_id, row.index))[:count]
