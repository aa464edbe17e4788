"""Hyperparameters that override a configuration."""

from __future__ import annotations

from typing import Any

import pytest

from components.trainer.config import TrainConfig, with_hyperparameters


def test_values_replace_those_of_their_keys_alone() -> None:
    config = TrainConfig(epochs=7)
    tuned = with_hyperparameters(config, {"learning_rate": 0.5, "network.dropout": 0.4, "batch_size": 8})
    assert (tuned.learning_rate, tuned.network.dropout, tuned.batch_size) == (0.5, 0.4, 8)
    back = {"learning_rate": config.learning_rate, "network": config.network, "batch_size": config.batch_size}
    assert tuned.model_copy(update=back) == config
    assert with_hyperparameters(config, {}) == config


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"learning_speed": 1.0}, "there is no trainer.learning_speed; known are image, network"),
        ({"network.depth": 3}, "there is no trainer.network.depth; known are width"),
        ({"epochs.more": 3}, "epochs has no keys inside"),
        ({"network.dropout": 2.0}, r"trainer\.network\.dropout cannot be 2\.0: .* less than 1"),
    ],
)
def test_unknown_keys_and_values_are_refused(values: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        with_hyperparameters(TrainConfig(), values)
