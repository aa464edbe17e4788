"""The ``tuner_fn`` that TFX's Tuner calls. Each trial is a training with the loop of the Trainer."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import keras_tuner
import tensorflow as tf
import tensorflow_transform as tft
from keras_tuner.errors import FailedTrialError, FatalError
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import TunerFnResult

from components.common.progress import advance, expect
from components.trainer.config import TrainConfig, with_hyperparameters
from components.trainer.input_pipeline import ViewData, batches, read_records
from components.trainer.loop import class_weights, train
from components.tuner.config import TunerConfig

_OBJECTIVE = keras_tuner.Objective("val_loss", "min")


def search_space(config: TunerConfig) -> keras_tuner.HyperParameters:
    """Return the ranges of a configuration as hyperparameters of KerasTuner."""
    space = keras_tuner.HyperParameters()
    for key, found in sorted(config.space.items()):
        if found.values:
            space.Choice(key, list(found.values))
        else:
            space.Float(key, found.low, found.high, sampling="log" if found.log else "linear")
    return space


class TrainingTuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Searches the hyperparameters whose training has the lowest validation loss."""

    def __init__(self, config: TunerConfig, folder: str, validation_loss: Callable[[dict[str, Any]], float]):
        """Create the tuner.

        Args:
            config: Space, number of trials and kind of search.
            folder: Folder for the files of KerasTuner.
            validation_loss: Trains with some hyperparameters and returns the loss. It raises FloatingPointError if the
                training diverges; then only this trial fails.
        """
        oracles = keras_tuner.oracles
        oracle = (oracles.BayesianOptimizationOracle if config.search == "bayesian" else oracles.RandomSearchOracle)(
            objective=_OBJECTIVE,
            max_trials=config.trials,
            seed=config.seed,
            hyperparameters=search_space(config),
            max_consecutive_failed_trials=config.trials + 1,  # `search` reports this case
        )
        super().__init__(oracle, directory=folder, project_name="tuner", overwrite=True)
        self._validation_loss = validation_loss

    def run_trial(self, trial: keras_tuner.engine.trial.Trial, **kwargs: Any) -> dict[str, float]:
        """Run one training."""
        del kwargs
        try:
            loss = self._validation_loss(dict(trial.hyperparameters.values))
        except FloatingPointError as error:
            advance(note="diverged")
            raise FailedTrialError(str(error)) from error
        except Exception as error:
            raise FatalError(str(error)) from error  # KerasTuner would try other values
        advance(note=f"validation loss {loss:.3f}")
        return {_OBJECTIVE.name: loss}

    def search(self, **kwargs: Any) -> None:
        """Run all trials.

        Raises:
            FloatingPointError: All trials diverged.
        """
        super().search(**kwargs)
        if self.oracle.get_best_trials()[0].score is None:  # it lists failed trials after those with a score
            raise FloatingPointError("Every trial of the Tuner diverged: lower pipeline.tuner.space.learning_rate.")


def _validation_loss(fn_args: FnArgs, config: TrainConfig) -> Callable[[dict[str, Any]], float]:
    """Return a function that trains the first network with some hyperparameters and returns its lowest loss."""

    def files(patterns: list[str]) -> tuple[str, ...]:
        return tuple(sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern)))

    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    name, views = next(iter(config.views_by_network.items()))
    data = {
        split: ViewData(files(patterns), views, transform, config.mirrors_right)
        for split, patterns in (("train", fn_args.train_files), ("eval", fn_args.eval_files))
    }
    records = {split: read_records(data[split]) for split in data}
    for split, found in records.items():
        if not found.labels:
            raise ValueError(
                f"The {split} split has no image for network {name}: add exams, or change pipeline.ingest.splits."
            )

    def run(values: dict[str, Any]) -> float:
        chosen = with_hyperparameters(config, values)
        trained = train(
            batches(data["train"], chosen, training=True, records=records["train"]),
            batches(data["eval"], chosen, training=False, records=records["eval"]),
            class_weights(records["train"].labels, chosen),
            chosen,
        )
        return min(epoch.val_loss for epoch in trained.epochs)

    return run


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Return the tuner of a run.

    Args:
        fn_args: TFX's arguments; ``custom_config`` holds ``config``, JSON of :class:`TrainConfig`, and ``tuner``, JSON
            of :class:`TunerConfig`.

    Returns:
        The tuner. The best hyperparameters have dotted keys of the Trainer's configuration, as
        :func:`with_hyperparameters` requires.

    Raises:
        ValueError: A split has no image of the views of the first network.
    """
    tuner = TunerConfig.model_validate_json(fn_args.custom_config["tuner"])
    config = TrainConfig.model_validate_json(fn_args.custom_config["config"])
    # Each trial runs on this machine only.
    one_machine = {"strategy": "default"} if config.strategy == "multi_worker" else {}
    shorter = config.model_copy(update={"epochs": tuner.epochs, **one_machine})
    expect(tuner.trials, "trials")
    folder = os.path.join(fn_args.working_dir, "trials")
    return TunerFnResult(TrainingTuner(tuner, folder, _validation_loss(fn_args, shorter)), {"verbose": 0})
