"""Film labels that touch the breast are cut off; tissue is not."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.preprocessing.background import Foreground, find_foreground
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.grey_levels import to_working
from components.preprocessing.preprocess import preprocess_view
from tests.components.preprocessing.synthetic_views import Dice, MakeView
from tests.pictures import read_picture

BROWSE = Path(__file__).parents[3] / ".." / "shared" / "data" / "ddsm_browse"


def with_plate(pixels: np.ndarray, x: int, y: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw a tilted plate with white letters on the picture; return the picture and the plate's mask."""
    letters = np.zeros((110, 190), np.uint8)  # OpenCV 5 writes on 8 bits only
    for row in range(3):
        cv2.putText(letters, "MAMMOGR", (6, 32 + 33 * row), cv2.FONT_HERSHEY_SIMPLEX, 1.2, (1,), 6)
    plate = np.where(letters > 0, 4095, 700).astype(np.uint16)
    turn = cv2.getRotationMatrix2D((95, 55), -50, 1.0) + np.array([[0, 0, x - 95], [0, 0, y - 55]])
    size = (pixels.shape[1], pixels.shape[0])
    where = cv2.warpAffine(np.ones(plate.shape, np.uint8), turn, size, flags=cv2.INTER_NEAREST).astype(bool)
    return np.where(where, cv2.warpAffine(plate, turn, size), pixels).astype(np.uint16), where


@pytest.mark.parametrize("wall_left", [True, False])
def test_a_plate_at_the_skin_line_is_cut_off_and_the_view_is_doubtful(
    make_view: MakeView, dice: Dice, wall_left: bool
) -> None:
    truth = make_view(640, 480, label=False)
    pixels, plate = with_plate(truth.pixels, 350, 190)
    assert (plate & truth.breast).any()  # it touches
    turn = np.s_[:, :] if wall_left else np.s_[:, ::-1]
    result = preprocess_view(np.ascontiguousarray(pixels[turn]), "MLO_L", PreprocessConfig())
    assert (result.breast_mask[turn] & plate).sum() < 0.05 * plate.sum()
    assert dice(result.breast_mask[turn], truth.breast & ~plate) > 0.95
    assert result.doubt >= 0.9
    assert "film label" in result.measurements.reasons[-1]
    clean = preprocess_view(truth.pixels, "MLO_L", PreprocessConfig())
    assert clean.doubt < 0.9
    assert not any("film label" in reason for reason in clean.measurements.reasons)


def _browse(exam: str, view: str) -> Foreground:
    path = BROWSE / "images" / f"{exam}.{view}.jpg"
    if not path.exists():
        pytest.skip("../shared/data/ddsm_browse is not here")
    grey = read_picture(path, cv2.IMREAD_GRAYSCALE)
    return find_foreground(to_working(grey).grey)


@pytest.mark.parametrize(
    ("exam", "view", "box"),
    [  # position of the label in the picture: rows, columns
        ("A_0420_1", "MLO_R", np.s_[20:118, 0:50]),
        ("A_0420_1", "MLO_L", np.s_[20:110, 145:182]),
        ("A_0417_1", "MLO_R", np.s_[30:140, 30:90]),
        ("A_0518_1", "MLO_L", np.s_[28:80, 132:182]),
    ],
)
def test_labels_on_real_films_are_cut_off(exam: str, view: str, box: tuple[slice, slice]) -> None:
    found = _browse(exam, view)
    assert found.label_cut
    assert found.mask[box].mean() < 0.05
    assert 0.3 < found.mask.mean() < 0.8


def test_real_films_without_such_a_label_are_not_cut() -> None:
    table = BROWSE / "labels.csv"
    if not table.exists():
        pytest.skip("../shared/data/ddsm_browse is not here")
    with table.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))[::45]
    # 17 of all 1,144 films are cut, but none of these, and no dense breast, whose rim is most similar to a label.
    views = [(row["exam_id"], row["view"]) for row in rows] + [("A_0116_1", "MLO_L"), ("A_0367_1", "MLO_R")]
    assert [view for view in views if _browse(*view).label_cut] == []
