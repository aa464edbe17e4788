"""Archives after public bug reports, written by the scripts of ``../shared/cases``; skipped where these are absent."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from components.dicom_example_gen.config import IngestConfig
from components.exam_model.recipe import PreprocessingRecipe
from components.sources.source import FolderSource
from pipeline.describe import describe_source
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from pipeline.predict.find import find_exams

CASES = Path("../shared/cases")
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="needs ../shared/cases")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    generate_phantoms(PhantomConfig(exams=4, seed=7, reduction=4, workers=1), folder / "ph")
    return folder


def made(work: Path, case: str, *arguments: str) -> Path:
    environ = os.environ | {"CASES_WORK": str(work)}
    subprocess.run([sys.executable, str((CASES / case / "make.py").resolve()), *arguments], env=environ, check=True)
    return work / case


def fates(folder: Path) -> dict[str, set[str]]:
    """Return exam's folder -> results of its files: densities and reasons."""
    source = FolderSource(folder / "images", folder / "labels.csv")
    found: dict[str, set[str]] = {}
    for row in describe_source(source, IngestConfig(), lambda done, count: None).files:
        found.setdefault(row["file"].partition("/")[0], set()).add(row.get("density") or row["reason"])
    return found


def labels(folder: Path) -> dict[str, set[str]]:
    lines = (folder / "labels.csv").read_text(encoding="utf-8").split()[1:]
    return {exam: {density} for exam, density in (line.split(",") for line in lines)}


def test_numbered_series_folders(work: Path) -> None:
    folder = made(work, "numbered_series_folders")
    assert fates(folder) == labels(folder)


def test_study_id_one(work: Path) -> None:
    folder = made(work, "study_id_one")
    assert fates(folder) == labels(folder) | {"4": {"no_label"}}


def test_two_years_one_label(work: Path) -> None:
    assert fates(made(work, "two_years_one_label")) == {"P1": {"mixed_patients"}}  # the phantoms' birth dates differ


@pytest.mark.parametrize("arguments", [(), ("dated",)])
def test_predict_two_unilateral(work: Path, arguments: tuple[str, ...]) -> None:
    folder = made(work, "predict_two_unilateral", *arguments) / "images"
    exams = [
        sorted(path.name for path in exam.files.values())
        for exam in find_exams([folder], PreprocessingRecipe(), b"k").exams
    ]
    assert exams == [["IM00.dcm", "IM02.dcm"], ["IM11.dcm", "IM13.dcm"]]


def test_symlinked_folders(work: Path) -> None:
    folder = made(work, "symlinked_folders")
    assert fates(folder) == labels(folder)
