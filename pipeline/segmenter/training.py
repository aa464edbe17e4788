"""Training of one network: first on phantoms and drawn masks, then also on films that it labelled itself.

The second round is self-training (Q. Xie et al., "Self-training with Noisy Student", CVPR 2020): the network's masks of
unlabelled films, without the least sure ones, are targets under augmentation.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.preprocessing.network import from_blocks, to_blocks
from pipeline.segmenter.augmentation import augmented, unaltered
from pipeline.segmenter.samples import SHAPE, Sample
from pipeline.segmenter.unet import build_unet
from schema.features import is_mlo

_BATCH: Final = 16
_STEPS: Final = (1000, 600)  # of the two rounds
_RATES: Final = (3e-3, 2e-3)  # highest learning rates of the two rounds
_REAL: Final = 0.45  # strength of the muscle's augmentation on films, whose muscles vary by themselves
_SURE: Final = 0.85  # share of the unlabelled films that is kept, the surest first
_LEAST_AREA: Final = 200  # cells; less is no muscle to learn from
_SHARPNESS: Final = 12.0  # slope by which probabilities become targets
_DICE_WEIGHT: Final = 0.3


@dataclass(frozen=True)
class Source:
    """Samples that are drawn alike.

    Attributes:
        samples: The samples.
        share: Share of the batches.
        strength: See ``augmented``.
    """

    samples: Sequence[Sample]
    share: float
    strength: float


def _feed(sources: Sequence[Source], steps: int, seed: int, batches: queue.Queue[Any]) -> None:
    rng = np.random.default_rng(seed)
    shares = np.array([source.share for source in sources])
    for _ in range(steps):
        inputs: list[NDArray[Any]] = []
        targets: list[NDArray[Any]] = []
        while len(inputs) < _BATCH:
            source = sources[int(rng.choice(len(sources), p=shares / shares.sum()))]
            drawn = augmented(rng, source.samples[int(rng.integers(len(source.samples)))], source.strength)
            if drawn is not None:
                inputs.append(drawn[0])
                targets.append(drawn[1][..., np.newaxis])
        batches.put((to_blocks(np.stack(inputs)), to_blocks(np.stack(targets))))


def _loss(target: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    entropy = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(target, logits))
    probability = tf.sigmoid(logits)
    common = tf.reduce_sum(probability * target, (1, 2, 3))
    total = tf.reduce_sum(probability + target, (1, 2, 3))
    return entropy + _DICE_WEIGHT * tf.reduce_mean(1 - (2 * common + 20) / (total + 20))


def _fit(model: tf.keras.Model, sources: Sequence[Source], steps: int, rate: float, seed: int) -> float:
    """Train for a number of steps and return the mean loss of the last hundred."""
    schedule = tf.keras.optimizers.schedules.CosineDecay(
        1e-4, steps, alpha=0.005, warmup_target=rate, warmup_steps=steps // 10
    )
    optimizer = tf.keras.optimizers.AdamW(schedule, weight_decay=1e-4)
    optimizer.build(model.trainable_variables)

    @tf.function
    def step(inputs: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = _loss(target, model(inputs, training=True))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        return loss

    batches: queue.Queue[Any] = queue.Queue(8)
    threading.Thread(target=_feed, args=(sources, steps, seed, batches), daemon=True).start()
    losses = [float(step(*batches.get())) for _ in range(steps)]
    return float(np.mean(losses[-100:]))


def probabilities(model: tf.keras.Model, samples: Sequence[Sample]) -> NDArray[Any]:
    """Apply a network: float32 [n, 128, 96]."""
    inputs = to_blocks(np.stack([unaltered(sample)[0] for sample in samples]))
    return np.asarray(from_blocks(tf.sigmoid(model.predict(inputs, batch_size=32, verbose=0)).numpy()))


def _self_labelled(model: tf.keras.Model, films: Sequence[Sample]) -> list[Sample]:
    """Return films with the masks that a network predicts, only the most certain ones."""
    maps = probabilities(model, films)
    areas = (maps > 0.5).sum(axis=(1, 2))
    # Cells that are neither muscle nor none, against the length of the edge.
    unsure = ((maps > 0.1) & (maps < 0.9)).sum(axis=(1, 2)) / np.sqrt(np.maximum(1, areas))
    kept = (areas > _LEAST_AREA) & (unsure <= np.quantile(unsure, _SURE))
    labelled = []
    for film, values in zip([f for f, keep in zip(films, kept, strict=True) if keep], maps[kept], strict=True):
        enlarged = cv2.resize(values, (SHAPE[1], SHAPE[0]), interpolation=cv2.INTER_LINEAR)
        muscle = 1 / (1 + np.exp(-_SHARPNESS * (enlarged - 0.5)))
        labelled.append(replace(film, muscle=np.asarray(muscle, np.float32)))
    return labelled


def train_segmenter(
    phantoms: Sequence[Sample], drawn: Sequence[Sample], films: Sequence[Sample], seed: int
) -> tuple[tf.keras.Model, float]:
    """Train one network; 1,600 steps, some eight minutes of one core.

    Args:
        phantoms: Views of phantoms with their true masks.
        drawn: Films with drawn masks.
        films: Other films; oblique ones get masks from the network, craniocaudal ones show no muscle.
        seed: Of weights, order and augmentation.

    Returns:
        The network and its last training loss.
    """
    tf.keras.utils.set_random_seed(seed)
    present = [s for s in phantoms if s.muscle.any()]
    absent = [s for s in phantoms if not s.muscle.any()]
    oblique = [s for s in films if is_mlo(s.name.split("/")[1])]
    craniocaudal = [s for s in films if not is_mlo(s.name.split("/")[1])]
    nothing = [Source(absent, 0.14, 1.0), Source(craniocaudal, 0.06, _REAL)]
    model = build_unet()
    first = [Source(present, 0.46, 1.0), Source(drawn, 0.34, _REAL), *nothing]
    _fit(model, first, _STEPS[0], _RATES[0], seed)
    labelled = Source(_self_labelled(model, oblique), 0.30, _REAL)
    second = [Source(present, 0.24, 1.0), Source(drawn, 0.26, _REAL), labelled, *nothing]
    return model, _fit(model, second, _STEPS[1], _RATES[1], seed + 1)
