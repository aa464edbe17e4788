"""Trainings at once, by TFX's own launcher and ML Metadata; the trainings are stand-ins."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2
from tfx.orchestration import metadata
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.proto.orchestration import pipeline_pb2

from pipeline.console import NodeResult, watching
from pipeline.local import trainings
from pipeline.local.runner import NodeError, run
from pipeline.local.trainings import groups, trainings_at_once
from pipeline.metadata import open_store
from tests.pipeline.local.stand_in_trainings import stand_in
from tests.waiting import wait_until


def states_of(output: Path) -> dict[str, list[str]]:
    """The states of each node's executions."""
    store = open_store(output, {})
    assert store is not None
    found = {}
    for context in store.get_contexts_by_type("node"):
        executions = store.get_executions_by_context(context.id)
        states = [metadata_store_pb2.Execution.State.Name(one.last_known_state) for one in executions]
        found[context.name.removeprefix("breast_density.")] = states
    return found


def nodes_of(*names: str, upstream: dict[str, str] | None = None) -> list[pipeline_pb2.PipelineNode]:
    made = []
    for name in names:
        node = pipeline_pb2.PipelineNode()
        node.node_info.id = name
        node.upstream_nodes.extend((upstream or {}).get(name, "").split())
        made.append(node)
    return made


@pytest.mark.parametrize(
    ("most", "parts"),
    [
        (1, ["A", "Trainer.CC", "Trainer.MLO", "TextureModel", "B"]),
        (2, ["A", "Trainer.CC Trainer.MLO TextureModel", "B"]),
    ],
)
def test_trainings_beside_each_other_are_one_part(most: int, parts: list[str]) -> None:
    found = groups(nodes_of("A", "Trainer.CC", "Trainer.MLO", "TextureModel", "B"), most)
    assert [" ".join(node.node_info.id for node in part) for part in found] == parts


def test_a_training_that_needs_another_waits_for_it() -> None:
    found = groups(nodes_of("Trainer.CC", "Trainer.MLO", upstream={"Trainer.MLO": "Trainer.CC"}), 4)
    assert [len(part) for part in found] == [1, 1]


def test_cores_memory_and_other_machines_decide(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    file = tmp_path / "meminfo"
    monkeypatch.setattr(trainings, "_MEMORY_FILE", file)
    monkeypatch.setattr(trainings, "_CONTAINER", tmp_path)
    (tmp_path / "memory.current").write_text(f"{2**30}\n")
    for gibibytes, number in ((64, 8), (13, 3), (1, 1)):
        file.write_text(f"MemTotal: 99999999 kB\nMemAvailable: {gibibytes * 2**20} kB\n")
        assert trainings_at_once(0, {}) == number
    file.write_text(f"MemAvailable: {64 * 2**20} kB\n")
    for limit, number in (("max", 8), (str(10 * 2**30), 2)):
        (tmp_path / "memory.max").write_text(f"{limit}\n")
        assert trainings_at_once(0, {}) == number
    assert trainings_at_once(0, {"TF_CONFIG": "{}"}) == 1
    assert trainings_at_once(5, {"TF_CONFIG": "{}"}) == 5


def run_trainings(output: Path, does: tuple[str, ...], number: int) -> tuple[list[NodeResult], str]:
    met = output / "met"
    met.mkdir(parents=True, exist_ok=True)
    made = [stand_in(f"Trainer.{letter}", one, met) for letter, one in zip("AB", does, strict=True)]
    last = stand_in("Ensemble", "write", output, made[-1].outputs["model"])
    pipeline = tfx_pipeline.Pipeline(
        "breast_density",
        str(output / "artifacts"),
        components=[*made, last],
        metadata_connection_config=metadata.sqlite_metadata_connection_config(str(output / "metadata.sqlite")),
        enable_cache=True,
    )
    terminal = io.StringIO()
    with watching(terminal) as observer:
        return run(pipeline, output / "scratch", observer, number), terminal.getvalue()


def weights(results: list[NodeResult]) -> dict[str, str]:
    return {result.node: Path(result.outputs["model"], "weights").read_text() for result in results}


def test_two_trainings_work_at_once_and_leave_what_one_after_the_other_leave(
    tmp_path: Path,
) -> None:
    together, shown = run_trainings(tmp_path / "together", ("meet", "meet"), 2)
    apart, _ = run_trainings(tmp_path / "apart", ("write", "write"), 1)

    assert weights(together) == weights(apart)
    processes = {(tmp_path / "together" / "met" / f"Trainer.{letter}").read_text() for letter in "AB"}
    assert len(processes | {str(os.getpid())}) == 3
    assert {(tmp_path / "apart" / "met" / f"Trainer.{letter}").read_text() for letter in "AB"} == {str(os.getpid())}
    assert [result.node for result in together] == ["Trainer.A", "Trainer.B", "Ensemble"]
    for output in ("together", "apart"):
        states = states_of(tmp_path / output)
        assert states == {name: ["COMPLETE"] for name in ("Trainer.A", "Trainer.B", "Ensemble")}
    assert sum("2 epochs  (loss 0.5)" in line for line in shown.splitlines()) == 3

    again, shown = run_trainings(tmp_path / "together", ("meet", "meet"), 2)
    assert all(result.cached for result in again)
    assert weights(again) == weights(together)


@pytest.mark.parametrize(
    ("does", "says"),
    [
        ("fail", "Node Trainer.A failed: No loss: the images are blank"),
        ("die", "Node Trainer.A failed: Its process was killed, probably because memory ran out: set runner.trainings"),
    ],
)
def test_a_training_that_fails_is_one_sentence_and_the_other_one_is_kept(does: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(NodeError) as raised:
        run_trainings(tmp_path, (does, "write"), 2)
    assert str(raised.value).startswith(says)
    assert states_of(tmp_path) == {"Trainer.A": ["FAILED"], "Trainer.B": ["COMPLETE"]}

    resumed, _ = run_trainings(tmp_path, ("write", "write"), 2)
    assert {result.node: result.cached for result in resumed} == {
        "Trainer.A": False,
        "Trainer.B": True,
        "Ensemble": False,
    }


def test_a_training_ends_with_the_run_however_that_ends(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.pipeline.local.test_trainings import run_trainings;"
        "run_trainings(Path(sys.argv[1]), ('meet', 'die'), 2)"  # the first one waits for ever
    )
    project = Path(__file__).resolve().parents[3]
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=project) as running:
        try:
            file = tmp_path / "met" / "Trainer.A"
            training = int(wait_until(lambda: file.is_file() and file.read_text()))
            os.kill(training, 0)
        finally:
            running.kill()
    wait_until(lambda: not Path(f"/proc/{training}").exists())
