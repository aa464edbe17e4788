"""Whole Beam pipelines stage by stage, on an engine in this process that repeats, reorders and loses tasks."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that, equal_to
from apache_beam.transforms import window

from pipeline.beam.staged.stage_files import Block, StageFileError, StageFiles
from pipeline.beam.staged.stage_tasks import Reading, StageTask, TaskReport, part_of, run_stage_task
from pipeline.beam.staged.staged_runner import Execute, LostElementsError, StagedRunner

pytestmark = pytest.mark.slow

Engine = Callable[[StageTask, Sequence[Reading]], list[TaskReport]]


def once(task: StageTask, readings: Sequence[Reading]) -> list[TaskReport]:
    return [run_stage_task(task, number, reading) for number, reading in enumerate(readings)]


class Runner(StagedRunner):
    """Runs on an engine."""

    def __init__(self, engine: Engine, scratch: Path):
        super().__init__()
        self._engine, self._scratch = engine, scratch

    def engine(self, options: PipelineOptions) -> tuple[Execute, int, str]:
        return self._engine, 3, str(self._scratch)


class Repeating:
    """Executes tasks in any order, and some of them twice, as a cluster does that loses workers: either answer counts.

    Beam draws random keys in each attempt anew.
    """

    def __init__(self, seed: int):
        self._random = random.Random(seed)

    def __call__(self, task: StageTask, readings: Sequence[Reading]) -> list[TaskReport]:
        reports = []
        for number, reading in self._random.sample([*enumerate(readings)], len(readings)):
            attempts = [run_stage_task(task, number, reading)]
            if self._random.random() < 0.5:
                attempts.append(run_stage_task(task, number, reading))
            reports.append(self._random.choice(attempts))
        return reports


def lay_out(pipeline: beam.Pipeline, folder: Path) -> None:
    """Everything that draws keys or cuts batches, and an output file."""
    numbers = pipeline | beam.Create(range(100))
    total = numbers | beam.CombineGlobally(sum).with_fanout(4)
    sums = (
        numbers
        | beam.Reshuffle()
        | beam.BatchElements(min_batch_size=2, max_batch_size=9)
        | beam.FlatMap(lambda batch: batch)
        | "Key" >> beam.Map(lambda x: (x % 7, x))
        | beam.CombinePerKey(sum).with_hot_key_fanout(5)
        | beam.Map(lambda pair, total: (*pair, total), beam.pvalue.AsSingleton(total))
    )
    assert_that(sums, equal_to([(k, sum(range(k, 100, 7)), 4950) for k in range(7)]), "Sums")
    nothing = numbers | beam.Filter(lambda x: x < 0)
    lists = (nothing, numbers) | beam.Flatten() | "By ten" >> beam.GroupBy(lambda x: x % 10)
    assert_that(lists | beam.Map(lambda pair: len(list(pair[1]))), equal_to([10] * 10), "Lists")
    lines = lists | "Lines" >> beam.MapTuple(lambda _, xs: ",".join(map(str, xs)))
    _ = lines | beam.io.WriteToText(str(folder / "o"))


def written(folder: Path) -> str:
    return "".join(path.read_text() for path in sorted(folder.glob("o*")))


@pytest.mark.parametrize("seed", range(2))
def test_repeated_tasks_lose_nothing_and_give_nothing_twice(seed: int, tmp_path: Path) -> None:
    with beam.Pipeline(runner=Runner(Repeating(seed), tmp_path / "scratch")) as pipeline:
        lay_out(pipeline, tmp_path)
    assert sorted(map(int, written(tmp_path).replace("\n", ",").strip(",").split(","))) == list(range(100))
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    "fault",
    [
        lambda reports: reports[1:],
        lambda reports: [*reports, reports[0]],
        lambda reports: [replace(report, read=report.read - 1) for report in reports],
    ],
    ids=["lost", "twice", "half read"],
)
def test_an_engine_that_loses_a_report_is_an_error(
    fault: Callable[[list[TaskReport]], list[TaskReport]], tmp_path: Path
) -> None:
    pipeline = beam.Pipeline(runner=Runner(lambda *given: fault(once(*given)), tmp_path))
    _ = pipeline | beam.Create([1, 2])
    with pytest.raises(LostElementsError, match=r"1 tasks were given .* run again"):
        pipeline.run()
    assert list(tmp_path.iterdir()) == []


def test_blocks_are_encrypted_and_what_was_changed_is_not_read(tmp_path: Path) -> None:
    files = StageFiles.fresh(str(tmp_path))
    first, second = files.write([Block(b"a", 0, b"DOE^JANE"), Block(b"b", 3, b"ROE^JOHN"), Block(b"c", 0, b"")])
    path = Path(first.file)
    stored = path.read_bytes()
    assert b"DOE" not in stored
    assert (files.read(first), files.read(second)) == (b"DOE^JANE", b"ROE^JOHN")
    exchanged = stored[first.stored :] + stored[: first.stored]
    for changed in (stored[:-1], stored[:20] + bytes([stored[20] ^ 1]) + stored[21:], exchanged):
        path.write_bytes(changed)
        with pytest.raises(StageFileError, match="must be the same on the driver and all workers"):
            [files.read(piece) for piece in (first, second)]
    path.unlink()
    with pytest.raises(StageFileError, match="FileNotFoundError"):
        files.read(first)


def test_a_file_is_there_only_if_something_is_in_it(tmp_path: Path) -> None:
    files = StageFiles.fresh(str(tmp_path))
    assert files.write([Block(b"a", 0, b"")]) == ()
    assert list(Path(files.folder).iterdir()) == []
    for _ in range(2):  # the second time there is nothing to remove
        files.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_key_has_the_same_part_in_every_process() -> None:
    assert [part_of(key, 1000) for key in (b"key", b"", b"\xff" * 40)] == [937, 0, 299]


class OwnCoder(beam.coders.PickleCoder):
    """A coder that Beam's runners do not know."""

    def is_deterministic(self) -> bool:
        return True


class OneWindow(window.NonMergingWindowFn):
    """A window function of one's own, with windows of a kind that Beam's runners do not know."""

    def assign(self, assign_context: window.WindowFn.AssignContext) -> list[window.BoundedWindow]:
        return [window.IntervalWindow(0, 1)]

    def get_window_coder(self) -> beam.coders.Coder:
        return OwnCoder()


def test_windows_that_cannot_be_grouped_are_refused(tmp_path: Path) -> None:
    pipeline = beam.Pipeline(runner=Runner(once, tmp_path))
    _ = pipeline | beam.Create([("a", 1)]) | beam.WindowInto(OneWindow()) | beam.GroupByKey()
    with pytest.raises(NotImplementedError, match="this runner cannot group by a custom window function"):
        pipeline.run()
    assert list(tmp_path.iterdir()) == []
