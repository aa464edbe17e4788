"""``predict`` and the preparation of an exam, with a grader that is no network."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian

from components.dicom.rejections import IngestError, RejectionReason
from components.dicom.remarks import Remark
from components.exam_model.preparation import prepare_file
from components.exam_model.recipe import PreprocessingRecipe
from components.preprocessing.config import PreprocessConfig
from pipeline.local.demo import real_exams
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from pipeline.predict.exam import exam_lines, predict_exam
from schema.features import VIEWS
from serving.client.grader import Grader
from serving.client.grades import ExamGrade, ExplainedExam, ModelRecipe, NotGradedError, ViewExplanation
from serving.client.grading import ExamRefusedError
from serving.client.preprocessing import SeveralExamsError, prepare_exam
from serving.wire.prediction import Answer
from tests.pictures import decode_picture, read_picture

RECIPE = PreprocessingRecipe(longest_side=256, preprocess=PreprocessConfig(output_size=48))
B = (0.1, 0.6, 0.2, 0.1)


class FixedGrader(Grader):
    """Grades everything B, and keeps what it was sent."""

    def __init__(self) -> None:
        self.images: dict[str, bytes] = {}

    def run(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> Answer:
        raise NotImplementedError(f"no model behind {signature}")

    def model_recipe(self) -> ModelRecipe:
        return ModelRecipe(RECIPE, 7)

    def predict_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExamGrade:
        self.images = dict(images)
        right = B if any(view.endswith("R") for view in images) else None
        left = B if any(view.endswith("L") for view in images) else None
        return ExamGrade("B", B, B, right, left, tuple(images))

    def gradcam(self, images: Mapping[str, bytes], target_class: str | None = None) -> dict[str, ViewExplanation]:
        return {view: ViewExplanation("B", B, np.zeros((6, 6), np.float32), png) for view, png in images.items()}

    def explain_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExplainedExam:
        return ExplainedExam(self.predict_exam(images), self.gradcam(images), self.model_recipe())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one phantom exam: VIEW.dcm."""
    folder = tmp_path_factory.mktemp("phantom") / "set"
    generate_phantoms(PhantomConfig(exams=1, seed=2, reduction=16, workers=1), folder)
    [exam] = (folder / "images").iterdir()
    return exam


@pytest.fixture
def exam(source: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(source, tmp_path / "exam"))


def test_a_whole_exam_gives_grade_pictures_and_summary(exam: Path, tmp_path: Path) -> None:
    grader, out = FixedGrader(), tmp_path / "out"
    graded = predict_exam(exam, grader, out)
    assert list(grader.images) == list(VIEWS)
    assert sorted(p.name for p in out.iterdir()) == sorted(
        ["exam.json", *(f"{v}.png" for v in VIEWS), *(f"{v}.heatmap.png" for v in VIEWS)]
    )
    document = json.loads(graded.summary.read_text(encoding="utf-8"))
    assert document["density"] == "B"
    assert document["probabilities"] == dict(zip("ABCD", B, strict=True))
    assert document["missing_views"] == []
    assert document["rejected_files"] == 0
    assert set(document["views"]) == set(VIEWS)
    assert document["views"]["CC_R"]["pectoral_status"] == "not_applicable"
    assert document["notice"] == "Research software. Not a medical device."
    image = read_picture(out / "MLO_L.png")
    assert image.shape == (48, 48)
    assert image.dtype == np.uint8
    assert (out / "MLO_L.png").read_bytes() == prepare_file(exam / "MLO_L.dcm", None, RECIPE).png


def test_missing_views_are_named(exam: Path, tmp_path: Path) -> None:
    for view in ("CC_L", "MLO_L"):
        (exam / f"{view}.dcm").unlink()
    graded = predict_exam(exam, FixedGrader(), tmp_path / "out")
    document = json.loads(graded.summary.read_text(encoding="utf-8"))
    assert document["missing_views"] == ["CC_L", "MLO_L"]
    assert document["left"] is None
    text = "\n".join(exam_lines(graded))
    assert "missing CC_L, MLO_L" in text
    assert "left   no view" in text


class StrictGrader(FixedGrader):
    """Wants four views."""

    def predict_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExamGrade:
        if len(images) < len(VIEWS):
            raise NotGradedError("The exam has 3 of 4 views and a grade needs at least 4: add CC_L.")
        return super().predict_exam(images, exam_id)


def test_an_exam_of_too_few_views_writes_nothing_and_tells_of_the_file_left_out(exam: Path, tmp_path: Path) -> None:
    (exam / "CC_L.dcm").write_bytes((exam / "CC_L.dcm").read_bytes()[:500])
    with pytest.raises(ExamRefusedError, match=r"add CC_L\. Rejected file: CC_L\.dcm"):
        predict_exam(exam, StrictGrader(), tmp_path / "out")
    (exam / "CC_L.dcm").unlink()
    with pytest.raises(ExamRefusedError, match=r"add CC_L\.$"):
        predict_exam(exam, StrictGrader(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_bad_files_are_left_out_and_named(exam: Path, tmp_path: Path) -> None:
    (exam / "notes.txt").write_text("hello", encoding="utf-8")
    (exam / "sub").mkdir()
    (exam / "sub" / "cut.dcm").write_bytes((exam / "CC_R.dcm").read_bytes()[:500])
    (exam / ".DS_Store").write_bytes(b"\0")
    graded = predict_exam(exam, FixedGrader(), tmp_path / "out")
    reasons = {rejection.file: rejection.reason for rejection in graded.prepared.rejected}
    assert set(reasons) == {"notes.txt", "sub/cut.dcm"}
    assert reasons["notes.txt"] == RejectionReason.NOT_DICOM
    assert json.loads(graded.summary.read_text(encoding="utf-8"))["rejected_files"] == 2
    assert len(graded.overlays) == 4
    assert sum("left out: " in line for line in exam_lines(graded)) == 2


def test_of_two_images_of_a_view_the_larger_counts_whatever_its_name(exam: Path) -> None:
    small = dcmread(exam / "CC_R.dcm")
    rows, pixels = small.Rows, small.pixel_array[::2, ::2].copy()
    small.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    small.PixelData, (small.Rows, small.Columns) = pixels.tobytes(), pixels.shape
    small["PixelData"].is_undefined_length = False
    for name in ("0first.dcm", "zlast.dcm"):
        small.save_as(exam / name)
    prepared = prepare_exam(exam, RECIPE)
    assert list(prepared.views) == list(VIEWS)
    assert prepared.views["CC_R"].loaded.header.rows == rows
    assert [(r.file, r.reason.value) for r in prepared.rejected] == [
        ("0first.dcm", "duplicate_view"),
        ("zlast.dcm", "duplicate_view"),
    ]


def test_two_exams_in_one_folder_are_refused(exam: Path) -> None:
    other = dcmread(exam / "CC_R.dcm")
    other.StudyInstanceUID = "1.2.3.4"
    other.save_as(exam / "other.dcm")
    with pytest.raises(SeveralExamsError, match="view CC_R from different studies"):
        prepare_exam(exam, RECIPE)


@pytest.mark.parametrize("changes", [{"StudyInstanceUID": "1.2.3.4"}, {"PatientBirthDate": ""}])
def test_a_view_of_another_woman_is_refused(exam: Path, changes: dict[str, str]) -> None:
    other_id(exam / "MLO_R.dcm", **changes)
    with pytest.raises(SeveralExamsError, match="images of different women, by their Patient ID") as caught:
        prepare_exam(exam, RECIPE)
    assert "SOMEBODY" not in str(caught.value)


def test_a_corrected_patient_id_is_graded_and_told(exam: Path) -> None:
    other_id(exam / "MLO_R.dcm")
    views = prepare_exam(exam, RECIPE).views
    assert len(views) == 4
    assert all(Remark.CORRECTED_PATIENT_ID in view.loaded.remarks for view in views.values())


def other_id(path: Path, **changes: str) -> None:
    """Gives an image another Patient ID."""
    image = dcmread(path)
    image.PatientID = "SOMEBODY-ELSE"
    for keyword, value in changes.items():
        setattr(image, keyword, value)
    image.save_as(path)


def test_a_picture_without_a_breast_is_not_graded(exam: Path) -> None:
    blank = dcmread(exam / "CC_R.dcm")
    pixels = np.zeros((blank.Rows, blank.Columns), np.uint16)
    pixels[:8, :8] = 1000  # a label alone
    blank.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    blank.PixelData = pixels.tobytes()
    blank["PixelData"].is_undefined_length = False
    blank.save_as(exam / "CC_R.dcm")
    prepared = prepare_exam(exam, RECIPE)
    assert "CC_R" not in prepared.views
    assert [r.file for r in prepared.rejected] == ["CC_R.dcm"]


def test_an_exam_graded_later_leaves_no_picture_of_the_one_before(exam: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    predict_exam(exam, FixedGrader(), out)
    (exam / "MLO_L.dcm").unlink()
    predict_exam(exam, FixedGrader(), out)
    assert not (out / "MLO_L.heatmap.png").exists()
    assert (out / "MLO_R.heatmap.png").exists()


@pytest.mark.parametrize("content", [None, "text"])
def test_a_folder_without_views_says_why(tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "exam"
    folder.mkdir()
    if content:
        (folder / "report.dcm").write_text(content, encoding="utf-8")
    says = "report.dcm: not_dicom" if content else "has no file"
    with pytest.raises(ExamRefusedError, match=says):
        predict_exam(folder, FixedGrader(), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_nothing_written_names_the_patient(exam: Path, tmp_path: Path) -> None:
    secrets = ["Garibaldi", "MRN-77", "19391031", "ACC0815"]
    uids = []
    for path in exam.glob("*.dcm"):
        data = dcmread(path)
        data.PatientName, data.PatientID, data.PatientBirthDate, data.AccessionNumber = secrets
        uids += [str(data.StudyInstanceUID), str(data.SOPInstanceUID)]
        data.save_as(path)
    graded = predict_exam(exam, FixedGrader(), tmp_path / "out")
    written = list((tmp_path / "out").iterdir())
    assert len(written) == 9
    for path in written:
        assert not [s for s in [*secrets, *uids] if s.encode() in path.read_bytes()], path
    assert not [s for s in [*secrets, *uids] if s in "\n".join(exam_lines(graded))]


def test_a_png_needs_its_view(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (80, 60), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    with pytest.raises(IngestError, match="unknown_view"):
        prepare_file(tmp_path / "a.png", None, RECIPE)
    prepared = prepare_file(tmp_path / "a.png", "CC_L", RECIPE)
    assert prepared.loaded.header.view == "CC_L"
    assert decode_picture(prepared.png).shape == (48, 48)


def test_preparing_twice_gives_the_same_bytes(exam: Path) -> None:
    first, second = prepare_exam(exam, RECIPE), prepare_exam(exam, RECIPE)
    assert {v: p.png for v, p in first.views.items()} == {v: p.png for v, p in second.views.items()}


@pytest.mark.parametrize("name", sorted(real_exams()))
def test_real_exams_have_four_views_and_their_muscle_is_found(name: str) -> None:
    prepared = prepare_exam(real_exams()[name], PreprocessingRecipe(preprocess=PreprocessConfig(output_size=96)))
    assert list(prepared.views) == list(VIEWS)
    assert prepared.rejected == ()
    for view in ("MLO_R", "MLO_L"):
        assert prepared.views[view].result.status == "removed"
        assert 0.005 < prepared.views[view].result.pectoral_area_fraction < 0.35
