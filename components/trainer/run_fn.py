"""The ``run_fn`` that TFX's Trainer calls: trains the network of one view and writes it."""

from __future__ import annotations

import json
import os
from typing import Final

import keras
import tensorflow as tf
import tensorflow_transform as tft
from tfx.components.trainer.fn_args_utils import FnArgs

from components.common.progress import advance, expect
from components.common.shards import write_text
from components.trainer.config import TrainConfig
from components.trainer.input_pipeline import ViewData, batches, labels_of
from components.trainer.loop import Epoch, TrainedNetwork, class_weights, train
from components.trainer.network import count_convolutions

NETWORK_FILE: Final = "network.keras"
HISTORY_FILE: Final = "history.json"


def _history(view: str, trained: TrainedNetwork, counts: dict[str, int]) -> str:
    return json.dumps(
        {
            "view": view,
            "best_epoch": trained.best_epoch,
            "parameters": trained.network.count_params(),
            "convolutions": count_convolutions(trained.network),
            "images": counts,
            "epochs": [epoch.to_dict() for epoch in trained.epochs],
        },
        indent=1,
    )


def run_fn(fn_args: FnArgs) -> None:
    """Trains one view.

    Args:
        fn_args: TFX's arguments; ``custom_config`` holds ``view`` and ``config`` (JSON of :class:`TrainConfig`).
            Writes ``network.keras`` and ``history.json`` to the serving model folder, TensorBoard logs to the model
            run folder.

    Raises:
        ValueError: A split has no image of this view.
        FloatingPointError: The loss is no longer finite.
    """
    view = fn_args.custom_config["view"]
    config = TrainConfig.model_validate_json(fn_args.custom_config["config"])
    keras.utils.set_random_seed(config.seed)  # tf.data's seeds depend on the global one too
    transform = tft.TFTransformOutput(fn_args.transform_output)

    def data_of(patterns: list[str]) -> ViewData:
        files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
        return ViewData(tuple(files), view, transform)

    training, validation = data_of(fn_args.train_files), data_of(fn_args.eval_files)
    labels = labels_of(training)
    counts = {"train": len(labels), "eval": len(labels_of(validation))}
    for split, count in counts.items():
        if count == 0:
            raise ValueError(
                f"The {split} split has no image of view {view}: add exams, or change ingest.splits or"
                " ingest.split_seed."
            )
    expect(config.epochs, "epochs")
    tf.io.gfile.makedirs(fn_args.model_run_dir)

    with tf.summary.create_file_writer(fn_args.model_run_dir).as_default():

        def on_epoch(epoch: Epoch) -> None:
            for name, value in epoch.to_dict().items():
                tf.summary.scalar(name, value, step=epoch.epoch)
            advance(note=f"loss {epoch.loss:.3f}, validation accuracy {epoch.val_accuracy:.3f}")

        trained = train(
            batches(training, config, training=True),
            batches(validation, config, training=False),
            class_weights(labels, config),
            config,
            on_epoch,
        )
    tf.io.gfile.makedirs(fn_args.serving_model_dir)
    trained.network.save(os.path.join(fn_args.serving_model_dir, NETWORK_FILE))
    write_text(os.path.join(fn_args.serving_model_dir, HISTORY_FILE), _history(view, trained, counts))
