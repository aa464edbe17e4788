"""The result of ``experiment repeat``: which folds count, which models are mixed, and their metrics."""

from __future__ import annotations

from dataclasses import dataclass

from components.statistics.scores import Scores
from pipeline.experiments.fold_models import GREY, MODELS, TEXTURE
from pipeline.experiments.repeat import RepeatRun
from pipeline.experiments.repeat_figures import Comparison, averaged, compare_arms, exam_scores, on_common_exams


@dataclass(frozen=True)
class RepeatResult:
    """A state of the experiment, and its metrics.

    Attributes:
        run: The state.
        comparison: Metrics of what counts, see :func:`counted_seeds`.
        missing: What is not finished, in sentences.
    """

    run: RepeatRun
    comparison: Comparison
    missing: tuple[str, ...]


def averaged_name(arm: str, seeds: int) -> str:
    """Return the name of the arm that averages the probabilities of the seeds of an arm."""
    return f"{arm}, {seeds} seeds averaged"


def mixed_name(arm: str) -> str:
    """Return the name of the arm that averages the probabilities of an arm and of the texture model."""
    return f"{arm} and {TEXTURE}, averaged"


def networks_name(arm: str) -> str:
    """Return the name of the networks of an arm whose configuration is mixed."""
    return f"{arm}, networks only"


def mixture(networks: Scores, texture: Scores, weight: float) -> Scores:
    """Average networks and texture model on the exams that both graded.

    An exam is the mean of its views in both, so this is the mixed classifier, which averages them view by view.

    Args:
        networks: Scores of the networks.
        texture: Scores of the texture model.
        weight: Weight of the texture model; the networks have the rest.
    """
    common = on_common_exams({"networks": [networks], TEXTURE: [texture]})
    return averaged([one for [one] in common.values()], (1 - weight, weight))


def counted_seeds(run: RepeatRun) -> tuple[int, ...]:
    """Return the seeds that count: those that are whole, or the first one as long as none is.

    Of a seed that is not whole, the folds count that all arms have finished.
    """
    return run.whole_seeds or run.plan.seeds[:1]


def _arm_scores(run: RepeatRun) -> dict[str, list[Scores]]:
    """Return the scores of each seed that counts, by arm; networks and their mixture are two arms."""
    seeds = counted_seeds(run)
    found = {
        name: [
            exam_scores(run.finished[name, seed].rows, arm.config.pipeline.ensemble.minimum_views)
            for seed in (seeds[:1] if name == GREY else seeds)  # it has no seed
        ]
        for name, arm in run.arms.items()
        if all((name, seed) in run.finished for seed in seeds)
    }
    scores: dict[str, list[Scores]] = {}
    mixtures: dict[str, list[Scores]] = {}
    for name, own in found.items():
        if name in MODELS or TEXTURE not in found:
            scores[name] = own
            continue
        ensemble = run.arms[name].config.pipeline.ensemble
        pairs = zip(own, found[TEXTURE], strict=True)
        mixed = [mixture(networks, texture, ensemble.texture_weight) for networks, texture in pairs]
        if ensemble.mixed:  # then the mixture is what the configuration names
            scores[name], mixtures[networks_name(name)] = mixed, own
        else:
            scores[name], mixtures[mixed_name(name)] = own, mixed
    return scores | mixtures


def _missing(run: RepeatRun) -> tuple[str, ...]:
    count = len(run.folds) * len(run.plan.seeds)
    done = {name: sum(run.finished_folds(name, seed) for seed in run.plan.seeds) for name in run.arms}
    sentences = [f"{name}: {number} of {count} folds are finished." for name, number in done.items() if number < count]
    if not sentences:
        return ()
    seeds = ", ".join(map(str, counted_seeds(run)))
    what = f"whole seeds: {seeds}" if run.whole_seeds else f"the folds of seed {seeds} that all arms have finished"
    return (*sentences, f"The metrics count {what}.")


def result_of(run: RepeatRun) -> RepeatResult:
    """Compute the metrics of what counts."""
    scores = _arm_scores(run)
    means = {
        averaged_name(name, len(seeds)): [averaged(on_common_exams({name: seeds})[name])]
        for name, seeds in scores.items()
        if len(seeds) > 1
    }
    judged = next(iter(run.arms.values())).config.pipeline.evaluator
    comparison = compare_arms(scores | means, judged.bootstrap_draws, judged.seed)
    return RepeatResult(run, comparison, _missing(run))
