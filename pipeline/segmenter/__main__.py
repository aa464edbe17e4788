"""Command line of the training: networks that have not seen some films, for honest benchmarks, and the shipped one."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.segmenter.samples import Sample, drawn_samples, film_samples, phantom_samples, site_of
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


def halves(drawn: Sequence[Sample]) -> dict[str, tuple[Sequence[Sample], Sequence[Sample]]]:
    """Return what each network sees and does not see: either half of the drawn films, and all of them."""
    return {"fold_0": (drawn[0::2], drawn[1::2]), "fold_1": (drawn[1::2], drawn[0::2]), "muscle": (drawn, [])}


def sites(drawn: Sequence[Sample]) -> dict[str, tuple[Sequence[Sample], Sequence[Sample]]]:
    """Return what each network sees and does not see: all sites but one, and this one."""
    return {
        f"site_{site}": (
            [sample for sample in drawn if site_of(sample) != site],
            [sample for sample in drawn if site_of(sample) == site],
        )
        for site in sorted({site_of(sample) for sample in drawn})
    }


def without_sites(films: Sequence[Sample], unseen: Sequence[Sample], by_site: bool) -> list[Sample]:
    """Return the films without masks that a network may see: if films are kept aside by site, none of these sites."""
    hidden = {site_of(sample) for sample in unseen} if by_site else set()
    return [film for film in films if site_of(film) not in hidden]


def main() -> None:
    """Train and write ``muscle.pb``, ``fold_0.pb`` and ``fold_1.pb``, or ``site_A.pb`` and so on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--masks", type=Path, required=True, help="films with drawn masks: index.csv")
    parser.add_argument("--films", type=Path, required=True, help="films without masks: labels.csv")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--exams", type=int, default=360, help="phantom exams to train on")
    parser.add_argument(
        "--folds",
        choices=("halves", "sites"),
        default="halves",
        help="halves: fold_0.pb, fold_1.pb and the shipped muscle.pb; sites: site_A.pb ..., trained without one site",
    )
    arguments = parser.parse_args()
    # The same weights from the same samples, on one kind of machine.
    tf.config.experimental.enable_op_determinism()
    arguments.out.mkdir(parents=True, exist_ok=True)
    drawn = drawn_samples(arguments.masks)
    films = film_samples(arguments.films, {sample.name for sample in drawn})
    phantoms = list(phantom_samples(arguments.exams, _SEED))
    print(f"{len(phantoms)} views of phantoms, {len(drawn)} films with masks, {len(films)} without", flush=True)
    folds = sites(drawn) if arguments.folds == "sites" else halves(drawn)
    for seed, (name, (seen, unseen)) in enumerate(folds.items()):
        others = without_sites(films, unseen, arguments.folds == "sites")
        model, loss = train_segmenter(phantoms, seen, others, seed)
        data = frozen_graph(model)
        (arguments.out / f"{name}.pb").write_bytes(data)
        honest = f", Dice of {len(unseen)} films not trained on {_dice(model, unseen):.4f}" if unseen else ""
        print(f"{name}.pb: loss {loss:.4f}{honest}, SHA-256 {hashlib.sha256(data).hexdigest()}", flush=True)


if __name__ == "__main__":
    main()
