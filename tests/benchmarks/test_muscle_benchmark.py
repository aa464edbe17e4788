"""The benchmark of the muscle: changed films keep their truth in step, and the effort of a reviewer is counted."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.altered_films import KINDS, grey_step, wall_is_left
from benchmarks.muscle import effort, site_weights
from benchmarks.segmentation import Case


def _case(mirrored: bool) -> Case:
    """A breast of grey 100 on black, and a triangle of grey 160 in its upper chest-wall corner."""
    pixels = np.zeros((400, 300), np.uint8)
    cv2.ellipse(pixels, (0, 200), (220, 190), 0, -90, 90, (100,), -1)
    muscle = np.zeros((400, 300), np.uint8)
    cv2.fillPoly(muscle, [np.array([[0, 20], [90, 20], [0, 200]], np.int32)], (1,))
    pixels[(muscle > 0)] = 160
    if mirrored:
        pixels, muscle = pixels[:, ::-1].copy(), muscle[:, ::-1].copy()
    return Case("A_0001_1", pixels, "MLO_R" if mirrored else "MLO_L", muscle > 0)


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_changed_film_keeps_its_truth_in_step(kind: str, mirrored: bool) -> None:
    case = _case(mirrored)
    assert wall_is_left(case) is not mirrored
    changed = KINDS[kind].alter(case)
    assert changed.pixels.dtype == np.uint8
    assert changed.pixels.shape == changed.muscle.shape
    assert not np.array_equal(changed.pixels, case.pixels)
    assert wall_is_left(changed) is not mirrored
    if kind != "marker":  # the truth still covers the brightest tissue and nothing else
        level = np.median(changed.pixels[changed.muscle])
        assert level > np.median(changed.pixels[~changed.muscle & (changed.pixels > 20)])
    lost = 1 - changed.muscle.sum() / case.muscle.sum()
    assert (lost > 0.2) == (kind in ("wall", "top"))


def test_a_faint_muscle_keeps_two_fifths_of_its_grey_step() -> None:
    case = _case(mirrored=False)
    assert grey_step(case) == pytest.approx(60, abs=1)
    changed = KINDS["faint"].alter(case).pixels
    assert changed[60, 20] == pytest.approx(100 + 0.4 * 60, abs=1)  # deep in the muscle
    assert changed[300, 100] == 100


def test_effort_counts_images_until_each_error_is_found() -> None:
    doubts = np.array([0.1, 0.9, 0.5, 0.5, 0.0])
    assert effort(np.array([False, True, False, False, False]), doubts).tolist() == [1]
    assert effort(np.array([False, False, True, False, True]), doubts).tolist() == [3, 5], "ties are looked at last"
    assert effort(np.zeros(5, np.bool_), doubts).tolist() == []


def test_a_film_is_scored_by_the_network_without_its_site_or_no_site_is(tmp_path: Path) -> None:
    cases = [replace(_case(mirrored=False), name=name) for name in ("A_0001_1", "D_4502_1", "D_4503_1")]
    (tmp_path / "site_D.pb").write_bytes(b"without D")
    assert site_weights(cases, tmp_path) == {}, "a table of some sites only would look like one of all"
    (tmp_path / "site_A.pb").write_bytes(b"without A")
    found = site_weights(cases, tmp_path)
    assert [found[case.name].path.name for case in cases] == ["site_A.pb", "site_D.pb", "site_D.pb"]
    assert found["D_4503_1"].sha256 == hashlib.sha256(b"without D").hexdigest()
