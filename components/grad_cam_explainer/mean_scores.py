"""Mean scores of heat maps by slice, with intervals over exams, and the gates on these means."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from components.grad_cam_explainer.config import ExplainerConfig
from components.grad_cam_explainer.heat_maps import SCORES
from components.statistics.intervals import Mean
from schema.features import is_mlo

_RESAMPLES: Final = 1000
_DIGITS: Final = 6
_SYSTEM: Final = "acquisition_system"
# Keys of the slices of the test split; no key means the whole split.
_SLICED_BY: Final = (
    (),
    ("density",),
    (_SYSTEM,),
    ("view",),
    (_SYSTEM, "density"),
    ("view", "density"),
    ("view", _SYSTEM),
)


@dataclass(frozen=True)
class ExplainedView:
    """A view whose heat map was scored.

    Attributes:
        shard: Number of its shard.
        index: Position in it.
        exam_id: Keyed hash.
        view: One of VIEWS.
        density: True class.
        acquisition_system: Manufacturer, model and software version.
        predicted: Predicted class.
        probabilities: Probabilities of the density classes.
        scores: Scores by name; see :class:`components.grad_cam_explainer.heat_maps.HeatScores`.
    """

    shard: int
    index: int
    exam_id: str
    view: str
    density: str
    acquisition_system: str
    predicted: str
    probabilities: tuple[float, ...]
    scores: Mapping[str, float | None]

    @property
    def right(self) -> bool:
        """True if the prediction is correct."""
        return self.predicted == self.density


def mean_over_exams(values: Sequence[float | None], exams: Sequence[str]) -> Mean:
    """Return the mean of a score over views, with an interval from a bootstrap over exams.

    Args:
        values: Score of each view; None values are ignored.
        exams: Exam of each view.

    Returns:
        The mean. Its interval is a percentile bootstrap, or None with fewer than two exams. The bootstrap has a fixed
        seed: equal values give equal intervals.
    """
    pairs = [(exam, value) for value, exam in zip(values, exams, strict=True) if value is not None]
    if not pairs:
        return Mean(value=None, ci95=None, n=0, exams=0)
    names, position = np.unique([exam for exam, _ in pairs], return_inverse=True)
    scores = np.array([value for _, value in pairs])
    mean, count = float(scores.mean()), len(names)
    if count < 2:
        return Mean(value=mean, ci95=None, n=len(pairs), exams=count)
    sums, views = np.bincount(position, scores), np.bincount(position)
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    low, high = np.quantile((drawn @ sums) / (drawn @ views), (0.025, 0.975))
    return Mean(value=mean, ci95=(float(low), float(high)), n=len(pairs), exams=count)


@dataclass(frozen=True)
class SliceScores:
    """Mean scores of one slice; an empty ``slice`` means all explained views."""

    slice: Mapping[str, str]
    scores: Mapping[str, Mean]


def scores_by_slice(rows: Sequence[ExplainedView]) -> list[SliceScores]:
    """Return mean scores of all views, by density class, acquisition system and view, and by pairs of these."""
    return [
        SliceScores(dict(zip(keys, values, strict=True)), {name: _mean(chosen, name) for name in SCORES})
        for keys in _SLICED_BY
        for values, chosen in _slices(rows, keys)
    ]


def _slices(
    rows: Sequence[ExplainedView], keys: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], list[ExplainedView]]]:
    by_values: dict[tuple[str, ...], list[ExplainedView]] = {} if keys else {(): []}
    for row in rows:
        by_values.setdefault(tuple(getattr(row, key) for key in keys), []).append(row)
    yield from sorted(by_values.items())


def _mean(rows: Sequence[ExplainedView], name: str) -> Mean:
    return mean_over_exams([row.scores[name] for row in rows], [row.exam_id for row in rows])


def judge_mean_scores(groups: Sequence[SliceScores], config: ExplainerConfig) -> list[dict[str, Any]]:
    """Compare mean scores with the configured limits.

    Args:
        groups: Result of :func:`scores_by_slice`.
        config: The limits.

    Returns:
        One gate per limit and slice: name, slice, threshold, value, ci95, n and passed. A gate fails if no view has the
        score. A view is judged on its own mean, but not on the muscle if none of its images shows one, as in CC views;
        all views together are. An acquisition system is judged if ``minimum_exams_a_system`` of its exams have the
        score.
    """
    limits = (
        ("energy_in_breast", ">=", config.minimum_energy_in_breast),
        ("energy_in_pectoral", "<=", config.maximum_energy_in_pectoral),
        ("spearman", ">=", config.minimum_spearman),
    )
    return [
        _gate(name, sign, limit, group)
        for name, sign, limit in limits
        if limit is not None
        for group in groups
        if _is_judged(group, name, config)
    ]


def _is_judged(group: SliceScores, score: str, config: ExplainerConfig) -> bool:
    if set(group.slice) == {_SYSTEM}:
        return group.scores[score].exams >= config.minimum_exams_a_system
    if set(group.slice) == {"view"}:
        return score != "energy_in_pectoral" or (is_mlo(group.slice["view"]) and group.scores[score].n > 0)
    return not group.slice


def _gate(name: str, sign: str, limit: float, group: SliceScores) -> dict[str, Any]:
    mean = group.scores[name]
    value = mean.value
    return {
        "name": name,
        "slice": ",".join(f"{key}={chosen}" for key, chosen in group.slice.items()) or "all",
        "threshold": f"{sign} {limit:.3f}",
        "value": None if value is None else round(value, _DIGITS),
        "ci95": None if mean.ci95 is None else [round(end, _DIGITS) for end in mean.ci95],
        "n": mean.n,
        "passed": value is not None and (value >= limit if sign == ">=" else value <= limit),
    }
