"""Optimisers and weight averages against their formulas."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.trainer.config import TrainConfig
from components.trainer.optimization import WeightAverage, make_optimizer

START = 5.0
GRADIENTS = (1.0, -0.5, 2.0, 0.25, 0.25)


def steps(config: TrainConfig, name: str = "kernel", gradients: tuple[float, ...] = GRADIENTS) -> list[float]:
    """Values of one variable after each step."""
    optimizer = make_optimizer(config)
    variable = keras.Variable([START], name=name)
    optimizer.build([variable])
    values = []
    for gradient in gradients:
        optimizer.apply_gradients([(tf.constant([gradient]), variable)])
        values.append(float(variable.numpy()[0]))
    return values


def test_the_sgd_that_the_published_script_defines_follows_older_keras() -> None:
    config = TrainConfig(learning_rate=0.1, momentum=0.9, nesterov=True, decay=0.1)
    value, velocity, expected = START, 0.0, []
    for step, gradient in enumerate(GRADIENTS):
        rate = 0.1 / (1 + 0.1 * step)
        velocity = 0.9 * velocity - rate * gradient
        value += 0.9 * velocity - rate * gradient
        expected.append(value)
    np.testing.assert_allclose(steps(config), expected, rtol=1e-6)


def test_the_sgd_that_it_compiles_with_is_plain() -> None:
    np.testing.assert_allclose(steps(TrainConfig()), START - 0.01 * np.cumsum(GRADIENTS), rtol=1e-6)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_weight_decay_is_decoupled_and_for_kernels_alone(optimizer: str) -> None:
    config = TrainConfig(optimizer=optimizer, learning_rate=0.1, weight_decay=0.2)
    np.testing.assert_allclose(steps(config, gradients=(0.0, 0.0)), [START * 0.98, START * 0.98**2], rtol=1e-5)
    for name in ("gamma", "beta", "bias"):
        assert steps(config, name, gradients=(0.0,)) == [START]


def small_network() -> keras.Model:
    keras.utils.set_random_seed(1)
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.BatchNormalization()])


def set_all(network: keras.Model, value: float) -> None:
    network.set_weights([np.full_like(weight, value) for weight in network.get_weights()])


def test_averages_follow_the_weights_and_swap_with_them(tmp_path: Path) -> None:
    network = small_network()
    set_all(network, 0.0)
    average = WeightAverage(network, decay=0.9)
    assert len(average.averages) == len(network.weights) == 6
    expected = 0.0
    for step in range(1, 101):
        set_all(network, float(step))
        average.update(tf.constant(step))
        share = 1 - min(0.9, (1 + step) / (10 + step))
        expected += share * (step - expected)
    tf.train.Checkpoint(average=average).write(str(tmp_path / "checkpoint"))
    average.swap()
    np.testing.assert_allclose([w.ravel()[0] for w in network.get_weights()], expected, rtol=1e-5)
    average.swap()
    assert {float(w.ravel()[0]) for w in network.get_weights()} == {100.0}

    restored = WeightAverage(small_network(), decay=0.9)
    tf.train.Checkpoint(average=restored).read(str(tmp_path / "checkpoint")).assert_consumed()
    np.testing.assert_allclose([v.numpy().ravel()[0] for v in restored.averages], expected, rtol=1e-5)


def test_averages_work_in_the_replicas_of_a_strategy() -> None:
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        network = small_network()
        average = WeightAverage(network, decay=0.5)
    before = network.get_weights()

    @tf.function
    def update() -> None:
        strategy.run(average.update, (tf.constant(50),))

    set_all(network, 3.0)
    update()
    average.swap()
    for start, now in zip(before, network.get_weights(), strict=True):
        np.testing.assert_allclose(now, (start + 3.0) / 2, rtol=1e-6)
    average.swap()
    assert all((weight == 3.0).all() for weight in network.get_weights())
