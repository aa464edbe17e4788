"""How well heat maps explain: rank correlation with tissue, deletion and insertion, and what they cost.

    python -m benchmarks.heat_maps RUN [--split test] [--stages 5 3,5]

RUN is the folder of a pipeline's run; its networks explain its split. Prints a section of Markdown: for Grad-CAM, and
for LayerCAM of each choice of stages, the mean over views and the paired difference to Grad-CAM, with 95 % intervals
from a bootstrap over exams.

Deletion (insertion): the pixels of the breast, hottest first, are replaced by (put into) its mean grey in eight steps;
the value is the area under the probability of the explained class. Low deletion and high insertion are good. Source:
Petsiuk, Das, Saenko, RISE: Randomized Input Sampling for Explanation of Black-box Models, 2018, arXiv 1806.07421,
section 3.2.

Cost: grade and maps of an exam (``explain_exam``) against the grade (``predict_exam``), in alternation on one thread.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from components.common.png import decode_png
from components.common.views import View, read_views
from components.exam_ensemble.ensemble import load_exam_model
from components.exam_model.heat_source import GRAD_CAM, HeatMapConfig
from components.exam_model.saved_model import load_contract
from components.exam_model.signatures import ExamSettings, export
from components.grad_cam_explainer.heat_maps import score_heat_map
from components.grad_cam_explainer.mean_scores import mean_over_exams
from components.grad_cam_explainer.networks import (
    NetworkParts,
    load_networks,
    maps_of,
    network_input,
    predicted_classes,
)
from components.statistics.intervals import Mean
from components.transform.class_outputs import class_probabilities
from components.transform.config import ImageConfig
from components.transform.images import normalise
from schema import features as f

_STEPS: Final = 8
_WARM, _ROUNDS = 5, 60
_COLUMNS: Final = ("spearman", "insertion", "deletion")


def _newest(files: Iterable[Path], above: int) -> Path:
    """Return the file of the newest execution: its number is the name of this folder above the file."""
    return max(files, key=lambda path: int(path.parents[above].name))


def _networks(run: Path) -> dict[str, str]:
    """Return the network file of each view."""
    found = {}
    for view in f.VIEWS:
        trainers = [run / "artifacts" / f"Trainer.{name}" / "model" for name in (view, view.split("_")[0], "ALL")]
        files = [path for trainer in trainers for path in trainer.glob("*/Format-Serving/network.keras")]
        found[view] = str(_newest(files, 1))
    return found


def _image(run: Path) -> tuple[ImageConfig, bool]:
    """Return the input of the networks, and whether they see right breasts mirrored."""
    models = (run / "artifacts" / "ExamEnsemble" / "model").glob("*/Format-Serving")
    contract = load_contract(str(_newest(models, 0)))
    form = contract.normalisation
    return ImageConfig(
        size=contract.image.height, channels=form.channels, normalisation=form.method
    ), form.right_views_flipped


def _edited(image: NDArray[Any], order: NDArray[Any], insert: bool) -> NDArray[Any]:
    """Return the steps of a deletion or insertion, float32 [_STEPS + 1, S, S]."""
    flat, fill = image.astype(np.float32).ravel(), float(image.ravel()[order].mean())
    steps = np.tile(flat, (_STEPS + 1, 1))
    for step in range(_STEPS + 1):
        count = round(len(order) * step / _STEPS)
        steps[step, order[count:] if insert else order[:count]] = fill
    return steps.reshape(_STEPS + 1, *image.shape)


def _area(parts: NetworkParts, images: NDArray[Any], target: int, config: ImageConfig) -> float:
    logits, _ = parts.logits_and_maps(normalise(images[..., np.newaxis], config), tf.zeros(len(images), tf.int64))
    curve = class_probabilities(logits).numpy()[:, target]
    return float((curve[1:] + curve[:-1]).mean() / 2)


def _measure(
    parts: NetworkParts, views: Sequence[View], image: ImageConfig, mirrored: bool
) -> list[dict[str, float | None]]:
    """Return the scores of each view's map."""
    inputs = network_input(views, image, mirrored=mirrored)
    classes = predicted_classes(parts, inputs)
    rows = []
    for number, (view, cells) in enumerate(zip(views, maps_of(parts, inputs, classes), strict=True)):
        size = (image.size, image.size)
        grey = cv2.resize(decode_png(view.image), size, interpolation=cv2.INTER_AREA).astype(np.uint8)
        regions = cv2.resize(decode_png(view.regions), size, interpolation=cv2.INTER_NEAREST).astype(np.uint8)
        if mirrored and f.laterality_of(view.view) == "R":
            grey, regions = grey[:, ::-1], regions[:, ::-1]
        heat = cv2.resize(cells, size, interpolation=cv2.INTER_LINEAR)
        tissue = np.flatnonzero(regions == f.REGION_BREAST)
        order = tissue[np.argsort(-heat.ravel()[tissue], kind="stable")]
        area = partial(_area, parts, target=int(classes[number]), config=image)
        rows.append(
            {
                "spearman": score_heat_map(heat, grey, regions).spearman,
                "insertion": area(_edited(grey, order, True)),
                "deletion": area(_edited(grey, order, False)),
            }
        )
    return rows


def _text(mean: Mean) -> str:
    if mean.value is None or mean.ci95 is None:
        return "–"
    return f"{mean.value:.3f} ({mean.ci95[0]:.3f} to {mean.ci95[1]:.3f})"


def _table(views: Sequence[View], scores: Mapping[str, Sequence[Mapping[str, float | None]]]) -> list[str]:
    lines = [f"| Map | Views | n | {' | '.join(_COLUMNS)} |", "|---|---|---|---|---|---|"]
    first = next(iter(scores.values()))
    for name, rows in scores.items():
        for which in ("all", *f.VIEWS):
            chosen = [i for i, view in enumerate(views) if which in ("all", view.view)]
            exams = [views[i].exam_id for i in chosen]
            cells = []
            for column in _COLUMNS:
                values = [rows[i][column] for i in chosen]
                cell = _text(mean_over_exams(values, exams))
                if rows is not first:
                    pairs = [(value, first[i][column]) for i, value in zip(chosen, values, strict=True)]
                    gains = [None if one is None or two is None else one - two for one, two in pairs]
                    cell += f"; {_text(mean_over_exams(gains, exams))}"
                cells.append(cell)
            lines.append(f"| {name} | {which} | {len(chosen)} | {' | '.join(cells)} |")
    return lines


def _cost(files: Mapping[str, str], image: ImageConfig, heat_map: HeatMapConfig, views: Sequence[View]) -> float:
    """Return the time of grade and maps over that of the grade: the median of pairs of calls."""
    with tempfile.TemporaryDirectory() as folder:
        export(load_exam_model(files, image, ExamSettings("{}", heat_map=heat_map)), folder)
        model = tf.saved_model.load(folder)
    exam = {
        "image_bytes": tf.constant([view.image for view in views]),
        "view": tf.constant([view.view for view in views]),
        "exam_id": tf.constant(["exam"] * len(views)),
    }

    def seconds(name: str, **more: tf.Tensor) -> float:
        begun = time.perf_counter()
        model.signatures[name](**exam, **more)
        return time.perf_counter() - begun

    target = tf.constant([""])
    ratios = [seconds("explain_exam", target_class=target) / seconds("predict_exam") for _ in range(_WARM + _ROUNDS)]
    return statistics.median(ratios[_WARM:])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--split", default="test", choices=("train", "eval", "test"))
    parser.add_argument("--stages", nargs="+", default=["5", "3,5"])
    given = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    chosen = [HeatMapConfig(method="layer_cam", stages=tuple(map(int, text.split(",")))) for text in given.stages]
    files, (image, mirrored) = _networks(given.run), _image(given.run)
    folders = (given.run / "artifacts" / "MammogramPreprocessor" / "preprocessed_examples").glob(
        f"*/Split-{given.split}"
    )
    views = sorted(read_views(str(_newest(folders, 0))), key=lambda view: f.VIEWS.index(view.view))
    scores = {}
    for heat_map in (GRAD_CAM, *chosen):
        rows = []
        for view, parts in zip(f.VIEWS, load_networks((files[view] for view in f.VIEWS), heat_map), strict=True):
            rows += _measure(parts, [one for one in views if one.view == view], image, mirrored)
        scores[heat_map.name] = rows
    exams = len({view.exam_id for view in views})
    print(f"## Heat maps of {exams} exams\n\nAfter a semicolon: the difference to Grad-CAM.\n")
    print("\n".join(_table(views, scores)))
    print("\n| Map | Grade and maps / grade |\n|---|---|")
    for heat_map in (GRAD_CAM, *chosen):
        first = views[0].exam_id
        ratio = _cost(files, image, heat_map, [view for view in views if view.exam_id == first])
        print(f"| {heat_map.name} | {ratio:.3f} |")


if __name__ == "__main__":
    main()
