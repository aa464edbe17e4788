"""Two real worker processes over gRPC compared with one, and the resumption of a killed run."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tensorflow as tf

from components.trainer.checkpoint import TrainingProgress
from components.trainer.config import AugmentationConfig, NetworkConfig, TrainConfig
from components.trainer.job import Job, run_job
from components.transform.config import ImageConfig
from tests.components.trainer.worker_process import work
from tests.waiting import LONG, wait_until

if TYPE_CHECKING:
    from tests.components.conftest import SmallDataSet

# Without dropout, whose masks each replica draws for its own rows.
CONFIG = TrainConfig(
    image=ImageConfig(size=64),
    network=NetworkConfig(width=0.0625, blocks=1, dropout=0.0, batch_norm_momentum=0.8),
    # Flat background has channels without variance, whose gradient is little but rounding: even one replica differs
    # by a percent when its batch normalisation is computed as that of several is.
    augmentation=AugmentationConfig(fill="nearest"),
    sides="mirrored",
    learning_rate=0.001,
    schedule="cosine",
    batch_size=4,
    epochs=4,
)


def job(data: Any, folder: Path, **changes: Any) -> Job:
    """Return the training of CC, evaluated on its own training images."""
    return Job(
        network="CC",
        config=CONFIG.model_copy(update=changes),
        train_files=data.files,
        eval_files=data.files,
        transform_output=data.transform_folder,
        model_dir=str(folder / "model" / "1" / "Format-Serving"),
        run_dir=str(folder / "model_run" / "1"),
    )


def epochs_of(trained: Job) -> list[dict[str, float]]:
    return json.loads(Path(trained.model_dir, "history.json").read_text())["epochs"]


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextmanager
def cluster(trained: Job, folder: Path) -> Iterator[list[BaseProcess]]:
    """Start two workers, and end them with the block."""
    processes = get_context("forkserver")
    processes.set_forkserver_preload([work.__module__])  # TensorFlow is imported once
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    workers: list[BaseProcess] = []
    for index in range(2):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        log = str(folder / f"worker_{index}.log")
        workers.append(processes.Process(target=work, args=(trained, task, log)))
        workers[-1].start()
    try:
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.join()


def wait_for(condition: Callable[[], bool], workers: list[BaseProcess]) -> None:
    def sound() -> None:
        assert all(worker.exitcode in (None, 0) for worker in workers), "a worker failed; see its log"

    wait_until(condition, sound, LONG)


def checkpointed_epochs(folder: Path) -> list[dict[str, float]]:
    [path] = {tf.train.latest_checkpoint(str(found.parent)) for found in folder.rglob("checkpoint")}
    reader = tf.train.load_checkpoint(path)
    [name] = [name for name in reader.get_variable_to_shape_map() if name.startswith("progress/")]
    progress = TrainingProgress()
    progress.deserialize(reader.get_tensor(name))
    return [epoch.to_dict() for epoch in progress.epochs]


@pytest.mark.slow
def test_two_workers_train_as_one_and_a_killed_run_goes_on(small_data_set: SmallDataSet, tmp_path: Path) -> None:
    alone = job(small_data_set, tmp_path / "alone")
    run_job(alone)
    assert not list(tmp_path.rglob(".checkpoints")), "a finished training leaves no checkpoint"

    shared = job(small_data_set, tmp_path / "shared", strategy="multi_worker")
    with cluster(shared, tmp_path) as workers:
        wait_for(lambda: bool(list(tmp_path.rglob("epoch-2.index"))), workers)
        for worker in workers:
            worker.kill()
    before = checkpointed_epochs(tmp_path / "shared")
    assert 1 <= len(before) < CONFIG.epochs  # it is killed while it marks the second epoch as finished, or just after
    assert not Path(shared.model_dir).exists()

    # TFX gives the next execution other folders.
    resumed = replace(
        shared,
        model_dir=shared.model_dir.replace("/1/", "/2/"),
        run_dir=shared.run_dir.replace("/1", "/2"),
    )
    with cluster(resumed, tmp_path) as workers:
        wait_for(lambda: all(worker.exitcode == 0 for worker in workers), workers)
    after = epochs_of(resumed)
    assert after[: len(before)] == before, "to the second: they were not trained again"
    assert not list(tmp_path.rglob(".checkpoints"))

    for ours, theirs in zip(after, epochs_of(alone), strict=True):
        assert ours["learning_rate"] == theirs["learning_rate"]
        for name in ("loss", "val_loss"):
            assert ours[name] == pytest.approx(theirs[name], rel=2e-3), (name, ours["epoch"])
    logs = [path for path in Path(resumed.run_dir).iterdir() if "tfevents" in path.name]
    assert len(logs) == 1, "the chief alone writes"
