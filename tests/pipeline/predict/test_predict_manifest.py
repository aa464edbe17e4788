"""``predict --manifest``: pictures and DICOM files that a table names; and folders without one usable file."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage
from typer.testing import CliRunner

from components.dicom.reading import read_pixels
from components.dicom.rejections import ManifestError
from pipeline.cli import app
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from pipeline.predict.find import exams_of_manifest
from pipeline.predict.folders import SOME_NOT_GRADED, PredictRun, grade_folders, grade_manifest
from schema.features import VIEWS
from tests.pipeline.predict.test_predict_archive import KEY, QUICK, SECRET, CountingGrader

SUFFIXES = {"CC_R": "png", "CC_L": "tif", "MLO_R": "jpg", "MLO_L": "dcm"}


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "set"
    generate_phantoms(PhantomConfig(exams=2, seed=3, reduction=16, workers=1), folder)
    return folder / "images"


@pytest.fixture
def pictures(phantoms: Path, tmp_path: Path) -> Path:
    """Two exams of four views, each in another format; the DICOM files say neither view nor mammography."""
    for number, exam in enumerate(sorted(phantoms.iterdir())):
        folder = tmp_path / "in" / f"{SECRET}-{number}"
        folder.mkdir(parents=True)
        for view, suffix in SUFFIXES.items():
            source, target = exam / f"{view}.dcm", folder / f"{view}.{suffix}"
            if suffix == "dcm":
                data = dcmread(source)
                del data.ViewPosition, data.ViewCodeSequence, data.Modality
                data.BodyPartExamined, data.SOPClassUID = "", SecondaryCaptureImageStorage
                data.save_as(target)
            else:
                pixels = read_pixels(source)
                cv2.imwrite(str(target), pixels if suffix != "jpg" else (pixels >> 8).astype(np.uint8))
    return tmp_path / "in"


def table(folder: Path, *rows: str, header: str = "exam_id,view,file") -> Path:
    path = folder / "manifest.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def rows_of(number: int, slash: str = "/") -> list[str]:
    return [f"{SECRET}-{number},{view},{SECRET}-{number}{slash}{view}.{suffix}" for view, suffix in SUFFIXES.items()]


def grades(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "grades.csv").read_text(encoding="utf-8").splitlines()))


def run(manifest: Path, out: Path) -> tuple[int, list[str]]:
    said: list[str] = []
    return grade_manifest(manifest, PredictRun(CountingGrader(), out, QUICK, KEY, said.append)), said


def test_one_exam_of_pictures_is_described(pictures: Path, tmp_path: Path) -> None:
    code, said = run(table(pictures, *rows_of(0)), tmp_path / "out")
    assert code == 0
    assert said[0] == "BI-RADS density B"
    document = json.loads((tmp_path / "out/exam.json").read_text())
    assert sorted(document["views"]) == sorted(VIEWS)
    assert "vouched for" in document["views"]["MLO_L"]["flags"]


def test_exams_of_a_manifest_give_a_table_that_names_nobody(pictures: Path, tmp_path: Path) -> None:
    bad = [
        f"{SECRET}-2,CC_R,../{SECRET}.png",
        f"{SECRET}-2,CC_L,{SECRET}-gone.png",
        f"{SECRET}-2,XCCL,{SECRET}-0/CC_R.png",
        f"{SECRET}-2,,{SECRET}-0/CC_R.png",
        "2.25E+38,CC_R,x.png",
        f",CC_R,{SECRET}-0/CC_R.png",
    ]
    out = tmp_path / "out"
    code, said = run(table(pictures, *rows_of(0), *rows_of(1, "\\"), *bad), out)
    assert code == SOME_NOT_GRADED
    assert "1 rows have no exam_id: not used" in said
    assert any("4 files are named with backslashes" in line for line in said)
    rows = grades(out)
    assert [row["status"] for row in rows] == ["graded", "graded", "refused", "refused"]
    assert [row["rejected_files"] for row in rows] == ["0", "0", "4", "1"]
    assert [row["reason"] for row in rows[2:]] == ["unsafe_path", "invalid_row"]
    assert "row 10: unsafe_path, manifest.csv line 10, column file is a path that is not allowed" in rows[2]["message"]
    for path in out.rglob("*"):
        if path.is_file() and path.name != "exams.csv":
            assert SECRET.encode() not in path.read_bytes(), path
    listed = list(csv.DictReader((out / "exams.csv").read_text().splitlines()))
    assert {row["exam_id"] for row in listed} == {f"{SECRET}-{number}" for number in range(3)} | {"2.25E+38"}
    again: list[str] = []
    assert (
        grade_manifest(pictures / "manifest.csv", PredictRun(CountingGrader(), out, QUICK, KEY, again.append)) == code
    )
    assert "4 exams, 4 of them done before" in again


def test_another_view_in_the_manifest_is_graded_anew(pictures: Path, tmp_path: Path) -> None:
    out, others = tmp_path / "out", rows_of(1)
    run(table(pictures, *rows_of(0), *others), out)
    turned = [row.replace(",CC_R,", ",MLO_R,") for row in rows_of(0)]
    _, said = run(table(pictures, *turned, *others), out)
    assert "2 exams, 1 of them done before" in said


def test_the_columns_of_ingest_s_manifest_play_no_part(pictures: Path) -> None:
    manifest = table(pictures, *(f"{row},0,x" for row in rows_of(0)), header="exam_id,view,file,density,age")
    [exam], _ = exams_of_manifest(manifest, KEY.key)
    assert (len(exam.files), exam.rejected) == (4, ())
    readings = [f"{row},{reader},B" for reader in "12" for row in rows_of(0)]
    [exam], _ = exams_of_manifest(table(pictures, *readings, header="exam_id,view,file,reader,density"), KEY.key)
    assert (len(exam.files), exam.rejected) == (4, ())
    [exam], _ = exams_of_manifest(table(pictures, *rows_of(0), *rows_of(0), header="exam_id,view,file"), KEY.key)
    assert len(exam.files) == 8, "without readers, these are copies"
    odd = table(pictures, *(f"{row},B" for row in rows_of(0)), header="exam_id,view,file,density_reader_consensus")
    assert len(exams_of_manifest(odd, KEY.key)[0][0].files) == 4
    with pytest.raises(ManifestError, match="columns view are missing"):
        exams_of_manifest(table(pictures, "a,b", header="exam_id,file"), KEY.key)


@pytest.mark.parametrize("kind", ["pictures", "empty", "junk"])
def test_a_folder_without_one_usable_file_gives_the_table_all_the_same(
    pictures: Path, tmp_path: Path, kind: str
) -> None:
    folder, out = tmp_path / "folder", tmp_path / "out"
    folder.mkdir()
    if kind == "pictures":
        for number in (0, 1):
            shutil.copytree(
                pictures / f"{SECRET}-{number}", folder / str(number), ignore=shutil.ignore_patterns("*.dcm")
            )
    elif kind == "junk":
        (folder / "a.dcm").write_bytes(b"x" * 500)
    said: list[str] = []
    assert grade_folders([folder], PredictRun(CountingGrader(), out, QUICK, KEY, said.append)) == SOME_NOT_GRADED
    rows = grades(out)
    assert (out / "exams.csv").is_file()
    assert {row["status"] for row in rows} <= {"refused"}
    if kind == "pictures":
        assert {row["reason"] for row in rows} == {"unknown_view"}
        assert "name it in a manifest" in rows[0]["message"]
    else:
        assert rows == []
        assert any(line.startswith("No exam was found: give folders of DICOM files") for line in said)


@pytest.mark.parametrize("options", [[], ["--manifest", "m.csv", "."]])
def test_the_command_takes_folders_or_a_manifest(options: list[Any]) -> None:
    result = CliRunner().invoke(app, ["predict", *options, "--model", "m"])
    assert result.exit_code == 1
    assert "Give either folders or --manifest FILE." in str(result.exception or result.output)
