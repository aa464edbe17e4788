"""Losses, learning-rate schedules, optimisers and weight averages against their formulas, scikit-learn and Keras."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.special
import sklearn.metrics
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.trainer.config import TrainConfig
from components.trainer.optimization import WeightAverage, learning_rate, make_optimizer, per_example_loss, targets_of

LOGITS = np.random.default_rng(0).normal(0, 2, (20, 4)).astype(np.float32)
LABELS = np.arange(20, dtype=np.int64) % 4


def losses(config: TrainConfig, dtype: tf.DType = tf.float32) -> np.ndarray:
    return per_example_loss(tf.constant(LOGITS, dtype), tf.constant(LABELS), config).numpy()


def test_plain_cross_entropy_is_scikit_learns() -> None:
    ours = losses(TrainConfig())
    assert ours.shape == (20,)
    theirs = sklearn.metrics.log_loss(LABELS, scipy.special.softmax(LOGITS.astype(float), axis=1))
    assert ours.mean() == pytest.approx(theirs, rel=1e-5)


@pytest.mark.parametrize(
    ("loss", "rows"),
    [
        ("cross_entropy", [[0.925, 0.025, 0.025, 0.025], [0.025, 0.925, 0.025, 0.025]]),
        ("soft_ordinal", [[0.9, 0.1, 0.0, 0.0], [0.05, 0.9, 0.05, 0.0]]),
        ("squared_emd", [[0.9, 0.1, 0.0, 0.0], [0.05, 0.9, 0.05, 0.0]]),
    ],
)
def test_smoothing_goes_to_all_classes_or_to_neighbours(loss: str, rows: list[list[float]]) -> None:
    config = TrainConfig(loss=loss, label_smoothing=0.1)
    targets = targets_of(tf.constant(LABELS), config).numpy()
    np.testing.assert_allclose(targets[:2], rows, rtol=1e-6)
    np.testing.assert_allclose(targets[2:4], np.array(rows)[::-1, ::-1], rtol=1e-6)
    np.testing.assert_allclose(targets.sum(axis=1), 1.0, rtol=1e-6)


def test_smoothed_cross_entropy_is_the_sum_written_out() -> None:
    config = TrainConfig(loss="soft_ordinal", label_smoothing=0.2)
    targets = targets_of(tf.constant(LABELS), config).numpy()
    expected = -(targets * scipy.special.log_softmax(LOGITS.astype(float), axis=1)).sum(axis=1)
    np.testing.assert_allclose(losses(config), expected, rtol=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "soft_ordinal", "squared_emd"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_distribution_of_one_class_is_a_label(loss: str, smoothing: float) -> None:
    config = TrainConfig(loss=loss, label_smoothing=smoothing)
    shares = tf.constant(np.eye(4, dtype=np.float32)[LABELS])
    np.testing.assert_array_equal(per_example_loss(tf.constant(LOGITS), shares, config).numpy(), losses(config))


def test_the_loss_of_a_soft_label_is_the_mean_over_its_readers() -> None:
    shares = np.random.default_rng(2).dirichlet(np.ones(4), 20).astype(np.float32)
    for config in (TrainConfig(), TrainConfig(head="cumulative", label_smoothing=0.05)):
        logits = tf.constant(LOGITS[:, :3] if config.head == "cumulative" else LOGITS)
        by_class = [per_example_loss(logits, tf.fill([20], tf.constant(k, tf.int64)), config).numpy() for k in range(4)]
        found = per_example_loss(logits, tf.constant(shares), config).numpy()
        np.testing.assert_allclose(found, (np.stack(by_class, axis=1) * shares).sum(axis=1), rtol=1e-4)


def test_the_squared_emd_of_a_soft_label_is_scipys_distance_of_distributions() -> None:
    shares = np.random.default_rng(3).dirichlet(np.ones(4), 20).astype(np.float32)
    found = per_example_loss(tf.constant(LOGITS), tf.constant(shares), TrainConfig(loss="squared_emd")).numpy()
    graded = scipy.special.softmax(LOGITS.astype(float), axis=1)
    expected = [((np.cumsum(one) - np.cumsum(other)) ** 2).sum() for one, other in zip(graded, shares, strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_squared_emd_punishes_distance() -> None:
    config = TrainConfig(loss="squared_emd")
    sure = np.where(np.eye(4) > 0, 50.0, 0.0).astype(np.float32)  # one row sure of each class
    values = per_example_loss(tf.constant(sure), tf.zeros(4, tf.int64), config).numpy()
    np.testing.assert_allclose(values, [0, 1, 2, 3], atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.05])
def test_a_cumulative_head_is_trained_with_the_binary_cross_entropies_of_keras(smoothing: float) -> None:
    config = TrainConfig(head="cumulative", label_smoothing=smoothing)
    logits = LOGITS[:, :3]
    targets = (LABELS[:, np.newaxis] > np.arange(3)).astype(np.float32)
    theirs = keras.losses.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing, reduction=None)
    expected = 3 * theirs(targets, logits).numpy()  # Keras takes the mean over the thresholds
    np.testing.assert_allclose(per_example_loss(tf.constant(logits), tf.constant(LABELS), config), expected, rtol=1e-5)
    if not smoothing:
        by_threshold = [
            sklearn.metrics.log_loss(k < LABELS, scipy.special.expit(logits[:, k].astype(float))) for k in range(3)
        ]
        assert expected.mean() == pytest.approx(sum(by_threshold), rel=1e-5)


@pytest.mark.parametrize("loss", ["soft_ordinal", "squared_emd"])
def test_a_cumulative_head_has_its_own_loss(loss: str) -> None:
    with pytest.raises(ValueError, match=f"head cumulative .* needs loss cross_entropy. Received: loss={loss}"):
        TrainConfig(head="cumulative", loss=loss)


def test_half_precision_logits_lose_nothing_in_the_loss() -> None:
    half = LOGITS.astype(np.float16)
    ours = per_example_loss(tf.constant(half), tf.constant(LABELS), TrainConfig())
    assert ours.dtype == tf.float32
    full = per_example_loss(tf.constant(half.astype(np.float32)), tf.constant(LABELS), TrainConfig())
    np.testing.assert_array_equal(ours, full)


def keras_rates(config: TrainConfig, losses: list[float]) -> list[float]:
    """Return the learning rate of every epoch under keras.callbacks.ReduceLROnPlateau."""
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


START = 5.0
GRADIENTS = (1.0, -0.5, 2.0, 0.25, 0.25)


def steps(config: TrainConfig, name: str = "kernel", gradients: tuple[float, ...] = GRADIENTS) -> list[float]:
    """Return the values of one variable after each step."""
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
def test_weight_decay_is_decoupled_and_for_kernels_only(optimizer: str) -> None:
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
