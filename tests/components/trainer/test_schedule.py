"""Learning-rate schedules, the plateau one against Keras' own callback."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.trainer.config import TrainConfig
from components.trainer.optimization import learning_rate


def keras_rates(config: TrainConfig, losses: list[float]) -> list[float]:
    """Learning rate of every epoch under keras.callbacks.ReduceLROnPlateau."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(config.learning_rate))
    callback = keras.callbacks.ReduceLROnPlateau(
        factor=config.plateau_factor, patience=config.plateau_patience, min_lr=config.minimum_learning_rate
    )
    callback.set_model(model)
    callback.on_train_begin()
    rates = [float(model.optimizer.learning_rate)]
    for epoch, loss in enumerate(losses):
        callback.on_epoch_end(epoch, {"val_loss": loss})
        rates.append(float(model.optimizer.learning_rate))
    return rates


loss_lists = st.lists(
    st.sampled_from([1.0, 0.9, 0.90005, 0.89985, 0.5, 0.49, 2.0]) | st.floats(0, 3), min_size=1, max_size=25
)


@settings(max_examples=40)
@given(loss_lists, st.integers(1, 4), st.sampled_from([0.1, 0.5]), st.sampled_from([0.0, 0.001, 0.004]))
def test_plateau_is_keras(losses: list[float], patience: int, factor: float, floor: float) -> None:
    config = TrainConfig(plateau_patience=patience, plateau_factor=factor, minimum_learning_rate=floor)
    ours = [learning_rate(config, epoch, losses[:epoch]) for epoch in range(len(losses) + 1)]
    np.testing.assert_allclose(ours, keras_rates(config, losses), rtol=1e-5)


def test_a_floor_above_the_first_rate_never_raises_it() -> None:
    config = TrainConfig(learning_rate=0.0005, minimum_learning_rate=0.001, plateau_patience=1)
    assert learning_rate(config, 5, [1.0] * 5) == 0.0005


def test_cosine_warms_up_and_falls_to_nearly_zero() -> None:
    config = TrainConfig(schedule="cosine", learning_rate=0.2, epochs=20)
    rates = [learning_rate(config, epoch, []) for epoch in range(20)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[10] == pytest.approx(0.1)
    assert rates[1] == max(rates)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert 0 < rates[-1] < 0.002


def test_constant_stays() -> None:
    config = TrainConfig(schedule="constant", learning_rate=0.03)
    assert {learning_rate(config, epoch, [1.0] * epoch) for epoch in range(30)} == {0.03}


def test_cosine_changes_by_step_and_rises_over_the_warm_up() -> None:
    config = TrainConfig(schedule="cosine", learning_rate=1.0, epochs=40, warmup_epochs=4)
    rates = [learning_rate(config, step / 8, []) for step in range(40 * 8)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[:33] == sorted(rates[:33])
    assert rates[32:] == sorted(rates[32:], reverse=True)
    half_way = 0.55 * 0.5 * (1 + np.cos(np.pi * 2 / 40))
    assert learning_rate(config, 2, []) == pytest.approx(half_way)
    cold = config.model_copy(update={"warmup_epochs": 0.0})
    assert learning_rate(cold, 0, []) == 1.0


def test_plateau_does_not_change_within_an_epoch() -> None:
    config = TrainConfig(plateau_patience=1)
    assert learning_rate(config, 2.5, [1.0, 1.0]) == learning_rate(config, 2, [1.0, 1.0]) == pytest.approx(0.001)
