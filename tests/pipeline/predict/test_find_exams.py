"""How ``predict`` groups an archive without labels: by what the headers say, never two women in one grade."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import generate_uid

from components.exam_model.recipe import PreprocessingRecipe
from pipeline.local.demo import real_exams
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from pipeline.predict.find import find_exams
from schema.features import VIEWS
from serving.client.preprocessing import SeveralExamsError, prepare_files

RECIPE = PreprocessingRecipe()
DATES = ("AcquisitionDate", "StudyDate", "SeriesDate", "ContentDate")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("phantom") / "set"
    generate_phantoms(PhantomConfig(exams=2, seed=2, reduction=16, workers=1, repeat_share=0.0), folder)
    return sorted((folder / "images").iterdir())


def two_unilateral(source: list[Path], folder: Path, changes: Mapping[str, Any]) -> Path:
    """The right breast of one woman and the left of another in one folder, anonymised; an attribute may be a pair."""
    folder.mkdir(parents=True)
    for number, side in enumerate("RL"):
        for view in (view for view in VIEWS if view.endswith(side)):
            data = pydicom.dcmread(source[number] / f"{view}.dcm")
            data.PatientID = data.PatientName = "ANONYMOUS"
            data.StudyID = data.AccessionNumber = ""
            data.PatientBirthDate, data.PatientAge = "", ""
            data.Manufacturer, data.ManufacturerModelName, data.SoftwareVersions = "GE", "DS", "1"
            for keyword in DATES:
                setattr(data, keyword, "20150813")
            for keyword, value in changes.items():
                setattr(data, keyword, value[number] if isinstance(value, tuple) else value)
            data.save_as(folder / f"{view}.dcm")
    return folder


def grouped(folder: Path) -> list[list[str]]:
    return [sorted(path.name for path in exam.files.values()) for exam in find_exams([folder], RECIPE, b"k").exams]


APART = [["CC_L.dcm", "MLO_L.dcm"], ["CC_R.dcm", "MLO_R.dcm"]]
TELLS: list[dict[str, Any]] = [
    {"PatientAge": ("063Y", "044Y")},
    {"PatientBirthDate": ("19500101", "19710203"), "PatientAge": ""},
    {"ManufacturerModelName": ("DS", "Essential")},
    {"DeviceSerialNumber": ("17", "18")},
    {"StudyDate": ("20150813", "20190813"), "AcquisitionDate": ("20150813", "20190813")},
    {"PatientSex": ("F", "M")},
]


@pytest.mark.parametrize("study", ["", "1.2.3"])
@pytest.mark.parametrize("tells", TELLS, ids=lambda tells: next(iter(tells)))
def test_two_women_under_one_study_or_none_are_two_exams(
    source: list[Path], tmp_path: Path, tells: dict[str, Any], study: str
) -> None:
    assert grouped(two_unilateral(source, tmp_path / "x", tells | {"StudyInstanceUID": study})) == APART


def test_studies_apart_are_exams_apart_whatever_the_dates(source: list[Path], tmp_path: Path) -> None:
    studies = (generate_uid(), generate_uid())
    assert grouped(two_unilateral(source, tmp_path / "x", {"StudyInstanceUID": studies})) == APART


def stripped(source: list[Path], folder: Path, changes: Mapping[str, Any]) -> Path:
    """Four views with a study each, of which nothing else is known."""
    blank = dict.fromkeys((*DATES, "AcquisitionTime", "ContentTime", "StudyTime"), "")
    two_unilateral([source[0]] * 2, folder, blank)
    for view in VIEWS:
        data = pydicom.dcmread(folder / f"{view}.dcm")
        data.StudyInstanceUID = generate_uid()
        for keyword, value in changes.items():
            setattr(data, keyword, value[view[-1] == "L"] if isinstance(value, tuple) else value)
        data.save_as(folder / f"{view}.dcm")
    return folder


def test_four_views_that_are_all_of_a_folder_are_an_exam(source: list[Path], tmp_path: Path) -> None:
    folder = stripped(source, tmp_path / "x" / "a", {})
    stripped(source, tmp_path / "x" / "b", {"PatientAge": ("063Y", "044Y")})
    names = sorted(f"{view}.dcm" for view in VIEWS)
    assert sorted(grouped(tmp_path / "x"), key=len) == [*([name] for name in names), names]
    assert len(prepare_files({path.name: path for path in folder.iterdir()}, RECIPE).views) == 4
    other = pydicom.dcmread(folder / "CC_R.dcm")
    other.StudyInstanceUID, other.SOPInstanceUID = generate_uid(), generate_uid()
    other.save_as(folder / "another.dcm")
    assert max(map(len, grouped(folder))) == 1


def test_what_cannot_be_divided_is_refused_as_one(source: list[Path], tmp_path: Path) -> None:
    folder = two_unilateral(source, tmp_path / "x", {"StudyInstanceUID": "1.2.3", "PatientAge": ("063Y", "044Y")})
    half = pydicom.dcmread(folder / "CC_L.dcm")
    half.PatientAge = ""
    half.save_as(folder / "CC_L.dcm")
    (exam,) = find_exams([folder], RECIPE, b"k").exams
    with pytest.raises(SeveralExamsError, match="different women, by their Patient's Age"):
        prepare_files(exam.files, RECIPE)


def test_exams_of_two_years_are_refused_as_by_ingest(source: list[Path], tmp_path: Path) -> None:
    folder = two_unilateral(
        source, tmp_path / "x", {"StudyInstanceUID": "1.2.3", "AcquisitionDate": ("20150813", "20190813")}
    )
    files = {path.name: path for path in folder.iterdir()}
    with pytest.raises(SeveralExamsError, match=r"different exams, by their Study Date \(0008,0020\) \(2 days\)"):
        prepare_files(files, RECIPE)


def test_real_exams_with_a_study_for_each_image_are_one_each_also_in_one_folder(tmp_path: Path) -> None:
    exams = real_exams()
    assert [len(exam) for exam in map(grouped, exams.values())] == [1, 1]
    for exam in exams.values():
        for path in exam.rglob("*.dcm"):
            shutil.copy(path, tmp_path / path.name)
    assert [len(exam) for exam in grouped(tmp_path)] == [4, 4]


@pytest.mark.parametrize("study", ["1.2.3.4", ""])
@pytest.mark.parametrize(("patient", "exams"), [("ANONYMOUS", 2), ("P1", 1)])
def test_two_whole_folders_under_one_study_are_two_exams_unless_a_patient_joins_them(
    source: list[Path], tmp_path: Path, study: str, patient: str, exams: int
) -> None:
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        for view in VIEWS:
            data = pydicom.dcmread(source[0] / f"{view}.dcm")
            data.PatientID, data.PatientName, data.StudyInstanceUID = patient, "ANONYMOUS", study
            data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
            data.save_as(tmp_path / str(number) / f"{view}.dcm")
    whole = sorted(f"{view}.dcm" for view in VIEWS)
    assert grouped(tmp_path) == ([whole] * 2 if exams == 2 or not study else [sorted(2 * whole)])
