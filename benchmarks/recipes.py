"""Compares training recipes by cross-validation on a labelled archive of images.

    python -m benchmarks.recipes labels.csv small small+pipeline.trainer.sides=mirrored --set pipeline.trainer.epochs=20

A recipe is a configuration's name, with overrides after ``+``. Images are preprocessed once. Every recipe is trained
on the same folds, which are by exam; a sixth of the training exams chooses the epoch. The exam's probabilities are the
mean of its views', the figures those of all folds' test exams together. Intervals are 95 %, from 2,000 bootstrap
resamples of the exams, and the same resamples give those of the differences from the first recipe. The predictions of
each recipe are kept in the folder ``--out`` and not computed again; ``breast-density evaluate`` reads them.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold

from components.exam_model.preparation import prepare_file
from components.exam_model.recipe import PreprocessingRecipe
from components.statistics.confusion import accuracy, macro_recall, weighted_kappa
from components.trainer.config import TrainConfig
from components.trainer.input_pipeline import array_batches
from components.trainer.loop import class_weights, train
from components.transform.class_outputs import class_probabilities
from components.transform.images import normalise
from pipeline.config import PipelineConfig, find_config, load_config
from schema.features import DENSITY_CLASSES, laterality_of

_RESAMPLES: Final = 2000
_EVAL_FOLDS: Final = 6  # one of them chooses the epoch
_FIGURES: Final = ("accuracy", "macro recall", "quadratic kappa")


@dataclass(frozen=True)
class Archive:
    """Preprocessed views.

    Attributes:
        images: uint8 [N, size, size, 1].
        views: Names [N].
        exams: Identifiers [N].
        labels: int64 [N].
    """

    images: NDArray[Any]
    views: NDArray[Any]
    exams: NDArray[Any]
    labels: NDArray[Any]

    def of(self, views: Sequence[str], exams: NDArray[Any], mirrored: bool) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return images and labels of some views of some exams; right breasts are flipped if mirrored."""
        rows = np.isin(self.views, views) & np.isin(self.exams, exams)
        images = self.images[rows]
        if mirrored:
            right = np.array([laterality_of(view) == "R" for view in self.views[rows]])
            images[right] = images[right, :, ::-1]
        return images, self.labels[rows]


def _preprocessed(manifest: Path, recipe: PreprocessingRecipe, out: Path) -> Archive:
    key = hashlib.sha256(manifest.read_bytes() + recipe.model_dump_json().encode()).hexdigest()[:16]
    kept = out / f"views_{key}.npz"
    if not kept.exists():
        rows = list(csv.DictReader(manifest.read_text(encoding="utf-8").splitlines()))
        images = [prepare_file(manifest.parent / row["file"], row["view"], recipe).result.image for row in rows]
        np.savez(
            kept,
            images=np.stack(images)[..., np.newaxis],
            views=np.array([row["view"] for row in rows]),
            exams=np.array([row["exam_id"] for row in rows]),
            labels=np.array([DENSITY_CLASSES.index(row["density"]) for row in rows], np.int64),
        )
    with np.load(kept) as file:
        return Archive(**dict(file))


def _folds(archive: Archive, count: int) -> Iterator[tuple[NDArray[Any], NDArray[Any], NDArray[Any]]]:
    """Yield exams of training, eval and test, each class spread evenly."""
    exams, first = np.unique(archive.exams, return_index=True)
    labels = archive.labels[first]
    for rest, test in StratifiedKFold(count, shuffle=True, random_state=0).split(exams, labels):
        inner = StratifiedKFold(_EVAL_FOLDS, shuffle=True, random_state=0).split(rest, labels[rest])
        training, validation = next(inner)
        yield exams[rest[training]], exams[rest[validation]], exams[test]


def _predict(archive: Archive, config: TrainConfig, folds: int, only: int) -> NDArray[Any]:
    """Train on each fold: probabilities of the test views, [N, 4], NaN where no fold was run."""
    mirrored = config.mirrors_right
    probabilities = np.full((len(archive.labels), len(DENSITY_CLASSES)), np.nan, np.float32)
    for number, (training, validation, test) in enumerate(_folds(archive, folds)):
        if number >= only:
            break
        for name, views in config.views_by_network.items():
            started = time.monotonic()
            images, labels = archive.of(views, training, mirrored)
            trained = train(
                array_batches(images, labels, config, training=True),
                array_batches(*archive.of(views, validation, mirrored), config, training=False),
                class_weights(labels.tolist(), config),
                config,
            )
            held_out = normalise(archive.of(views, test, mirrored)[0], config.image).numpy()
            logits = trained.network.predict(held_out, verbose=0)
            rows = np.isin(archive.views, views) & np.isin(archive.exams, test)
            probabilities[rows] = class_probabilities(tf.constant(logits)).numpy()
            note = f"fold {number + 1}, {name}: best epoch {trained.best_epoch}, {time.monotonic() - started:.0f} s"
            print(note, file=sys.stderr, flush=True)
    return probabilities


def _write(path: Path, archive: Archive, probabilities: NDArray[Any]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["exam_id", "view", "label", *(f"p_{name}" for name in DENSITY_CLASSES)])
        for exam, view, label, row in zip(archive.exams, archive.views, archive.labels, probabilities, strict=True):
            if np.isfinite(row).all():
                writer.writerow([exam, view, DENSITY_CLASSES[label], *(f"{value:.6f}" for value in row)])


def _grades(path: Path) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Read predictions: exams, labels and grades by the mean of the views, each [E]."""
    rows = list(csv.DictReader(path.read_text(encoding="utf-8").splitlines()))
    exams, index = np.unique([row["exam_id"] for row in rows], return_inverse=True)
    total = np.zeros((len(exams), len(DENSITY_CLASSES)))
    np.add.at(total, index, [[float(row[f"p_{name}"]) for name in DENSITY_CLASSES] for row in rows])
    labels = np.zeros(len(exams), int)
    labels[index] = [DENSITY_CLASSES.index(row["label"]) for row in rows]
    return exams, labels, total.argmax(axis=1)


def _figures(labels: NDArray[Any], grades: NDArray[Any], samples: NDArray[Any]) -> NDArray[Any]:
    """Compute the figures of each resample: rows of exam numbers [B, E] to [B, 3]."""
    classes = len(DENSITY_CLASSES)
    cells = (labels * classes + grades)[samples]
    counts = np.stack([np.bincount(row, minlength=classes**2) for row in cells])
    matrices = counts.reshape(-1, classes, classes).astype(float)
    return np.stack([accuracy(matrices), macro_recall(matrices), weighted_kappa(matrices, 2)], axis=1)


def _with_interval(value: float, resampled: NDArray[Any]) -> str:
    low, high = np.quantile(resampled, (0.025, 0.975))
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _table(files: dict[str, Path], seconds: dict[str, float]) -> str:
    graded = {name: _grades(path) for name, path in files.items()}
    exams, labels, _ = next(iter(graded.values()))
    if any(not np.array_equal(exams, other[0]) for other in graded.values()):
        raise SystemExit("The recipes were run on different exams: remove the older tables of the --out folder.")
    everyone = np.arange(len(exams))[np.newaxis]
    samples = np.random.default_rng(0).integers(0, len(exams), (_RESAMPLES, len(exams)))
    values = {name: _figures(labels, found[2], everyone)[0] for name, found in graded.items()}
    draws = {name: _figures(labels, found[2], samples) for name, found in graded.items()}
    first = next(iter(graded))
    lines = [
        f"{len(exams)} exams.",
        "",
        "| recipe | " + " | ".join(_FIGURES) + " | training |",
        "|---|---|---|---|---|",
    ]
    for name in graded:
        cells = [_with_interval(values[name][i], draws[name][:, i]) for i in range(len(_FIGURES))]
        duration = f"{seconds[name]:.0f} s" if name in seconds else "kept"
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {duration} |")
        if name != first:
            differences = draws[name] - draws[first]
            cells = [
                _with_interval(values[name][i] - values[first][i], differences[:, i]) for i in range(len(_FIGURES))
            ]
            lines.append("| difference from the first | " + " | ".join(cells) + " | |")
    return "\n".join(lines)


def _config(recipe: str, overrides: Sequence[str]) -> PipelineConfig:
    name, *own = recipe.split("+")
    return load_config(find_config(name), [*overrides, *own]).pipeline


def main() -> None:
    """Train the named recipes and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="CSV with columns exam_id, view, file, density")
    parser.add_argument("recipes", nargs="+", help="CONFIG or CONFIG+KEY=VALUE+...")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for every recipe")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--only", type=int, help="run the first folds alone")
    parser.add_argument("--out", type=Path, default=Path("runs/recipes"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    files, seconds = {}, {}
    for recipe in arguments.recipes:
        config = _config(recipe, arguments.set)
        only = arguments.only or arguments.folds
        identity = f"{config.model_dump_json()} {arguments.folds} {only}".encode()
        files[recipe] = arguments.out / f"predictions_{hashlib.sha256(identity).hexdigest()[:16]}.csv"
        if not files[recipe].exists():
            archive = _preprocessed(arguments.manifest, config.recipe, arguments.out)
            started = time.monotonic()
            _write(files[recipe], archive, _predict(archive, config.trainer, arguments.folds, only))
            seconds[recipe] = time.monotonic() - started
    print(_table(files, seconds))


if __name__ == "__main__":
    main()
