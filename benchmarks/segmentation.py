"""Segmentation quality: the methods side by side on images whose muscle is known, as a section in Markdown.

    python -m benchmarks.segmentation [--masks DIR] [--films DIR] [--exams 60] [--seed 20210] [--reduction 4]

``--masks`` is a folder with ``index.csv`` (columns case, view, image, mask) and grey masks in which 255 is the muscle.
Every such image is scored with the network of ``benchmarks/segmenter`` that was trained without it: the shipped one has
seen them all. ``--films`` is a folder with ``labels.csv`` (columns exam_id, view, file); the craniocaudal views of the
exams that no network has seen are given out as oblique ones, to see who invents a muscle. Phantom exams are made first;
their seed is none that a network was trained on. In brackets: 95 % bootstrap intervals over images.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from components.dicom.reading import load_view
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.network import SHIPPED, Weights
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.preprocessed_view import PreprocessedView
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from pipeline.segmenter.samples import is_trained_on
from schema.features import is_mlo, laterality_of

Mask = NDArray[np.bool_]
Method = Callable[["Case"], PreprocessedView]

_MUSCLE = 255  # grey of the muscle in a mask of the real images
_RESAMPLES = 2000
_FOLDS = Path(__file__).with_name("segmenter")
_LONGEST_SIDE = 1024


@dataclass(frozen=True)
class Case:
    """An image whose truth is known.

    Attributes:
        name: Which image, for the list of the worst.
        pixels: uint8 or uint16 [H, W].
        view: View that the method is told, MLO for all, so that it looks for a muscle.
        muscle: bool [H, W].
        breast: bool [H, W], breast and muscle; None where it is not known.
    """

    name: str
    pixels: NDArray[Any]
    view: str
    muscle: Mask
    breast: Mask | None = None


@dataclass(frozen=True)
class Score:
    """How a method did on an image with a muscle.

    Attributes:
        dice: 0..1; 0 where no muscle was found.
        jaccard: 0..1.
        false_positive: Area found that is no muscle, share of the muscle's area.
        false_negative: Muscle not found, share of the muscle's area.
        found: Whether any muscle was found.
    """

    dice: float
    jaccard: float
    false_positive: float
    false_negative: float
    found: bool


def score(found: Mask, truth: Mask) -> Score:
    """Compare two masks of equal shape; ``truth`` is not empty."""
    both, either, area = int((found & truth).sum()), int((found | truth).sum()), int(truth.sum())
    return Score(
        dice=2 * both / (both + either),
        jaccard=both / either,
        false_positive=int((found & ~truth).sum()) / area,
        false_negative=(area - both) / area,
        found=bool(found.any()),
    )


def interval(values: Sequence[float]) -> str:
    """Format a mean with its 95 % percentile bootstrap interval."""
    sample = np.asarray(values, np.float64)
    if sample.size == 0:
        return "-"
    picks = np.random.default_rng(0).integers(sample.size, size=(_RESAMPLES, sample.size))
    low, high = np.quantile(sample[picks].mean(axis=1), (0.025, 0.975))
    return f"{sample.mean():.3f} [{low:.3f}, {high:.3f}]"


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _grey(path: Path) -> NDArray[Any]:
    picture = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise FileNotFoundError(f"{path}: OpenCV reads no picture here.")
    return picture


def drawn_cases(folder: Path) -> Iterator[Case]:
    """Read images with drawn masks, in order of their case."""
    for row in sorted(_rows(folder / "index.csv"), key=lambda row: row["case"]):
        mask = _grey(folder / row["mask"]) == _MUSCLE
        yield Case(row["case"], _grey(folder / row["image"]), row["view"], mask)


def film_cases(folder: Path) -> Iterator[Case]:
    """Read craniocaudal films that no network has seen."""
    for row in _rows(folder / "labels.csv"):
        if not is_mlo(row["view"]) and not is_trained_on(row["exam_id"]):
            pixels = _grey(folder / row["file"])
            view = f"MLO_{laterality_of(row['view'])}"
            yield Case(row["file"], pixels, view, np.zeros(pixels.shape, np.bool_))


def preprocess(
    case: Case, method: Literal["auto", "thesis"], weights: dict[str, Weights] | None = None
) -> PreprocessedView:
    """Preprocess a case, with the shipped network by default."""
    chosen = weights[case.name] if weights else SHIPPED
    return preprocess_view(case.pixels, case.view, PreprocessConfig(method=method), weights=chosen)


def unseen_weights(cases: Sequence[Case], folder: Path = _FOLDS) -> dict[str, Weights]:
    """Return for each case, in the order of names, the network of ``folder`` that was trained on the other half."""
    files = [folder / f"fold_{fold}.pb" for fold in (0, 1)]
    folds = [Weights(file, hashlib.sha256(file.read_bytes()).hexdigest()) for file in files]
    # fold_0 has seen the first, the third, the fifth ... of them.
    return {case.name: folds[1 - index % 2] for index, case in enumerate(cases)}


def _truth(path: Path, shape: tuple[int, ...]) -> Mask:
    mask = _grey(path).astype(np.float32)
    return np.asarray(cv2.resize(mask, shape[::-1], interpolation=cv2.INTER_AREA) > 127.5)


def phantom_cases(folder: Path, exams: int, seed: int, reduction: int) -> Iterator[Case]:
    """Make phantom exams and read them as ingest does; craniocaudal views get the name of an oblique view."""
    config = PhantomConfig(exams=exams, seed=seed, reduction=reduction, system_weights=(1, 1, 1, 1))
    generate_phantoms(config, folder)
    for path in sorted(folder.glob("images/*/*.dcm")):
        pixels = load_view(path, None, _LONGEST_SIDE).pixels
        truth = folder / "truth" / path.parent.name / path.stem
        muscle, breast = (
            _truth(truth.with_name(f"{path.stem}.{part}.png"), pixels.shape) for part in ("pectoral", "breast")
        )
        yield Case(f"{path.parent.name}/{path.stem}", pixels, f"MLO_{path.stem[-1]}", muscle, breast)


def table(title: str, cases: Sequence[Case], methods: dict[str, Method], worst: int = 5) -> str:
    """Run methods on cases with or without a muscle; return a table in Markdown and the worst cases."""
    with_muscle = [case for case in cases if case.muscle.any()]
    without = [case for case in cases if not case.muscle.any()]
    columns: dict[str, dict[str, str]] = {}
    remarks = []
    for name, method in methods.items():
        started = time.process_time()
        results = {case.name: method(case) for case in cases}
        milliseconds = 1000 * (time.process_time() - started) / len(cases)
        scores = [score(results[case.name].pectoral_mask, case.muscle) for case in with_muscle]
        larger = np.array([max(s.false_positive, s.false_negative) for s in scores])
        breasts = [score(results[c.name].breast_mask, c.breast).dice for c in cases if c.breast is not None]
        invented = [case.name for case in without if results[case.name].pectoral_mask.any()]
        column = {}
        if scores:
            column = {
                "Dice": interval([s.dice for s in scores]),
                "Jaccard": interval([s.jaccard for s in scores]),
                "false positive area": interval([s.false_positive for s in scores]),
                "false negative area": interval([s.false_negative for s in scores]),
                "both errors under 5 %": interval((larger < 0.05).tolist()),
                "both errors under 10 %": interval((larger < 0.10).tolist()),
                "missed muscles": f"{sum(not s.found for s in scores)} of {len(scores)}",
            }
        if without:
            column["invented muscles"] = f"{len(invented)} of {len(without)}"
        if breasts:
            column["breast and muscle: Dice"] = interval(breasts)
        columns[name] = column | {"CPU ms an image, one core": f"{milliseconds:.0f}"}
        ranked = sorted(zip(scores, with_muscle, strict=True), key=lambda pair: pair[0].dice)[:worst]
        listed = [f"{case.name} {s.dice:.3f} (doubt {results[case.name].doubt:.2f})" for s, case in ranked]
        listed += [f"{case} invented (doubt {results[case].doubt:.2f})" for case in invented[:worst]]
        remarks.append(f"Worst of {name}: {', '.join(listed) or 'none'}.")
    head = [f"| {title} | {' | '.join(methods)} |", "|---" * (1 + len(methods)) + "|"]
    rows = [f"| {key} | {' | '.join(columns[name][key] for name in methods)} |" for key in columns[next(iter(methods))]]
    return "\n".join([*head, *rows, "", *(f"- {remark}" for remark in remarks), ""])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--masks", type=Path, default=Path("../shared/data/ddsm_pectoral"))
    parser.add_argument("--films", type=Path, default=Path("../shared/data/ddsm_browse"))
    parser.add_argument("--exams", type=int, default=60)
    parser.add_argument("--seed", type=int, default=20210)
    parser.add_argument("--reduction", type=int, default=4)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    thesis: Method = partial(preprocess, method="thesis")
    methods: dict[str, Method] = {"`thesis`": thesis, "`auto`": partial(preprocess, method="auto")}
    print("## Segmentation of the pectoral muscle\n")
    if (arguments.masks / "index.csv").is_file():
        drawn = list(drawn_cases(arguments.masks))
        crossed: Method = partial(preprocess, method="auto", weights=unseen_weights(drawn))
        title = f"films with drawn masks, n = {len(drawn)}"
        print(table(title, drawn, {"`thesis`": thesis, "`auto`, network trained without the image": crossed}))
    else:
        print(f"Films with drawn masks are left out: {arguments.masks / 'index.csv'} does not exist.\n")
    with tempfile.TemporaryDirectory() as folder:
        phantoms = list(phantom_cases(Path(folder, "data"), arguments.exams, arguments.seed, arguments.reduction))
    oblique = [case for case in phantoms if is_mlo(case.name.split("/")[1])]
    print(table(f"phantoms, MLO, n = {len(oblique)}", oblique, methods))
    print("Craniocaudal views are never searched for a muscle. What if they were, under the name of an oblique view:\n")
    craniocaudal = [case for case in phantoms if not is_mlo(case.name.split("/")[1]) and not case.muscle.any()]
    print(table(f"phantoms, CC as MLO, n = {len(craniocaudal)}", craniocaudal, methods))
    if (arguments.films / "labels.csv").is_file():
        films = list(film_cases(arguments.films))
        print(table(f"films, CC as MLO, n = {len(films)}", films, methods))
    else:
        print(f"Craniocaudal films are left out: {arguments.films / 'labels.csv'} does not exist.\n")


if __name__ == "__main__":
    main()
