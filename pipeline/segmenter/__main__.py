"""Command line of the training: two networks for an honest benchmark, then the one that is shipped."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.segmenter.samples import Sample, drawn_samples, film_samples, phantom_samples
from pipeline.segmenter.training import probabilities, train_segmenter
from pipeline.segmenter.unet import frozen_graph

_SEED = 7001


def _dice(model: tf.keras.Model, samples: Sequence[Sample]) -> float:
    found = probabilities(model, samples) > 0.5
    scores = []
    for sample, mask in zip(samples, found, strict=True):
        truth = np.asarray(tf.image.resize(sample.muscle[..., np.newaxis], mask.shape, "area"))[..., 0] > 0.5
        scores.append(2 * (mask & truth).sum() / max(1, mask.sum() + truth.sum()))
    return float(np.mean(scores))


def main() -> None:
    """Train and write ``muscle.pb``, ``fold_0.pb`` and ``fold_1.pb``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--masks", type=Path, required=True, help="films with drawn masks: index.csv")
    parser.add_argument("--films", type=Path, required=True, help="films without masks: labels.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--exams", type=int, default=360, help="phantom exams to train on")
    arguments = parser.parse_args()
    # The same weights from the same samples, on one kind of machine.
    tf.config.experimental.enable_op_determinism()
    arguments.out.mkdir(parents=True, exist_ok=True)
    drawn = drawn_samples(arguments.masks)
    films = film_samples(arguments.films, {sample.name for sample in drawn})
    phantoms = list(phantom_samples(arguments.exams, _SEED))
    print(f"{len(phantoms)} views of phantoms, {len(drawn)} films with masks, {len(films)} without", flush=True)
    folds: dict[str, tuple[Sequence[Sample], Sequence[Sample]]] = {
        "fold_0": (drawn[0::2], drawn[1::2]),
        "fold_1": (drawn[1::2], drawn[0::2]),
        "muscle": (drawn, []),
    }
    for seed, (name, (seen, unseen)) in enumerate(folds.items()):
        model, loss = train_segmenter(phantoms, seen, films, seed)
        data = frozen_graph(model)
        (arguments.out / f"{name}.pb").write_bytes(data)
        honest = f", Dice of {len(unseen)} films not trained on {_dice(model, unseen):.4f}" if unseen else ""
        print(f"{name}.pb: loss {loss:.4f}{honest}, SHA-256 {hashlib.sha256(data).hexdigest()}", flush=True)


if __name__ == "__main__":
    main()
