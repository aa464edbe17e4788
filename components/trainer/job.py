"""The training of one network, from files to files, without TFX."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from numpy.typing import NDArray

from components.common.progress import advance, expect
from components.common.shards import write_text
from components.trainer import HISTORY_FILE, NETWORK_FILE
from components.trainer.checkpoint import checkpoint_folder, discard, pushed_weights
from components.trainer.config import TrainConfig
from components.trainer.devices import is_chief, make_strategy, total_over_workers
from components.trainer.epochs import Epoch
from components.trainer.input_pipeline import Records, ViewData, batches, read_records
from components.trainer.loop import Start, TrainedNetwork, class_weights, train
from components.trainer.network import build_network, count_convolutions


@dataclass(frozen=True)
class Job:
    """Input and output of one training.

    Attributes:
        network: Name of the network, a key of ``config.views_by_network``.
        config: Configuration of the training.
        train_files: Sorted TFRecord shards of the train split.
        eval_files: Sorted TFRecord shards of the eval split.
        transform_output: Folder of the Transform node.
        model_dir: Folder for ``network.keras`` and ``history.json``.
        run_dir: Folder for the logs of TensorBoard; checkpoints are beside its parent.
        base_model: Exam model to start from. None or an absent folder means random weights.
        code: Fingerprint of the code.
        hyperparameters: Hyperparameters from the Tuner. ``config`` already contains them; the history names them.
    """

    network: str
    config: TrainConfig
    train_files: tuple[str, ...]
    eval_files: tuple[str, ...]
    transform_output: str
    model_dir: str
    run_dir: str
    base_model: str | None = None
    code: str = ""
    hyperparameters: Mapping[str, Any] = field(default_factory=dict)


def run_job(job: Job) -> None:
    """Train a network and write it. With several workers, each calls this function, and only the chief writes.

    Raises:
        ValueError: A split has no image of the views of the network.
        FloatingPointError: The loss is no longer finite.
        StrategyError: The strategy cannot work on this machine.
    """
    config = job.config
    strategy = make_strategy(config, os.environ)  # must come before any other call of TensorFlow
    chief = is_chief(strategy)
    views = config.views_by_network[job.network]
    transform = tft.TFTransformOutput(job.transform_output)
    data = {
        split: ViewData(files, views, transform, config.mirrors_right)
        for split, files in (("train", job.train_files), ("eval", job.eval_files))
    }
    records = {split: read_records(data[split]) for split in data}
    for split, found in records.items():
        if not found.labels:
            raise ValueError(
                f"The {split} split has no image of view {' or '.join(views)}: add exams, or change"
                " pipeline.ingest.splits or pipeline.ingest.split_seed."
            )
    start = _start(job, views)
    checkpoints = checkpoint_folder(job.run_dir, _decides(job, records, start))
    if chief:
        expect(config.epochs, "epochs")
    with _tensorboard(job.run_dir, chief) as on_epoch:
        trained = train(
            batches(data["train"], config, training=True, records=records["train"]),
            batches(data["eval"], config, training=False, records=records["eval"]),
            class_weights(records["train"].labels, config),
            config,
            on_epoch,
            strategy=strategy,
            start=Start(checkpoints, start),
        )
    if chief:
        tf.io.gfile.makedirs(job.model_dir)
        trained.network.save(os.path.join(job.model_dir, NETWORK_FILE))
        counts = {split: len(found.labels) for split, found in records.items()}
        write_text(os.path.join(job.model_dir, HISTORY_FILE), _history(job, trained, counts, start is not None))
        discard(checkpoints)
    total_over_workers(strategy, 1.0)  # wait for the chief, because TFX reads the model when any worker is done


def _start(job: Job, views: Sequence[str]) -> list[NDArray[Any]] | None:
    """Return the weights to start from; None without any, or if sides, head or size differ."""
    if job.base_model is None or not tf.io.gfile.isdir(job.base_model):
        return None
    network = build_network(job.config.image, job.config.network, job.config.seed, head=job.config.head)
    return pushed_weights(job.base_model, views, network)


def _decides(job: Job, records: dict[str, Records], start: Sequence[NDArray[Any]] | None) -> dict[str, object]:
    """Name everything that decides a training."""
    weights = hashlib.sha256(b"".join(np.ascontiguousarray(weight).tobytes() for weight in start or ()))
    return {
        "network": job.network,
        "config": job.config.model_dump(mode="json"),
        "data": {split: found.fingerprint for split, found in records.items()},
        "start": weights.hexdigest(),
        "code": job.code,
    }


@contextmanager
def _tensorboard(folder: str, chief: bool) -> Iterator[Callable[[Epoch], None]]:
    """Yield a function that logs an epoch to TensorBoard and to the progress display; only the chief logs."""
    if not chief:
        yield lambda epoch: None
        return
    tf.io.gfile.makedirs(folder)
    writer = tf.summary.create_file_writer(folder)

    def log(epoch: Epoch) -> None:
        with writer.as_default():
            for name, value in epoch.to_dict().items():
                tf.summary.scalar(name, value, step=epoch.epoch)
        writer.flush()
        advance(note=f"loss {epoch.loss:.3f}, validation accuracy {epoch.val_accuracy:.3f}")

    try:
        yield log
    finally:
        writer.close()


def _history(job: Job, trained: TrainedNetwork, counts: dict[str, int], warm: bool) -> str:
    return json.dumps(
        {
            "view": job.network,
            "head": job.config.head,
            "best_epoch": trained.best_epoch,
            "parameters": trained.network.count_params(),
            "convolutions": count_convolutions(trained.network),
            "images": counts,
            "warm_start": warm,
            "hyperparameters": dict(job.hyperparameters),
            "epochs": [epoch.to_dict() for epoch in trained.epochs],
        },
        indent=1,
    )
