"""The texture model on its own: cross-validated by exam on a manifest of exams, and its cost.

    python -m benchmarks.texture ../shared/data/ddsm_browse/labels.csv

Pictures are read and preprocessed as in the product (``stretched``, muscle left out). Each exam is graded by a model
that was fitted to other exams. Kappa, recalls and AUC are scikit-learn's, with 95 % intervals from a bootstrap of the
exams, for the first division into folds; the kappa of other divisions stands beside it.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.metrics import cohen_kappa_score, recall_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from components.exam_model.preparation import prepare_file
from components.exam_model.recipe import PreprocessingRecipe
from components.preprocessing.config import PreprocessConfig
from components.statistics.combination import combine_views
from components.texture.classifier import TextureClassifier
from components.texture.config import TextureConfig
from components.texture.fitting import fit_texture_model
from components.texture.measuring import MeasuredViews
from components.texture.view_vector import view_vectors
from schema.features import DENSITY_CLASSES, VIEWS

_BATCH = 16
_DRAWS = 2000


def measure_manifest(manifest: Path, side: int) -> MeasuredViews:
    """Read, preprocess and measure the images of a manifest with the columns exam_id, view, file and density.

    Args:
        manifest: CSV file; files are relative to its folder.
        side: Side of the pictures, pixels.
    """
    with manifest.open(newline="", encoding="utf-8") as file:
        found = list(csv.DictReader(file))
    rows = sorted(found, key=lambda row: (row["exam_id"], VIEWS.index(row["view"]), row["file"]))
    recipe = PreprocessingRecipe(preprocess=PreprocessConfig(output_size=side, keep_aspect=False))
    spec = [tf.TensorSpec([None, side, side, 1], tf.uint8), tf.TensorSpec([None], tf.int32)]
    measure = tf.function(view_vectors, input_signature=spec, autograph=False)
    views = np.array([VIEWS.index(row["view"]) for row in rows])
    vectors = []
    for start in range(0, len(rows), _BATCH):
        part = rows[start : start + _BATCH]
        pictures = [prepare_file(manifest.parent / row["file"], row["view"], recipe).result.image for row in part]
        vectors.append(measure(np.stack(pictures)[..., np.newaxis], views[start : start + _BATCH].astype(np.int32)))
    _, exams = np.unique([row["exam_id"] for row in rows], return_inverse=True)
    labels = np.array([DENSITY_CLASSES.index(row["density"]) for row in rows])
    return MeasuredViews(np.concatenate(vectors), labels, views, exams)


def milliseconds_per_view(side: int, repeats: int = 20) -> float:
    """Return the CPU time of the features of a view, the best of some repeats on one thread."""
    spec = [tf.TensorSpec([None, side, side, 1], tf.uint8), tf.TensorSpec([None], tf.int32)]
    measure = tf.function(view_vectors, input_signature=spec, autograph=False)
    pictures = np.random.default_rng(1).integers(0, 200, (len(VIEWS), side, side, 1)).astype(np.uint8)
    pictures[:, :, side * 2 // 3 :] = 0
    numbers = np.arange(len(VIEWS), dtype=np.int32)
    measure(pictures, numbers)
    best = np.inf
    for _ in range(repeats):
        start = time.process_time()
        measure(pictures, numbers)
        best = min(best, time.process_time() - start)
    return 1000 * best / len(VIEWS)


def cross_validated(measured: MeasuredViews, config: TextureConfig, folds: int, seed: int) -> NDArray[Any]:
    """Grade every exam by a model of the other folds: float64 [E, 4]."""
    _, first = np.unique(measured.exams, return_index=True)
    labels = measured.labels[first]
    graded = np.zeros((len(first), len(DENSITY_CLASSES)))
    for learnt, held_out in StratifiedKFold(folds, shuffle=True, random_state=seed).split(first, labels):
        train, test = np.isin(measured.exams, learnt), np.isin(measured.exams, held_out)
        part = MeasuredViews(*(v[train] for v in (measured.vectors, measured.labels, measured.views, measured.exams)))
        model = TextureClassifier(fit_texture_model(part, config))
        rows = np.asarray(model.probabilities(tf.constant(measured.vectors[test])))
        names = [VIEWS[view] for view in measured.views[test]]
        exams = combine_views([str(exam) for exam in measured.exams[test]], names, rows)
        graded[[int(exam) for exam in exams.exam_ids]] = exams.probabilities
    return graded


def _kappa(labels: NDArray[Any], probabilities: NDArray[Any]) -> float:
    return float(cohen_kappa_score(labels, probabilities.argmax(axis=1), weights="quadratic"))


def _median_kappa(labels: NDArray[Any], probabilities: NDArray[Any]) -> float:
    """Return kappa of the median rule: the grade is the number of k with P(y > k) above .5."""
    grades = (1 - np.cumsum(probabilities, axis=1)[:, :-1] > 0.5).sum(axis=1)
    return float(cohen_kappa_score(labels, grades, weights="quadratic"))


def _macro_recall(labels: NDArray[Any], probabilities: NDArray[Any]) -> float:
    return float(recall_score(labels, probabilities.argmax(axis=1), average="macro"))


def _dense_auc(labels: NDArray[Any], probabilities: NDArray[Any]) -> float:
    return float(roc_auc_score(labels >= 2, probabilities[:, 2:].sum(axis=1)))


def _class_recall(number: int) -> Callable[[NDArray[Any], NDArray[Any]], float]:
    return lambda labels, p: float((p[labels == number].argmax(axis=1) == number).mean())


def describe(labels: NDArray[Any], probabilities: NDArray[Any], seed: int) -> list[str]:
    """Return one line per metric with its 95 % interval."""
    metrics = {
        "quadratic kappa": _kappa,
        "quadratic kappa, median rule": _median_kappa,
        "macro recall": _macro_recall,
        "dense AUC": _dense_auc,
        **{f"recall of {name}": _class_recall(number) for number, name in enumerate(DENSITY_CLASSES)},
    }
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, len(labels), len(labels)) for _ in range(_DRAWS)]
    lines = []
    for name, metric in metrics.items():
        low, high = np.nanpercentile([metric(labels[d], probabilities[d]) for d in draws], (2.5, 97.5))
        lines.append(f"{name}: {metric(labels, probabilities):.3f} ({low:.3f} to {high:.3f})")
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    """Print cost and figures of the texture model at some sides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--sides", type=int, nargs="+", default=[TextureConfig().side])
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    given = parser.parse_args(arguments)
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for side in given.sides:
        print(f"{side} pixels: {milliseconds_per_view(side):.1f} ms of CPU per view")
        measured = measure_manifest(given.manifest, side)
        _, first = np.unique(measured.exams, return_index=True)
        labels = measured.labels[first]
        for number, seed in enumerate(given.seeds):
            graded = cross_validated(measured, TextureConfig(side=side), given.folds, seed)
            kappa = _kappa(labels, graded)
            print(f"{len(labels)} exams, {given.folds} folds by seed {seed}: quadratic kappa {kappa:.3f}", flush=True)
            if number == 0:
                print("\n".join(describe(labels, graded, 1)), flush=True)


if __name__ == "__main__":
    main()
