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

from components.common.shards import write_shard
from components.evaluator.predictions import ViewPrediction, read_predictions
from pipeline.experiments import repeat
from pipeline.experiments.fold_models import GREY, TEXTURE, ModelJob, run_models
from pipeline.experiments.fold_training import FoldData, FoldJob
from pipeline.experiments.folds import make_folds
from pipeline.experiments.prediction_table import write_predictions
from pipeline.experiments.repeat import PreparedArm, RepeatPlan, RepeatRun
from pipeline.experiments.repeat_report import repeat_document
from pipeline.experiments.repeat_result import result_of
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
    exams = {exam: repeat.KnownExam(f"patient of {exam}", "ABCD"[int(exam[4:]) % 4]) for exam in EXAMS}
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
