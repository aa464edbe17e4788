"""The training loop: weights of classes, and a training that learns and can be repeated."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from components.trainer.config import NetworkConfig, TrainConfig
from components.trainer.loop import Epoch, TrainedNetwork, class_weights, train
from components.transform.config import ImageConfig

CONFIG = TrainConfig(
    image=ImageConfig(size=32),
    network=NetworkConfig(width=0.0625, dropout=0.1, batch_norm_momentum=0.8),
    optimizer="adam",
    learning_rate=0.01,
    schedule="constant",
    batch_size=16,
    epochs=6,
)


def toy_images(count: int, seed: int) -> tf.data.Dataset:
    """Images whose bright quadrant is the class."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count) % 4)
    images = random.uniform(0, 0.3, (count, 32, 32, 1)).astype(np.float32)
    for image, label in zip(images, labels, strict=True):
        row, column = 16 * (label // 2), 16 * (label % 2)
        image[row : row + 16, column : column + 16] += 0.6
    return tf.data.Dataset.from_tensor_slices((images, labels.astype(np.int64)))


def run(config: TrainConfig = CONFIG, train_count: int = 90) -> tuple[TrainedNetwork, list[Epoch]]:
    seen: list[Epoch] = []
    training = toy_images(train_count, 0).batch(config.batch_size)  # the last batch is smaller
    validation = toy_images(20, 1).batch(config.batch_size)
    return train(training, validation, np.ones(4, np.float32), config, seen.append), seen


def test_balanced_weights_are_inverse_to_frequency_with_mean_one() -> None:
    labels = [0] * 6 + [1] * 3 + [3] * 1
    weights = class_weights(labels, TrainConfig(class_weights="balanced"))
    assert weights.dtype == np.float32
    assert weights[2] == 0
    assert weights[labels].mean() == pytest.approx(1.0)
    np.testing.assert_allclose(weights[[0, 1, 3]] * [6, 3, 1], 10 / 3, rtol=1e-6)
    np.testing.assert_array_equal(class_weights(labels, TrainConfig()), np.ones(4))


@pytest.mark.slow
def test_separable_images_are_learnt_and_a_second_training_is_equal() -> None:
    trained, seen = run()
    assert tuple(seen) == trained.epochs
    assert [epoch.epoch for epoch in seen] == list(range(1, CONFIG.epochs + 1))
    assert seen[-1].loss < 0.5 * seen[0].loss
    best = seen[trained.best_epoch - 1]
    assert best.val_accuracy == max(epoch.val_accuracy for epoch in seen) >= 0.9

    # The weights kept are those of the best epoch, not of the last.
    images, labels = next(iter(toy_images(20, 1).batch(20)))
    logits = trained.network(images, training=False)
    loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
    assert float(loss) == pytest.approx(best.val_loss, rel=1e-4)
    assert np.mean(np.argmax(logits, 1) == labels.numpy()) == pytest.approx(best.val_accuracy)

    again, _ = run(CONFIG.model_copy(update={"epochs": 2}))
    assert again.epochs == trained.epochs[:2], "to the last bit"


def test_a_loss_that_is_no_number_stops_with_advice() -> None:
    config = CONFIG.model_copy(update={"optimizer": "sgd", "learning_rate": 1e30, "epochs": 3, "batch_size": 4})
    tf.config.run_functions_eagerly(True)  # tracing takes longer than the few steps
    try:
        with pytest.raises(FloatingPointError, match=r"lower trainer\.learning_rate \(now 1e\+30\)"):
            run(config, train_count=8)
    finally:
        tf.config.run_functions_eagerly(False)
