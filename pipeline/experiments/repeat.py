"""``experiment repeat``: cross-validation of configurations, by patient, with several seeds.

The nodes up to Transform run once per arm and are cached. Every fold, arm and seed is one training; its predictions are
kept under a name that holds a hash of all that decides them, so a stopped experiment continues where it was. Folds are
the same for all arms and seeds, so that differences are paired.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TextIO

from components.common.shards import shards_of, split_folder
from components.common.views import read_views
from components.evaluator.predictions import ViewPrediction, read_predictions
from components.statistics.scores import cluster_of
from components.texture.config import TextureConfig
from pipeline.config import PhantomDataConfig, RunConfig, find_config
from pipeline.console import duration, watching
from pipeline.experiments.fold_models import TEXTURE, ModelJob, model_key, run_models_apart
from pipeline.experiments.fold_training import FoldData, FoldJob, job_key, run_apart
from pipeline.experiments.folds import Fold, KnownExam, make_folds
from pipeline.experiments.prediction_table import write_predictions
from pipeline.experiments.run import ExperimentError, Setting, with_data
from pipeline.local import runner as local_runner

NAME: Final = "repeat"
_LAST_NODE: Final = "Transform"
_SPLITS: Final = ("train", "eval", "test")


@dataclass(frozen=True)
class RepeatPlan:
    """What to repeat.

    Attributes:
        arms: ``CONFIG`` or ``CONFIG+KEY=VALUE+...``; the first one is what the others are compared with. ``texture`` is
            the texture model, fitted to the pictures of the first arm.
        folds: Number of folds.
        seeds: Seeds of the training.
        overrides: ``KEY=VALUE`` for all arms.
        values: Values by dotted key: data and output.
    """

    arms: tuple[str, ...]
    folds: int = 5
    seeds: tuple[int, ...] = (1,)
    overrides: tuple[str, ...] = ()
    values: Mapping[str, Any] = field(default_factory=dict)

    def setting(self, arm: str) -> Setting:
        """Return the setting of an arm.

        Raises:
            ConfigError: There is no configuration of that name.
        """
        name, *own = arm.split("+")
        return Setting(find_config(name), [*self.overrides, *own], self.values)


@dataclass(frozen=True)
class PreparedArm:
    """An arm whose data nodes ran.

    Attributes:
        config: Its configuration, with data.
        data: The archive as its folds read it.
        exams: Exams by name.
    """

    config: RunConfig
    data: FoldData
    exams: Mapping[str, KnownExam]


@dataclass(frozen=True)
class FinishedSeed:
    """All folds of an arm with one seed.

    Attributes:
        rows: Predictions of each exam by the networks that never saw its patient.
        table: File of these predictions.
        summaries: Summary of the training of each fold.
    """

    rows: tuple[ViewPrediction, ...]
    table: Path
    summaries: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class RepeatRun:
    """The state of an experiment after a seed of an arm.

    Attributes:
        plan: What is repeated.
        arms: Arms by name.
        folds: The folds.
        finished: Finished seeds by arm and seed.
        phantoms: The phantoms that were made as data, if any.
        date: Date of the call, ISO 8601.
    """

    plan: RepeatPlan
    arms: Mapping[str, PreparedArm]
    folds: tuple[Fold, ...]
    finished: Mapping[tuple[str, int], FinishedSeed]
    phantoms: PhantomDataConfig | None
    date: str

    @property
    def folder(self) -> Path:
        """Folder of its files."""
        return next(iter(self.arms.values())).config.output / "experiments"

    @property
    def is_complete(self) -> bool:
        """True if every arm has every seed."""
        return len(self.finished) == len(self.plan.arms) * len(self.plan.seeds)


def file_name(text: str) -> str:
    """Return a text with only letters, digits, dot, hyphen and underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:60]


def _archive(preprocessed: str, transform_output: str) -> tuple[FoldData, dict[str, KnownExam]]:
    """Read the exams of all splits, and the hash of their images."""
    exams: dict[str, KnownExam] = {}
    lines = []
    files: list[str] = []
    for split in _SPLITS:
        folder = split_folder(preprocessed, split)
        files += shards_of(folder)
        for view in read_views(folder):
            exams[view.exam_id] = KnownExam(cluster_of(view.patient_id, view.exam_id), view.density)
            image = hashlib.sha256(view.image).hexdigest()
            lines.append(f"{view.exam_id} {view.patient_id} {view.view} {view.density} {image}")
    # The shuffling of a training depends on the order of the records, so the lines are not sorted.
    return FoldData(tuple(files), transform_output, hashlib.sha256("\n".join(lines).encode()).hexdigest()), exams


def _prepare(config: RunConfig, terminal: TextIO) -> PreparedArm:
    if config.pipeline.selection.drops_exams:
        raise ExperimentError("experiment repeat trains on all exams of a fold: leave pipeline.selection out.")
    if config.pipeline.tuner.enabled or config.pipeline.trainer.warm_start != "none":
        raise ExperimentError(
            "experiment repeat does not run Tuner or WarmStart, because they would see exams of other folds: leave"
            " pipeline.tuner.enabled and pipeline.trainer.warm_start out."
        )
    with watching(terminal) as observer:
        nodes = local_runner.run(local_runner.build(config, _LAST_NODE), config.output, observer)
    outputs = {result.node: result.outputs for result in nodes}
    examples = outputs["MammogramPreprocessor"]["preprocessed_examples"]
    return PreparedArm(config, *_archive(examples, outputs[_LAST_NODE]["transform_graph"]))


def _eval_share(config: RunConfig) -> float:
    """Return the share of the exams outside the test part that choose the epoch, as in the configuration's splits."""
    splits = config.pipeline.ingest.splits
    return splits.eval / (splits.train + splits.eval)


def _jobs(plan: RepeatPlan, name: str, arm: PreparedArm, seed: int, folds: Sequence[Fold]) -> Iterator[FoldJob]:
    config = arm.config.pipeline.trainer.model_copy(update={"seed": seed})
    folder = arm.config.output / "experiments" / NAME
    for fold in folds:
        ours = Fold(
            fold.number, *(tuple(e for e in part if e in arm.exams) for part in (fold.train, fold.eval, fold.test))
        )
        key = job_key(arm.data, config, ours)
        table = folder / f"{file_name(name)}-seed-{seed}-fold-{fold.number}-of-{plan.folds}-{key}.csv"
        yield FoldJob(arm.data, config, ours, table)


def _finish(jobs: Sequence[FoldJob | ModelJob], table: Path) -> FinishedSeed:
    """Join the predictions of the folds."""
    rows = [row for job in jobs for row in read_predictions(job.table).rows]
    rows.sort(key=lambda row: (row.exam_id, row.view))
    write_predictions(table, rows)
    summaries = [json.loads(job.summary.read_text(encoding="utf-8")) for job in jobs]
    return FinishedSeed(tuple(rows), table, tuple(summaries))


def _is_kept(job: FoldJob | ModelJob) -> bool:
    return job.table.is_file() and job.summary.is_file()


def _train(job: FoldJob, line: str, terminal: TextIO, log: Path) -> None:
    """Train one fold, unless its predictions are there."""
    if _is_kept(job):
        print(f"{line}: kept", file=terminal, flush=True)
        return
    print(f"{line}: {len(job.fold.train)} training exams", file=terminal, flush=True)
    run_apart(job, log)
    seconds = json.loads(job.summary.read_text(encoding="utf-8"))["seconds"]
    print(f"{line}: {duration(seconds)}", file=terminal, flush=True)


def _fit(
    arm: PreparedArm, plan: RepeatPlan, folds: Sequence[Fold], seed: int, terminal: TextIO, log: Path
) -> list[ModelJob]:
    """Fit the texture model to each fold with every seed that is not there yet; return the jobs of one seed."""
    folder = arm.config.output / "experiments" / NAME

    def job(fold: Fold, number: int) -> ModelJob:
        config = TextureConfig(seed=number)
        key = model_key(arm.data, fold, config)
        name = f"{TEXTURE}-seed-{number}-fold-{fold.number}-of-{plan.folds}-{key}.csv"
        return ModelJob(fold, config, folder / name)

    missing = [one for number in plan.seeds for one in (job(fold, number) for fold in folds) if not _is_kept(one)]
    line = f"{NAME}: {TEXTURE}, {len(plan.seeds) * len(folds)} fits"
    print(f"{line}: {f'{len(missing)} to do' if missing else 'kept'}", file=terminal, flush=True)
    if missing:
        run_models_apart(arm.data, missing, log)
    return [job(fold, seed) for fold in folds]


def repeat(plan: RepeatPlan, terminal: TextIO, log: Path, report: Callable[[RepeatRun], None]) -> RepeatRun:
    """Run what is not there yet, and report after each finished seed of an arm.

    Args:
        plan: What to repeat.
        terminal: Shows the progress.
        log: File for the output of the trainings.
        report: Called with the state after each finished seed.

    Returns:
        The final state.

    Raises:
        NodeError: A data node failed.
        ConfigError: An arm is not a configuration.
        ExperimentError: An arm has a part that cannot be repeated.
        FoldError: The exams cannot be divided into the folds.
    """
    date = datetime.date.today().isoformat()
    arms: dict[str, PreparedArm] = {}
    values, phantoms = dict(plan.values), None
    if plan.arms[0] == TEXTURE:
        raise ExperimentError(f"{TEXTURE} uses the pictures of the first arm: name a configuration before it.")
    for number, name in enumerate(plan.arms, start=1):
        if name == TEXTURE:
            arms[name] = arms[plan.arms[0]]
            continue
        print(f"{NAME}: data of arm {number} of {len(plan.arms)}, {name}", file=terminal, flush=True)
        base = plan.setting(name)
        setting = with_data(Setting(base.path, base.overrides, values), terminal)
        values, phantoms = dict(setting.values), phantoms or setting.phantoms
        arms[name] = _prepare(setting.config(), terminal)
    first = next(iter(arms.values())).config
    exams = {name: exam for arm in arms.values() for name, exam in arm.exams.items()}
    folds = make_folds(exams, plan.folds, _eval_share(first), first.pipeline.ingest.split_seed)
    finished: dict[tuple[str, int], FinishedSeed] = {}
    state = RepeatRun(plan, arms, folds, finished, phantoms, date)
    for seed in plan.seeds:
        for name, arm in arms.items():
            jobs: Sequence[FoldJob | ModelJob]
            if name == TEXTURE:
                jobs = _fit(arm, plan, folds, seed, terminal, log)
            else:
                trainings = list(_jobs(plan, name, arm, seed, folds))
                for job in trainings:
                    _train(job, f"{NAME}: {name}, seed {seed}, fold {job.fold.number} of {plan.folds}", terminal, log)
                jobs = trainings
            table = state.folder / NAME / f"{file_name(name)}-seed-{seed}.csv"
            finished[name, seed] = _finish(jobs, table)
            report(state)
    return state
