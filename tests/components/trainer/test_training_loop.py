"""The training loop: class weights, and a training that learns and is repeatable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics
import tensorflow as tf

from components.trainer.checkpoint import checkpoint_folder
from components.trainer.config import AugmentationConfig, NetworkConfig, TrainConfig
from components.trainer.epochs import Epoch
from components.trainer.input_pipeline import array_batches
from components.trainer.loop import Start, TrainedNetwork, class_weights, train
from components.transform.class_outputs import class_probabilities
from components.transform.config import ImageConfig
from components.transform.images import normalise

pytestmark = pytest.mark.slow

CONFIG = TrainConfig(
    image=ImageConfig(size=32),
    network=NetworkConfig(width=0.0625, blocks=1, dropout=0.1, batch_norm_momentum=0.8),
    augmentation=AugmentationConfig(zoom=0.1, shift=0.05, rotation_degrees=5.0),
    optimizer="adam",
    learning_rate=0.01,
    schedule="constant",
    ema_decay=0.5,
    batch_size=16,
    epochs=6,
)


def toy_images(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images with one bright quadrant, which is the class."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % 4)
    images = random.integers(0, 80, (count, 32, 32, 1)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = 16 * (label // 2), 16 * (label % 2)
        image[row : row + 16, column : column + 16] += 150
    return images, labels.astype(np.int64)


def run(
    config: TrainConfig = CONFIG,
    train_count: int = 90,
    checkpoints: str | None = None,
    also: Callable[[Epoch], None] = lambda epoch: None,
) -> tuple[TrainedNetwork, list[Epoch]]:
    seen: list[Epoch] = []

    def on_epoch(epoch: Epoch) -> None:
        seen.append(epoch)
        also(epoch)

    training = array_batches(*toy_images(train_count, 0), config, training=True)
    validation = array_batches(*toy_images(20, 1), config, training=False)
    weights = np.ones(4, np.float32)
    return train(training, validation, weights, config, on_epoch, start=Start(checkpoints)), seen


def test_balanced_weights_are_inverse_to_frequency_with_mean_one() -> None:
    labels = [0] * 6 + [1] * 3 + [3] * 1
    weights = class_weights(labels, TrainConfig(class_weights="balanced"))
    assert weights.dtype == np.float32
    assert weights[2] == 0
    assert weights[labels].mean() == pytest.approx(1.0)
    np.testing.assert_allclose(weights[[0, 1, 3]] * [6, 3, 1], 10 / 3, rtol=1e-6)
    np.testing.assert_array_equal(class_weights(labels, TrainConfig()), np.ones(4))


class StoppedError(Exception):
    pass


def stop_after_two(epoch: Epoch) -> None:
    if epoch.epoch == 2:
        raise StoppedError


def test_separable_images_are_learnt_and_a_stopped_training_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    trained, seen = run()
    assert tuple(seen) == trained.epochs
    assert [epoch.epoch for epoch in seen] == list(range(1, CONFIG.epochs + 1))
    assert seen[-1].loss < 0.5 * seen[0].loss
    best = seen[trained.best_epoch - 1]
    assert best.val_accuracy == max(epoch.val_accuracy for epoch in seen) >= 0.9
    assert best.val_macro_recall == pytest.approx(best.val_accuracy)  # all classes are as frequent

    # The weights kept are those of the best epoch, not of the last.
    images, labels = toy_images(20, 1)
    logits = trained.network(normalise(images, CONFIG.image), training=False)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    assert float(loss) == pytest.approx(best.val_loss, rel=1e-4)
    assert np.mean(np.argmax(logits, 1) == labels) == pytest.approx(best.val_accuracy)

    folder = checkpoint_folder(str(tmp_path / "model_run" / "1"), "a training")
    with pytest.raises(StoppedError):
        run(checkpoints=folder, also=stop_after_two)
    resumed, told = run(checkpoints=folder)
    assert tuple(told) == resumed.epochs == trained.epochs, "to the last bit"
    for weight, expected in zip(resumed.network.get_weights(), trained.network.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_distributions_of_one_class_train_the_same_network_as_labels() -> None:
    config = CONFIG.model_copy(update={"epochs": 1})
    images, labels = toy_images(32, 0)
    shares = np.eye(4, dtype=np.float32)[labels]
    weights = np.array([0.5, 1.0, 1.5, 1.0], np.float32)
    validation = array_batches(*toy_images(20, 1), config, training=False)
    hard, soft = (
        train(array_batches(images, given, config, training=True), validation, weights, config)
        for given in (labels, shares)
    )
    for one, other in zip(hard.epochs, soft.epochs, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-5)
        assert (one.accuracy, one.val_accuracy) == (other.accuracy, other.val_accuracy)
    for weight, expected in zip(soft.network.get_weights(), hard.network.get_weights(), strict=True):
        np.testing.assert_allclose(weight, expected, atol=1e-4)


def test_a_network_of_soft_labels_answers_with_the_shares_of_its_readers() -> None:
    config = CONFIG.model_copy(update={"keep": "last", "epochs": 10})
    images, labels = toy_images(90, 0)
    shares = np.eye(4, dtype=np.float32)[labels]
    shares[labels == 1] = (0.0, 0.5, 0.5, 0.0)
    validation = array_batches(*toy_images(20, 1), config, training=False)
    trained = train(array_batches(images, shares, config, training=True), validation, np.ones(4, np.float32), config)
    judged, truth = toy_images(40, 2)
    found = class_probabilities(trained.network(normalise(judged, config.image), training=False)).numpy()
    np.testing.assert_allclose(found[truth == 1].mean(axis=0), [0, 0.5, 0.5, 0], atol=0.12)
    assert found[truth == 3].mean(axis=0)[3] > 0.85


def test_a_cumulative_head_learns_and_is_judged_by_its_class_probabilities() -> None:
    config = CONFIG.model_copy(update={"head": "cumulative", "epochs": 4, "keep": "last"})
    trained, seen = run(config)
    assert trained.best_epoch == 4
    best = seen[-1]
    assert best.val_accuracy >= 0.7  # chance is .25
    images, labels = toy_images(20, 1)
    outputs = trained.network(normalise(images, config.image), training=False)
    assert outputs.shape == (20, 3)
    probabilities = class_probabilities(outputs).numpy().astype(float)
    grades = probabilities.argmax(axis=1)
    assert sklearn.metrics.accuracy_score(labels, grades) == pytest.approx(best.val_accuracy)
    kappa = sklearn.metrics.cohen_kappa_score(labels, grades, weights="quadratic")
    assert kappa == pytest.approx(best.val_quadratic_kappa)
    own = np.maximum(probabilities[np.arange(20), labels], 1e-7)
    assert -np.log(own).mean() == pytest.approx(best.val_loss, rel=1e-4)


def test_a_loss_that_is_no_number_stops_with_advice() -> None:
    config = CONFIG.model_copy(update={"optimizer": "sgd", "learning_rate": 1e30, "epochs": 3, "batch_size": 4})
    tf.config.run_functions_eagerly(True)  # tracing takes longer than the few steps
    try:
        with pytest.raises(FloatingPointError, match=r"lower pipeline\.trainer\.learning_rate \(now 1e\+30\)"):
            run(config, train_count=8)
    finally:
        tf.config.run_functions_eagerly(False)
