"""The Tuner: its search space, failed trials, and trials that are real trainings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tensorflow as tf
from keras_tuner.errors import FatalError
from tfx.components.trainer.fn_args_utils import FnArgs

from components.trainer.config import NetworkConfig, TrainConfig, with_hyperparameters
from components.transform.config import ImageConfig
from components.tuner.config import RangeConfig, TunerConfig
from components.tuner.tuner_fn import TrainingTuner, search_space, tuner_fn

if TYPE_CHECKING:
    from tests.components.conftest import SmallDataSet

pytestmark = pytest.mark.slow

SPACE = {
    "learning_rate": RangeConfig(low=1e-3, high=1e-1, log=True),
    "batch_size": RangeConfig(values=(8, 16, 32)),
    "network.dropout": RangeConfig(low=0.0, high=0.5),
}


def found_by(config: TunerConfig, folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the best values and all tried values, for a loss with a known minimum."""
    tried = []

    def loss(values: dict[str, Any]) -> float:
        tried.append(values)
        if values["learning_rate"] > 0.05:
            raise FloatingPointError("diverged")
        return abs(np.log10(values["learning_rate"]) + 2) + abs(values["batch_size"] - 16) / 16

    tuner = TrainingTuner(config, str(folder), loss)
    tuner.search(verbose=0)
    return tuner.get_best_hyperparameters()[0].values, tried


@pytest.mark.parametrize("search", ["random", "bayesian"])
def test_the_search_stays_in_its_space_and_can_be_repeated(search: str, tmp_path: Path) -> None:
    config = TunerConfig(trials=12, space=SPACE, search=search)
    best, tried = found_by(config, tmp_path / "first")
    assert len(tried) == 12
    assert all(1e-3 <= values["learning_rate"] <= 1e-1 for values in tried)
    assert {values["batch_size"] for values in tried} <= {8, 16, 32}
    assert best["learning_rate"] < 0.05
    assert found_by(config, tmp_path / "second") == (best, tried)
    assert with_hyperparameters(TrainConfig(), best).network.dropout == best["network.dropout"]


def test_a_search_without_any_result_says_so(tmp_path: Path) -> None:
    def diverges(values: dict[str, Any]) -> float:
        raise FloatingPointError("the loss is nan")

    config = TunerConfig(trials=2, space=SPACE)
    with pytest.raises(FloatingPointError, match=r"lower pipeline\.tuner\.space\.learning_rate"):
        TrainingTuner(config, str(tmp_path), diverges).search(verbose=0)


def test_other_errors_stop_the_search(tmp_path: Path) -> None:
    def breaks(values: dict[str, Any]) -> float:
        raise ValueError("a file is gone")

    with pytest.raises(FatalError, match="a file is gone"):
        TrainingTuner(TunerConfig(trials=5, space=SPACE), str(tmp_path), breaks).search(verbose=0)


def test_the_space_reads_back_from_tfxs_file() -> None:
    space = search_space(TunerConfig())
    assert set(space.get_config()["values"]) == {"learning_rate", "weight_decay", "network.dropout"}
    assert with_hyperparameters(TrainConfig(), space.get_config()["values"]).learning_rate == pytest.approx(3e-4)


@pytest.mark.parametrize(
    "values",
    [{}, {"low": 1.0}, {"low": 2.0, "high": 1.0}, {"low": 0.0, "high": 1.0, "log": True}, {"values": [1, "a"]}],
)
def test_a_range_is_an_interval_or_a_list(values: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"give low and high \(low below high"):
        RangeConfig(**values)


def test_trials_are_trainings_of_the_first_network(small_data_set: SmallDataSet, tmp_path: Path) -> None:
    config = TrainConfig(
        image=ImageConfig(size=32),
        network=NetworkConfig(width=0.0625, blocks=1),
        optimizer="adam",
        sides="mirrored",
        batch_size=8,
        epochs=50,
    )
    tuning = TunerConfig(trials=2, epochs=1, search="random", space={"learning_rate": RangeConfig(values=(1e-3, 1e-2))})
    result = tuner_fn(
        FnArgs(
            working_dir=str(tmp_path),
            train_files=[small_data_set.files[0]],
            eval_files=[small_data_set.files[1]],
            transform_graph_path=small_data_set.transform_folder,
            custom_config={"config": config.model_dump_json(), "tuner": tuning.model_dump_json()},
        )
    )
    tf.config.run_functions_eagerly(True)  # tracing takes longer than the few steps
    try:
        result.tuner.search(**result.fit_kwargs)
    finally:
        tf.config.run_functions_eagerly(False)
    trials = result.tuner.oracle.get_best_trials(2)
    assert len(trials) == 2
    assert trials[0].score <= trials[1].score
    assert np.isfinite([trial.score for trial in trials]).all()
    assert result.tuner.get_best_hyperparameters()[0].values == trials[0].hyperparameters.values
