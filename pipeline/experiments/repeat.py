"""``experiment repeat``: cross-validation of configurations, by patient, with several seeds.

The nodes up to Transform run once per arm and are cached. Every fold, arm and seed is one training; its predictions are
kept under a name that holds a hash of all that decides them, so a stopped experiment continues where it was, and arms
of equal trainings share them. Folds are the same for all arms and seeds, so that differences are paired. All arms
finish a fold before the next one, and all folds before the next seed, so that a stopped experiment compares.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TextIO

from components.common.shards import read_shard, shards_of, split_folder, write_shard
from components.common.soft_labels import with_shares
from components.common.views import read_views
from components.evaluator.predictions import ViewPrediction, read_predictions
from components.statistics.scores import cluster_of
from pipeline.config import PhantomDataConfig, RunConfig, find_config
from pipeline.console import duration, watching
from pipeline.experiments.fold_models import MODELS, TEXTURE, ModelJob, model_key, run_models_apart
from pipeline.experiments.fold_training import FoldData, FoldJob, job_key, run_apart
from pipeline.experiments.folds import Fold, KnownExam, make_folds
from pipeline.experiments.prediction_table import write_predictions
from pipeline.experiments.run import ExperimentError, Setting, with_data
from pipeline.local import runner as local_runner

NAME: Final = "repeat"
_LAST_NODE: Final = "Transform"
_LONGEST_NAME: Final = 60
_SPLITS: Final = ("train", "eval", "test")


@dataclass(frozen=True)
class RepeatPlan:
    """What to repeat.

    Attributes:
        arms: ``CONFIG`` or ``CONFIG+KEY=VALUE+...``; the first one is what the others are compared with. ``texture`` is
            the texture model and ``grey`` the regression on grey statistics, fitted to the pictures of the first
            configuration, so there is at least one.
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
    """The finished folds of an arm with one seed.

    Attributes:
        rows: Predictions of each exam by the networks that never saw its patient.
        table: File of these predictions; None while folds are missing.
        summaries: Summary of the training of each finished fold.
    """

    rows: tuple[ViewPrediction, ...]
    table: Path | None
    summaries: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class RepeatRun:
    """The state of an experiment after a fold of all arms.

    Attributes:
        plan: What is repeated.
        arms: Arms by name.
        divisions: The folds of each arm. Their test parts are the same for all arms; how many of the other exams choose
            the epoch is as in the splits of the arm.
        finished: What is finished, by arm and seed.
        phantoms: The phantoms that were made as data, if any.
        date: Date of the call, ISO 8601.
    """

    plan: RepeatPlan
    arms: Mapping[str, PreparedArm]
    divisions: Mapping[str, tuple[Fold, ...]]
    finished: Mapping[tuple[str, int], FinishedSeed]
    phantoms: PhantomDataConfig | None
    date: str

    @property
    def folder(self) -> Path:
        """Folder of its files."""
        return next(iter(self.arms.values())).config.output / "experiments"

    @property
    def folds(self) -> tuple[Fold, ...]:
        """The folds of the first arm."""
        return next(iter(self.divisions.values()))

    def finished_folds(self, arm: str, seed: int) -> int:
        """Return how many folds of an arm are finished with a seed."""
        found = self.finished.get((arm, seed))
        return len(found.summaries) if found else 0

    @property
    def whole_seeds(self) -> tuple[int, ...]:
        """The seeds with which every arm has finished every fold."""
        return tuple(
            seed
            for seed in self.plan.seeds
            if all(self.finished_folds(name, seed) == len(self.folds) for name in self.arms)
        )

    @property
    def is_complete(self) -> bool:
        """True if every arm has every seed."""
        return self.whole_seeds == self.plan.seeds


def file_name(text: str) -> str:
    """Return a text with only letters, digits, dot, hyphen and underscore; a long one ends with its hash."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", text)
    return (
        name
        if len(name) <= _LONGEST_NAME
        else f"{name[:_LONGEST_NAME]}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
    )


def _with_soft_labels(preprocessed: str, folder: Path) -> str:
    """Copy examples with the readers' shares; return the folder of the copy. Equal examples give equal copies."""
    for split in _SPLITS:
        for shard in shards_of(split_folder(preprocessed, split)):
            copy = Path(split_folder(str(folder), split)) / Path(shard).name
            write_shard(str(copy), map(with_shares, read_shard(shard)))
    return str(folder)


def _archive(preprocessed: str, transform_output: str) -> tuple[FoldData, dict[str, KnownExam]]:
    """Read the exams of all splits, and the hash of their images."""
    exams: dict[str, KnownExam] = {}
    lines = []
    files: list[str] = []
    for split in _SPLITS:
        folder = split_folder(preprocessed, split)
        files += shards_of(folder)
        for view in read_views(folder):
            exams[view.exam_id] = KnownExam(cluster_of(view.patient_id, view.exam_id), view.density, view.is_agreed)
            image = hashlib.sha256(view.image).hexdigest()
            soft = f" {view.shares}" if view.shares else ""
            lines.append(f"{view.exam_id} {view.patient_id} {view.view} {view.density} {image}{soft}")
    # The shuffling of a training depends on the order of the records, which the splits decide.
    ordered, pictures = ("\n".join(found).encode() for found in (lines, sorted(lines)))
    fingerprints = hashlib.sha256(ordered).hexdigest(), hashlib.sha256(pictures).hexdigest()
    return FoldData(tuple(files), transform_output, *fingerprints), exams


def _require_readers(examples: str, labels: str) -> None:
    """Raise ExperimentError unless an exam has several readers: without them, labels are those of ``majority``."""
    if not any(view.readings for split in _SPLITS for view in read_views(split_folder(examples, split))):
        raise ExperimentError(
            f"pipeline.selection.labels is {labels}, but no exam has several readers: name them in the labels"
            " (docs/archives.md), or leave it out."
        )


def _prepare(config: RunConfig, terminal: TextIO) -> PreparedArm:
    if config.pipeline.selection.drops_exams:
        raise ExperimentError(
            "experiment repeat trains on all exams of a fold: leave pipeline.selection out, but for labels."
        )
    if config.pipeline.tuner.enabled or config.pipeline.trainer.warm_start != "none":
        raise ExperimentError(
            "experiment repeat does not run Tuner or WarmStart, because they would see exams of other folds: leave"
            " pipeline.tuner.enabled and pipeline.trainer.warm_start out."
        )
    with watching(terminal) as observer:
        nodes = local_runner.run(local_runner.build(config, _LAST_NODE), config.output, observer)
    outputs = {result.node: result.outputs for result in nodes}
    examples = outputs["MammogramPreprocessor"]["preprocessed_examples"]
    labels = config.pipeline.selection.labels
    if labels != "majority":
        _require_readers(examples, labels)
    if labels == "soft":
        digest = hashlib.sha256(examples.encode()).hexdigest()[:12]
        examples = _with_soft_labels(examples, config.output / "experiments" / NAME / f"soft-labels-{digest}")
    return PreparedArm(config, *_archive(examples, outputs[_LAST_NODE]["transform_graph"]))


def _eval_share(config: RunConfig) -> float:
    """Return the share of the exams outside the test part that choose the epoch, as in the configuration's splits."""
    splits = config.pipeline.ingest.splits
    return splits.eval / (splits.train + splits.eval)


def _exams_of(arm: PreparedArm, fold: Fold) -> Fold:
    """Return a fold without the exams that an arm does not have, or does not learn from because readers differ."""
    agreed = arm.config.pipeline.selection.labels == "consensus"
    train, choose = (
        tuple(exam for exam in part if exam in arm.exams and (arm.exams[exam].is_agreed or not agreed))
        for part in (fold.train, fold.eval)
    )
    return Fold(fold.number, train, choose, tuple(exam for exam in fold.test if exam in arm.exams))


def _job(plan: RepeatPlan, arm: PreparedArm, seed: int, fold: Fold) -> FoldJob:
    config = arm.config.pipeline.trainer.model_copy(update={"seed": seed})
    ours = _exams_of(arm, fold)
    # Without the name of the arm: arms that differ in other things only share the training.
    name = f"networks-seed-{seed}-fold-{fold.number}-of-{plan.folds}-{job_key(arm.data, config, ours)}.csv"
    return FoldJob(arm.data, config, ours, arm.config.output / "experiments" / NAME / name)


def _model_job(plan: RepeatPlan, name: str, arm: PreparedArm, seed: int, fold: Fold) -> ModelJob:
    config = arm.config.pipeline.ensemble.texture.model_copy(update={"seed": seed}) if name == TEXTURE else None
    fold = _exams_of(arm, fold)
    key = model_key(arm.data, fold, config)
    seeded = f"{name}-seed-{seed}" if config else name
    table = f"{seeded}-fold-{fold.number}-of-{plan.folds}-{key}.csv"
    return ModelJob(fold, config, arm.config.output / "experiments" / NAME / table)


def _finish(jobs: Sequence[FoldJob | ModelJob], table: Path | None) -> FinishedSeed:
    """Join the predictions of folds; write them if there is a table to write."""
    rows = [row for job in jobs for row in read_predictions(job.table).rows]
    rows.sort(key=lambda row: (row.exam_id, row.view))
    if table:
        write_predictions(table, rows)
    summaries = [json.loads(job.summary.read_text(encoding="utf-8")) for job in jobs]
    return FinishedSeed(tuple(rows), table, tuple(summaries))


def _is_kept(job: FoldJob | ModelJob) -> bool:
    return job.table.is_file() and job.summary.is_file()


def _train(job: FoldJob, line: str, terminal: TextIO, log: Path) -> bool:
    """Train one fold, unless its predictions are there; return whether it was trained."""
    if _is_kept(job):
        print(f"{line}: kept", file=terminal, flush=True)
        return False
    print(f"{line}: {len(job.fold.train)} training exams", file=terminal, flush=True)
    run_apart(job, log)
    seconds = json.loads(job.summary.read_text(encoding="utf-8"))["seconds"]
    print(f"{line}: {duration(seconds)}", file=terminal, flush=True)
    return True


def _fit(name: str, arm: PreparedArm, plan: RepeatPlan, folds: Sequence[Fold], terminal: TextIO, log: Path) -> None:
    """Fit a model that is no network to each fold with every seed that is not there yet."""
    jobs = {job.table: job for job in (_model_job(plan, name, arm, seed, f) for seed in plan.seeds for f in folds)}
    missing = [job for job in jobs.values() if not _is_kept(job)]
    print(
        f"{NAME}: {name}, {len(jobs)} fits: {f'{len(missing)} to do' if missing else 'kept'}", file=terminal, flush=True
    )
    if missing:
        run_models_apart(arm.data, missing, log)


def _prepare_arms(plan: RepeatPlan, terminal: TextIO) -> tuple[dict[str, PreparedArm], PhantomDataConfig | None]:
    """Run the data nodes of each configuration; return the arms in their order, and the phantoms made as data."""
    configurations = [name for name in plan.arms if name not in MODELS]
    prepared: dict[str, PreparedArm] = {}
    values, phantoms = dict(plan.values), None
    for number, name in enumerate(configurations, start=1):
        print(f"{NAME}: data of arm {number} of {len(configurations)}, {name}", file=terminal, flush=True)
        base = plan.setting(name)
        setting = with_data(Setting(base.path, base.overrides, values), terminal)
        values, phantoms = dict(setting.values), phantoms or setting.phantoms
        prepared[name] = _prepare(setting.config(), terminal)
    first = prepared[configurations[0]]
    mixed = {name: arm for name, arm in prepared.items() if arm.config.pipeline.ensemble.mixed}
    for name, arm in mixed.items():
        same = arm.config.pipeline.ensemble.texture == first.config.pipeline.ensemble.texture
        labels = arm.config.pipeline.selection.labels == first.config.pipeline.selection.labels
        if not (same and labels) or arm.data.pictures != first.data.pictures:
            raise ExperimentError(
                f"All arms share the texture model of {configurations[0]}: give {name} the same pictures and labels and"
                " the same pipeline.ensemble.texture, or compare it in an experiment of its own."
            )
    names = (*plan.arms, TEXTURE) if mixed and TEXTURE not in plan.arms else plan.arms
    measured = next(iter(mixed.values()), first)  # the texture model learns from the exams that its networks learn from
    return {name: prepared.get(name, measured) for name in names}, phantoms


def repeat(plan: RepeatPlan, terminal: TextIO, log: Path, report: Callable[[RepeatRun], None]) -> RepeatRun:
    """Run what is not there yet, and report after each new fold of all arms.

    Args:
        plan: What to repeat.
        terminal: Shows the progress.
        log: File for the output of the trainings.
        report: Called with the state after each fold that is new, and at the end.

    Returns:
        The final state.

    Raises:
        NodeError: A data node failed.
        ConfigError: An arm is not a configuration.
        ExperimentError: An arm has a part that cannot be repeated.
        FoldError: The exams cannot be divided into the folds.
        ValueError: A model cannot be fitted to a fold.
    """
    arms, phantoms = _prepare_arms(plan, terminal)
    first = next(iter(arms.values())).config
    exams = {name: exam for arm in arms.values() for name, exam in arm.exams.items()}
    seed = first.pipeline.ingest.split_seed
    divisions = {name: make_folds(exams, plan.folds, _eval_share(arm.config), seed) for name, arm in arms.items()}
    state = RepeatRun(plan, arms, divisions, {}, phantoms, datetime.date.today().isoformat())
    return run_folds(state, terminal, log, report)


def run_folds(begun: RepeatRun, terminal: TextIO, log: Path, report: Callable[[RepeatRun], None]) -> RepeatRun:
    """Run the folds of prepared arms that are not there yet.

    Args:
        begun: The state before the first fold.
        terminal: Shows the progress.
        log: File for the output of the trainings.
        report: Called with the state after each fold that is new, and at the end.

    Returns:
        The final state.

    Raises:
        ValueError: A model cannot be fitted to a fold.
    """
    finished: dict[tuple[str, int], FinishedSeed] = {}
    state = replace(begun, finished=finished)
    plan, arms = state.plan, state.arms
    for name in arms:
        if name in MODELS:
            _fit(name, arms[name], plan, state.divisions[name], terminal, log)
    is_new = False
    for seed in plan.seeds:
        for number in range(1, plan.folds + 1):
            is_new = False
            for name, arm in arms.items():
                folds = state.divisions[name]
                jobs: list[FoldJob | ModelJob]
                if name in MODELS:
                    jobs = [_model_job(plan, name, arm, seed, one) for one in folds[:number]]
                else:
                    trainings = [_job(plan, arm, seed, one) for one in folds[:number]]
                    line = f"{NAME}: {name}, seed {seed}, fold {number} of {plan.folds}"
                    is_new = _train(trainings[-1], line, terminal, log) or is_new
                    jobs = [*trainings]
                table = state.folder / NAME / f"{file_name(name)}-seed-{seed}.csv" if number == plan.folds else None
                finished[name, seed] = _finish(jobs, table)
            if is_new:
                report(state)
    if not is_new:
        report(state)
    return state
