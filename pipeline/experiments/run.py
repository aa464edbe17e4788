"""Run an experiment: its arms through the pipeline, and the metrics on the parts of the test split."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from components.statistics.intervals import Figure
from components.statistics.scores import Scores
from pipeline.config import PhantomDataConfig, RunConfig, load_config
from pipeline.console import duration, watching
from pipeline.experiments.arms import FinishedArm, run_arm
from pipeline.experiments.catalogue import detail_parts
from pipeline.experiments.declarations import Arm, Experiment, Key, Part
from pipeline.experiments.judge import Graded, differences_of, figures_of, pooled, scores_of
from pipeline.experiments.thesis_figures import SLIDE_FIGURES
from pipeline.local.demo import make_phantoms
from schema.features import ACQUISITION_SYSTEM

SEEN, NOT_SEEN, ALL_SYSTEMS = "Seen", "Not seen", "all systems"


class ExperimentError(ValueError):
    """An experiment is not possible with these data; the message says why."""


@dataclass(frozen=True)
class Setting:
    """What all arms share.

    Attributes:
        path: Configuration file.
        overrides: ``KEY=VALUE``; the values of an arm take precedence.
        values: Values by dotted key: data and output.
        phantoms: The phantoms that replace missing data.
    """

    path: Path
    overrides: Sequence[str] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    phantoms: PhantomDataConfig | None = None

    def config(self, arm: Arm | None = None) -> RunConfig:
        """Return the configuration of an arm, or the common one.

        Raises:
            ConfigError: The file or a value cannot be used.
        """
        base = load_config(self.path, self.overrides, self.values)
        if arm is None:
            return base
        own = dict(arm.overrides)
        if arm.image_scale != 1:
            size = round(base.pipeline.trainer.image.size * arm.image_scale)
            own |= {"pipeline.trainer.image.size": size, "pipeline.preprocess.output_size": size}
        return load_config(self.path, self.overrides, {**self.values, **own})


@dataclass(frozen=True)
class Outcome:
    """The result of an experiment.

    Attributes:
        experiment: The experiment.
        base: Common configuration of the arms.
        arms: Arms by name.
        figures: Metrics by arm, part and name.
        differences: Differences from the experiment's baseline.
        details: Metrics of each arm by view, breast and exam.
        phantoms: The phantoms that were made as data, if any.
        date: Date of the run, ISO 8601.
        seconds: Duration of this call, s.
    """

    experiment: Experiment
    base: RunConfig
    arms: Mapping[str, FinishedArm]
    figures: Mapping[Key, Figure]
    differences: Mapping[Key, Figure]
    details: Mapping[Key, Figure]
    phantoms: PhantomDataConfig | None
    date: str
    seconds: float

    @property
    def folder(self) -> Path:
        """Folder of its files."""
        return self.base.output / "experiments"


def with_data(setting: Setting, terminal: TextIO) -> Setting:
    """Make the phantoms of the configuration if it has no data.

    Raises:
        ExperimentError: The configuration has neither data nor phantoms.
    """
    config = setting.config()
    if config.data is not None:
        return setting
    if config.phantoms is None:
        raise ExperimentError(
            f"{setting.path} names no archive: give --data with --labels or --archive, or --manifest."
        )
    data = make_phantoms(config, terminal).data
    assert data is not None
    named = {"data.folder": str(data.folder), "data.labels": str(data.labels)}
    return Setting(setting.path, setting.overrides, {**setting.values, **named}, config.phantoms)


def _graded(arm: FinishedArm) -> Graded:
    return Graded(arm.predictions.rows, arm.temperature, arm.config.pipeline.ensemble.minimum_views)


def arms_without(first: FinishedArm) -> dict[str, Arm]:
    """Return one arm per acquisition system of the test split, which excludes the system from training.

    Raises:
        ExperimentError: There is only one system.
    """
    tested = {row.slices[ACQUISITION_SYSTEM] for row in first.predictions.rows}
    systems = sorted(tested & set(first.learnt_systems))
    if len(systems) < 2:
        raise ExperimentError(
            "A model can be tested on a system it never saw only where training and test split both have two or more"
            f" acquisition systems. Received: {', '.join(systems) or 'none'}."
        )
    return {system: Arm(f"without {system}", {"pipeline.selection.without_systems": [system]}) for system in systems}


def _scores_by_system(
    arms: Mapping[str, FinishedArm], without: Mapping[str, Arm], seed: str | int
) -> dict[tuple[str, str], Scores]:
    seen = _graded(arms[SEEN])
    parts = {system: Part(system, system=system) for system in without}
    unseen = {system: _graded(arms[arm.name]) for system, arm in without.items()}
    scores = {}
    for system, part in parts.items():
        scores[SEEN, system] = scores_of(seen, part, seed)
        scores[NOT_SEEN, system] = scores_of(unseen[system], part, seed)
    scores[SEEN, ALL_SYSTEMS] = pooled([(seen, part) for part in parts.values()], seed)
    scores[NOT_SEEN, ALL_SYSTEMS] = pooled([(unseen[system], part) for system, part in parts.items()], seed)
    return scores


def run_experiment(experiment: Experiment, setting: Setting, terminal: TextIO) -> Outcome:
    """Run an experiment. Arms that ran before come from TFX's cache.

    Args:
        experiment: The experiment.
        setting: Configuration with data.
        terminal: Shows the progress.

    Returns:
        The outcome.

    Raises:
        NodeError: A node failed; the outputs of finished nodes are kept.
        ConfigError: An arm is not compatible with the configuration.
        ExperimentError: The data do not contain what is compared.
    """
    started = datetime.datetime.now()
    base = setting.config()
    configs = {arm.name: setting.config(arm) for arm in experiment.arms}
    finished: dict[str, FinishedArm] = {}

    def run(name: str, config: RunConfig, count: str) -> None:
        print(f"{experiment.name}: arm {len(finished) + 1} of {count}, {name}", file=terminal, flush=True)
        with watching(terminal) as observer:
            arm = run_arm(config, base.output / "experiments" / "predictions", observer)
        cached = sum(node.cached for node in arm.nodes)
        line = f"{name}: {duration(arm.seconds)}, {cached} of {len(arm.nodes)} nodes cached"
        print(line, file=terminal, flush=True)
        finished[name] = arm

    for name, config in configs.items():
        run(name, config, "1 and one a system" if experiment.leave_one_system_out else str(len(configs)))
    seed = base.pipeline.ingest.split_seed
    if experiment.leave_one_system_out:
        without = arms_without(finished[SEEN])
        for arm in without.values():
            run(arm.name, setting.config(arm), str(1 + len(without)))
        scores = _scores_by_system(finished, without, seed)
    else:
        scores = {
            (name, part.name): scores_of(_graded(arm), part, seed)
            for name, arm in finished.items()
            for part in experiment.parts
        }
    details = {
        (name, part.name): scores_of(_graded(arm), part, seed)
        for name, arm in finished.items()
        for part in detail_parts(experiment)
    }
    judged = base.pipeline.evaluator
    names = experiment.figures
    return Outcome(
        experiment=experiment,
        base=base,
        arms=finished,
        figures=figures_of(scores, names, judged.bootstrap_draws, judged.seed),
        differences=differences_of(scores, experiment.baseline, names, judged.bootstrap_draws, judged.seed),
        details=figures_of(details, SLIDE_FIGURES, judged.bootstrap_draws, judged.seed),
        phantoms=setting.phantoms,
        date=started.date().isoformat(),
        seconds=(datetime.datetime.now() - started).total_seconds(),
    )
