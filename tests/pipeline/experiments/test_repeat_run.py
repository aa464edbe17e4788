"""The order of an experiment's trainings, what a stopped one keeps, and what arms share.

The networks are stand-ins, which draw their predictions from seed and fold; all else is real.
"""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from components.common.shards import read_shard, write_shard
from components.common.views import read_views
from components.evaluator.predictions import ViewPrediction, read_predictions
from pipeline.experiments import repeat
from pipeline.experiments.fold_models import GREY, TEXTURE, ModelJob, run_models
from pipeline.experiments.fold_training import FoldData, FoldJob
from pipeline.experiments.folds import KnownExam, make_folds
from pipeline.experiments.prediction_table import write_predictions
from pipeline.experiments.repeat import PreparedArm, RepeatPlan, RepeatRun
from pipeline.experiments.repeat_report import repeat_document
from pipeline.experiments.repeat_result import result_of
from pipeline.experiments.run import ExperimentError
from schema import features as f
from schema.features import ACQUISITION_SYSTEM, VIEWS
from tests.pipeline.experiments.test_fold_training import grey_record

pytestmark = pytest.mark.slow

EXAMS = tuple(f"exam{number:02d}" for number in range(48))
QUICK = "small+pipeline.ensemble.texture.trees=5+pipeline.ensemble.texture.side=64"
MIXED = f"{QUICK}+pipeline.ensemble.mixed=true"
ONE = f"{QUICK}+pipeline.trainer.sides=one"
SEPARATE = "separate"


class Trainings:
    """Stand-ins for the trainings: the file of each, in their order."""

    def __init__(self, most: int) -> None:
        self.made: list[tuple[str, int, int]] = []
        self.most = most

    def run(self, job: FoldJob, log: Path) -> None:
        del log
        if len(self.made) == self.most:
            raise KeyboardInterrupt
        self.made.append((job.config.sides, job.config.seed, job.fold.number))
        random = np.random.default_rng([job.config.seed, job.fold.number])
        rows = []
        for exam in job.fold.test:
            for view in VIEWS:
                label = int(exam[4:]) % 4
                grades = np.exp(random.normal(size=4) + np.eye(4)[label])
                system = {ACQUISITION_SYSTEM: "film"}
                probabilities = tuple((grades / grades.sum()).tolist())
                rows.append(ViewPrediction(exam, f"patient of {exam}", view, "ABCD"[label], probabilities, system))
        summary = {"networks": {"ALL": {"best_epoch": 1, "epochs": 1}}, "seconds": 1.0}
        job.table.parent.mkdir(parents=True, exist_ok=True)
        job.summary.write_text(json.dumps(summary))
        write_predictions(job.table, rows)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> FoldData:
    file = str(tmp_path_factory.mktemp("archive") / "views.gz")
    write_shard(file, [grey_record(exam, view) for exam in EXAMS for view in VIEWS])
    return FoldData((file,), "", "hash", "hash")


def run(
    arms: tuple[str, ...], archive: FoldData, output: Path, trainings: Trainings, monkeypatch: pytest.MonkeyPatch
) -> list[RepeatRun]:
    """Run the folds; return the reported states."""
    plan = RepeatPlan(arms, 2, (1, 2), (), {"output": str(output)})
    exams = {exam: KnownExam(f"patient of {exam}", "ABCD"[int(exam[4:]) % 4]) for exam in EXAMS}
    first = next(arm for arm in arms if arm not in (TEXTURE, GREY))
    prepared = {
        name: PreparedArm(plan.setting(name if name not in (TEXTURE, GREY) else first).config(), archive, exams)
        for name in arms
    }
    state = RepeatRun(plan, prepared, dict.fromkeys(prepared, make_folds(exams, 2, 0.1)), {}, None, "2026-11-30")
    monkeypatch.setattr(repeat, "run_apart", trainings.run)

    def models(data: FoldData, jobs: list[ModelJob], log: Path) -> None:
        run_models(data, jobs)

    monkeypatch.setattr(repeat, "run_models_apart", models)
    reported: list[RepeatRun] = []

    def keep(now: RepeatRun) -> None:
        reported.append(replace(now, finished=dict(now.finished)))

    try:
        repeat.run_folds(state, io.StringIO(), output / "log", keep)
    except KeyboardInterrupt:
        assert len(trainings.made) == trainings.most
    return reported


def test_a_stopped_experiment_compares_what_it_has_and_continues_where_it_was(
    archive: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = (QUICK, ONE, TEXTURE, GREY)
    stopped = Trainings(most=3)
    [only] = run(arms, archive, tmp_path, stopped, monkeypatch)
    assert stopped.made == [(SEPARATE, 1, 1), ("one", 1, 1), (SEPARATE, 1, 2)]
    result = result_of(only)
    assert sum(result.comparison.exams.values()) == 24, "the test exams of the first fold"
    assert {QUICK, ONE, TEXTURE, GREY, f"{ONE} and texture, averaged"} == set(result.comparison.arms) - {
        f"{QUICK} and texture, averaged"
    }
    rest = Trainings(most=5)
    reported = run(arms, archive, tmp_path, rest, monkeypatch)
    assert rest.made == [("one", 1, 2), (SEPARATE, 2, 1), ("one", 2, 1), (SEPARATE, 2, 2), ("one", 2, 2)]
    assert [state.whole_seeds for state in reported] == [(1,), (1,), (1, 2)]
    assert reported[-1].is_complete
    document = repeat_document(result_of(reported[-1]))
    assert document["complete"]
    joined = {row["arm"]: tmp_path / "experiments" / row["predictions"] for row in document["trainings"]}
    assert {row.exam_id for row in read_predictions(joined[GREY]).rows} == set(EXAMS)
    kept = Trainings(most=0)
    [again] = run(arms, archive, tmp_path, kept, monkeypatch)
    assert repeat_document(result_of(again)) == document


def test_arms_with_equal_trainings_share_them(
    archive: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainings = Trainings(most=4)
    reported = run((GREY, MIXED, QUICK, TEXTURE), archive, tmp_path, trainings, monkeypatch)
    assert trainings.made == [(SEPARATE, seed, fold) for seed in (1, 2) for fold in (1, 2)]
    found = result_of(reported[-1]).comparison
    assert next(iter(found.arms)) == GREY, "what the others are compared with"
    alone = [found.arms[name].by_seed["quadratic_kappa"] for name in (f"{MIXED}, networks only", QUICK)]
    mixed = [found.arms[name].by_seed["quadratic_kappa"] for name in (MIXED, f"{QUICK} and texture, averaged")]
    assert alone[0] == alone[1] != mixed[0]
    assert mixed[0] == mixed[1]


def test_consensus_leaves_exams_out_of_the_trainings_and_judges_them_all(
    archive: FoldData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exams = {exam: KnownExam(f"patient of {exam}", "ABCD"[int(exam[4:]) % 4]) for exam in EXAMS}
    differ = frozenset(EXAMS[::5])
    known = {name: replace(exam, is_agreed=name not in differ) for name, exam in exams.items()}
    consensus = f"{QUICK}+pipeline.selection.labels=consensus"
    plan = RepeatPlan((consensus, TEXTURE), 2, (1,), (), {"output": str(tmp_path)})
    arm = PreparedArm(plan.setting(consensus).config(), archive, known)
    folds = make_folds(known, 2, 0.1)
    assert folds == make_folds(exams, 2, 0.1), "the folds do not depend on the readers"
    prepared = {consensus: arm, TEXTURE: arm}
    jobs: list[FoldJob | ModelJob] = []
    trainings = Trainings(most=2)

    def train(job: FoldJob, log: Path) -> None:
        jobs.append(job)
        trainings.run(job, log)

    def fit(data: FoldData, found: list[ModelJob], log: Path) -> None:
        jobs.extend(found)
        run_models(data, found)

    monkeypatch.setattr(repeat, "run_apart", train)
    monkeypatch.setattr(repeat, "run_models_apart", fit)
    state = RepeatRun(plan, prepared, dict.fromkeys(prepared, folds), {}, None, "2026-11-30")
    repeat.run_folds(state, io.StringIO(), tmp_path / "log", lambda now: None)
    assert len(jobs) == 4
    for job in jobs:
        whole = folds[job.fold.number - 1]
        assert job.fold.train == tuple(exam for exam in whole.train if exam not in differ)
        assert job.fold.eval == tuple(exam for exam in whole.eval if exam not in differ)
        assert job.fold.test == whole.test
        assert differ & set(whole.train)
        assert {row.exam_id for row in read_predictions(job.table).rows} == set(whole.test)


def test_soft_labels_are_copied_beside_the_examples(archive: FoldData, tmp_path: Path) -> None:
    records = list(read_shard(archive.files[0]))
    example = tf.train.Example.FromString(records[0])
    example.features.feature[f.READERS].bytes_list.value[:] = [b"1", b"2"]
    example.features.feature[f.READINGS].bytes_list.value[:] = [b"A", b"B"]
    for split in ("train", "eval", "test"):
        write_shard(f"{tmp_path}/examples/Split-{split}/views.gz", [example.SerializeToString(), records[4]])
    plain = repeat._archive(f"{tmp_path}/examples", "transform")
    repeat._require_readers(f"{tmp_path}/examples", "soft")
    copied = repeat._with_soft_labels(f"{tmp_path}/examples", tmp_path / "soft")
    soft = repeat._archive(copied, "transform")
    views = [view for split in ("train", "eval", "test") for view in read_views(f"{copied}/Split-{split}")]
    assert [view.shares for view in views] == [(0.5, 0.5, 0.0, 0.0), ()] * 3
    assert soft[1] == plain[1]
    assert [exam.is_agreed for exam in soft[1].values()] == [False, True]
    assert soft[0].fingerprint != plain[0].fingerprint
    assert soft[0].pictures != plain[0].pictures, "models of soft labels are no models of the others"


@pytest.mark.parametrize("labels", ["soft", "consensus"])
def test_labels_of_readers_need_several_readers(archive: FoldData, tmp_path: Path, labels: str) -> None:
    for split in ("train", "eval", "test"):
        write_shard(f"{tmp_path}/Split-{split}/views.gz", read_shard(archive.files[0]))
    with pytest.raises(ExperimentError, match=f"labels is {labels}, but no exam has several readers: name them"):
        repeat._require_readers(str(tmp_path), labels)
