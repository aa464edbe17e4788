"""An outcome in sentences: what was run on what, and whose the slides' figures are."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.experiments.declarations import Experiment
from pipeline.experiments.run import Outcome
from schema.features import DENSITY_CLASSES


def classes_text(counts: Mapping[str, int]) -> str:
    """Writes exams by class."""
    return f"{sum(counts.values())} exams ({', '.join(f'{name} {counts[name]}' for name in DENSITY_CLASSES)})"


def conditions(outcome: Outcome) -> list[str]:
    """Says on which data, at which size and with which trainings the figures came about."""
    first = next(iter(outcome.arms.values()))
    trainer = outcome.base.pipeline.trainer
    made = outcome.phantoms
    data = f"{made.exams} phantom exams, seed {made.seed}, {made.distribution} distribution" if made else "the archive"
    lines = [
        f"Data: {data}. Test split: {classes_text(first.exams['test'])}.",
        f"Networks: {trainer.image.size} pixels, {trainer.network.width:g} of the published filters, {trainer.epochs} "
        "epochs, one seed. Proportions have Wilson's interval, other figures a bootstrap by patient; 95 %.",
    ]
    sizes = {name: arm.config.pipeline.trainer.image.size for name, arm in outcome.arms.items()}
    if len(set(sizes.values())) > 1:
        scaled = ", ".join(f"{name} = {size} pixels" for name, size in sizes.items())
        lines.append(f"Image sizes are in the thesis's proportion: {scaled}.")
    return lines


def slides_remark(experiment: Experiment) -> list[str]:
    """Says whose the slides' figures are; empty where they give none."""
    published = experiment.published
    if published is None:
        return []
    return [f'"slides" is the thesis\'s slide "{published.caption}": {published.data}. No comparison is possible.']
