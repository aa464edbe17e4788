"""Training samples: regions of interest with the muscle's mask, from phantoms, drawn masks and unlabelled films."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.chest_wall import orient_chest_wall_left
from components.preprocessing.muscle_edge import cut_breast_box
from pipeline.phantom.appearance import APPEARANCES, Appearance
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.exam import draw_exam, make_view
from pipeline.phantom.plan import plan_exams
from schema.features import is_mlo

# Finer than the network's grid, because augmentation cuts into it.
SHAPE: Final = (192, 144)
_MUSCLE: Final = 255  # grey of the muscle in a drawn mask
_REDUCTION: Final = 8  # of the phantoms' matrix
_ABSENT: Final = 0.2  # share of the phantoms' oblique views without a muscle; a rare case in real life
_VIEWS: Final = ("MLO_R", "MLO_L", "CC_L")


@dataclass(frozen=True)
class Sample:
    """A region of interest on a fixed grid.

    Attributes:
        name: Exam or case, and view.
        grey: float32 [192, 144], the breast spans about 0..1.
        mask: float32 [192, 144], breast and muscle, 0..1.
        muscle: float32 [192, 144], 0..1.
    """

    name: str
    grey: NDArray[np.float32]
    mask: NDArray[np.float32]
    muscle: NDArray[np.float32]


def _reduced(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float32]:
    reduced = cv2.resize(values.astype(np.float32), (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(reduced, np.float32)


def make_sample(name: str, pixels: NDArray[Any], view: str, muscle: NDArray[np.bool_]) -> Sample | None:
    """Cut out the region as preprocessing does; return None if there is no breast.

    Args:
        name: Name of the sample.
        pixels: uint8 or uint16 [H, W], bright = dense.
        view: View name.
        muscle: bool [H, W].
    """
    oriented = orient_chest_wall_left(pixels, view)
    if oriented.foreground.reason:
        return None
    region = cut_breast_box(oriented.work.grey, oriented.foreground.mask)
    mirrored = muscle[:, ::-1] if oriented.mirrored else muscle
    height, width = region.mask.shape
    small = _reduced(mirrored, (oriented.work.grey.shape[0], oriented.work.grey.shape[1]))
    inside = small[region.top : region.top + height, region.left : region.left + width]
    return Sample(name, _reduced(region.grey, SHAPE), _reduced(region.mask, SHAPE), _reduced(inside, SHAPE))


def _displayed(stored: NDArray[np.uint16], appearance: Appearance) -> NDArray[np.uint16]:
    """Stored pixels through the system's linear window; augmentation varies the tone curve anyway."""
    full_scale = (1 << appearance.bits_stored) - 1
    share = stored / full_scale
    low, high = appearance.window
    shown = np.clip(((1 - share if appearance.inverted else share) - low) / (high - low), 0, 1)
    result: NDArray[np.uint16] = np.rint(65535 * shown).astype(np.uint16)
    return result


def phantom_samples(exams: int, seed: int) -> Iterator[Sample]:
    """Make phantom views of all systems and classes: two oblique and one craniocaudal view per exam."""
    config = PhantomConfig(
        exams=exams,
        seed=seed,
        reduction=_REDUCTION,
        distribution="uniform",
        system_weights=(1, 1, 1, 1),
        repeat_share=0.0,
    )
    for plan in plan_exams(config):
        source = draw_exam(plan, config)
        for view in _VIEWS:
            made = make_view(source, view, _ABSENT)
            pixels = _displayed(made.stored, APPEARANCES[plan.system])
            sample = make_sample(f"{plan.exam_id}/{view}", pixels, view, made.pectoral)
            if sample is not None:
                yield sample


def _read_grey(path: Path) -> NDArray[np.uint8]:
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if pixels is None:
        raise OSError(f"{path}: no readable picture")
    return np.asarray(pixels, np.uint8)


def _rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def drawn_samples(folder: Path) -> list[Sample]:
    """Read images with drawn masks, in order of their case.

    Args:
        folder: Holds ``index.csv`` with the columns case, view, image, mask; 255 is the muscle in a mask.
    """
    rows = sorted(_rows(folder / "index.csv"), key=lambda row: row["case"])
    samples = (
        make_sample(
            row["case"], _read_grey(folder / row["image"]), row["view"], _read_grey(folder / row["mask"]) == _MUSCLE
        )
        for row in rows
    )
    return [sample for sample in samples if sample is not None]


def film_samples(folder: Path, without: set[str]) -> list[Sample]:
    """Read unlabelled films; craniocaudal ones show no muscle, oblique ones get their masks from a network.

    Half of the exams are left for benchmarks where it is craniocaudal views that are asked for.

    Args:
        folder: Holds ``labels.csv`` with the columns exam_id, view, file.
        without: Exams that must not be trained on.
    """
    samples = []
    for row in sorted(_rows(folder / "labels.csv"), key=lambda row: row["file"]):
        if row["exam_id"] in without or not (is_mlo(row["view"]) or is_trained_on(row["exam_id"])):
            continue
        pixels = _read_grey(folder / row["file"])
        name = f"{row['exam_id']}/{row['view']}"
        sample = make_sample(name, pixels, row["view"], np.zeros(pixels.shape, np.bool_))
        if sample is not None:
            samples.append(sample)
    return samples


def is_trained_on(exam_id: str) -> bool:
    """Return True if training uses the craniocaudal films of an exam: even numbers, such as A_0006_1."""
    return int(exam_id.split("_")[1]) % 2 == 0


def site_of(sample: Sample) -> str:
    """Return the site and film scanner of a DDSM film: the first letter of its exam."""
    return sample.name[0]
