"""The ``run_fn`` that TFX's Trainer calls: it trains one network and writes it."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import tensorflow as tf
from tfx.components.trainer.fn_args_utils import FnArgs

from components.trainer.config import TrainConfig, with_hyperparameters
from components.trainer.job import Job, run_job


def _job(fn_args: FnArgs) -> Job:
    def files(patterns: list[str]) -> tuple[str, ...]:
        return tuple(sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern)))

    config = TrainConfig.model_validate_json(fn_args.custom_config["config"])
    hyperparameters = fn_args.hyperparameters["values"] if fn_args.hyperparameters else {}
    return Job(
        network=fn_args.custom_config["view"],
        config=with_hyperparameters(config, hyperparameters),
        train_files=files(fn_args.train_files),
        eval_files=files(fn_args.eval_files),
        transform_output=fn_args.transform_output,
        model_dir=fn_args.serving_model_dir,
        run_dir=fn_args.model_run_dir,
        base_model=fn_args.base_model,
        code=fn_args.custom_config.get("code", ""),
        hyperparameters=hyperparameters,
    )


def run_fn(fn_args: FnArgs) -> None:
    """Train one network.

    Args:
        fn_args: TFX's arguments; ``custom_config`` holds ``view``, the network's name, and ``config``, JSON of
            :class:`TrainConfig`. Writes ``network.keras`` and ``history.json`` to the serving model folder, TensorBoard
            logs to the model run folder. ``hyperparameters`` of the Tuner override ``config``.

    Raises:
        ValueError: A split has no image of the views of this network.
        FloatingPointError: The loss is no longer finite.
        StrategyError: The strategy cannot work on this machine.
    """
    job = _job(fn_args)
    if job.config.strategy != "multi_worker":
        run_job(job)
        return
    # Workers must connect before any other call of TensorFlow, but other nodes may have run in this process.
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        pool.submit(run_job, job).result()
