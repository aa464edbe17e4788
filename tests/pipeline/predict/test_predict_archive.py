"""``predict`` over an archive, with a grader that is no network."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import dcmread

from components.dicom_example_gen.plan.identity import RESEARCH_KEY, HashKey
from components.exam_model.recipe import PreprocessingRecipe
from components.preprocessing.config import PreprocessConfig
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from pipeline.predict.archive import ArchiveOptions, predict_archive
from pipeline.predict.find import FoundExams, find_exams
from pipeline.predict.folders import SOME_NOT_GRADED, PredictRun, grade_folders
from schema.features import VIEWS
from serving.client.grader import Grader
from serving.client.grades import (
    ExamGrade,
    ExplainedExam,
    ModelRecipe,
    ServerUnreachableError,
    ServingError,
    ViewExplanation,
)
from serving.client.grading import ExamRefusedError, GradingPolicy
from serving.wire.prediction import Answer

RECIPE = PreprocessingRecipe(longest_side=256, preprocess=PreprocessConfig(output_size=48))
B = (0.1, 0.6, 0.2, 0.1)
SECRET = "MRN-77"
KEY = HashKey(b"k" * 32, False)
QUICK = ArchiveOptions(policy=GradingPolicy(minimum_views=2), retry_waits_s=(0.0,))


class CountingGrader(Grader):
    """Grades everything B; counts exams; fails as it is told."""

    def __init__(self, error: ServingError | None = None, good: int = 0) -> None:
        self.asked, self._error, self._good = 0, error, good

    def run(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> Answer:
        raise NotImplementedError(f"no model behind {signature}")

    def model_recipe(self) -> ModelRecipe:
        return ModelRecipe(RECIPE, 7)

    def explain_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExplainedExam:
        self.asked += 1
        if self._error and self.asked > self._good:
            raise self._error
        explained = {view: ViewExplanation("B", B, np.zeros((6, 6), np.float32), png) for view, png in images.items()}
        return ExplainedExam(ExamGrade("B", B, B, B, None, tuple(images)), explained, self.model_recipe())


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "set"
    generate_phantoms(PhantomConfig(exams=3, seed=2, reduction=16, workers=1), folder)
    return folder / "images"


@pytest.fixture
def archive(source: Path, tmp_path: Path) -> Path:
    """Three exams: the second lost a file's end, the third has one view; a list lies beside them."""
    images = Path(shutil.copytree(source, tmp_path / "archive"))
    _, second, third = sorted(images.iterdir())
    for view in VIEWS[1:]:
        (third / f"{view}.dcm").unlink()
    for path in images.rglob("*.dcm"):
        data = dcmread(path)
        data.PatientID = f"{SECRET}-{path.parent.name}"
        data.save_as(path)
    (second / "CC_L.dcm").write_bytes((second / "CC_L.dcm").read_bytes()[:-2000])
    images.joinpath("list.csv").write_text("a,b\n", encoding="utf-8")
    return images


def find(archive: Path) -> FoundExams:
    return find_exams([archive], RECIPE, KEY.key)


def grade(archive: Path, out: Path, grader: Any, options: ArchiveOptions = QUICK) -> list[dict[str, Any]]:
    return predict_archive(find(archive).exams, grader, ModelRecipe(RECIPE, 7), out, options, lambda line: None)


def test_exams_are_their_studies_and_other_files_are_strays(archive: Path) -> None:
    found = find(archive)
    assert [len(exam.files) for exam in found.exams] == [4, 4, 1]
    assert [path.name for path in found.strays] == ["list.csv"]
    assert find(archive) == found
    keys = {exam.key for exam in found.exams}
    assert len(keys) == 3
    assert keys.isdisjoint(exam.key for exam in find_exams([archive], RECIPE, RESEARCH_KEY).exams)


def test_images_with_a_study_each_are_one_exam_if_they_lie_together(archive: Path) -> None:
    first, second, _ = sorted(path for path in archive.iterdir() if path.is_dir())
    for number, path in enumerate(first.iterdir(), 1):
        data = dcmread(path)
        data.PatientID, data.StudyInstanceUID = SECRET, f"1.2.{number}"
        data.save_as(path)
    assert [len(exam.files) for exam in find(archive).exams] == [4, 4, 1]
    for path in second.glob("*.dcm"):  # two women in one folder stay two
        shutil.copy(path, first / f"other_{path.name}")
    shutil.rmtree(second)
    assert len(find(archive).exams) > 2


def test_every_exam_has_its_row_and_nothing_names_the_patient(archive: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    rows = grade(archive, out, CountingGrader())
    assert [(row["status"], row["reason"]) for row in rows] == [
        ("graded", None),
        ("graded", None),
        ("refused", "missing_views"),
    ]
    assert (rows[1]["missing"], rows[1]["rejected_files"], rows[0]["p_B"]) == ("CC_L", 1, 0.6)
    assert (rows[0]["density"], rows[0]["right"], rows[0]["left"], rows[0]["model_version"]) == ("B", "B", None, 7)
    assert json.loads((out / "grades.json").read_text(encoding="utf-8")) == rows
    with (out / "grades.csv").open(encoding="utf-8") as file:
        assert [row["exam"] for row in csv.DictReader(file)] == [row["exam"] for row in rows]
    assert len(list((out / rows[0]["exam"]).iterdir())) == 9
    for path in out.rglob("*"):
        if path.is_file() and path.name != "exams.csv":
            assert SECRET.encode() not in path.read_bytes()
            assert str(archive).encode() not in path.read_bytes()


def test_a_second_run_grades_what_changed_alone(archive: Path, tmp_path: Path) -> None:
    first = grade(archive, tmp_path / "out", CountingGrader())
    again = CountingGrader()
    assert grade(archive, tmp_path / "out", again) == first
    assert again.asked == 0
    path = next(archive.rglob("MLO_R.dcm"))
    data = dcmread(path)
    data.PatientComments = "seen again"
    data.save_as(path)
    third = CountingGrader()
    grade(archive, tmp_path / "out", third)
    assert third.asked == 1


def test_an_exam_that_fails_is_told_and_tried_again(archive: Path, tmp_path: Path) -> None:
    rows = grade(archive, tmp_path / "out", CountingGrader(ServingError("The model failed.")))
    assert [row["status"] for row in rows] == ["failed", "failed", "refused"]
    assert rows[0]["message"] == "The model failed."
    assert [r["status"] for r in grade(archive, tmp_path / "out", CountingGrader())] == ["graded", "graded", "refused"]


def test_a_server_that_goes_away_ends_the_run_and_keeps_what_is_done(archive: Path, tmp_path: Path) -> None:
    options = QUICK.model_copy(update={"workers": 1})
    with pytest.raises(ServerUnreachableError, match="gone"):
        grade(archive, tmp_path / "out", CountingGrader(ServerUnreachableError("gone"), good=1), options)
    again = CountingGrader()
    grade(archive, tmp_path / "out", again)
    assert again.asked == 1


def test_dicom_results_lie_by_exam(archive: Path, tmp_path: Path) -> None:
    rows = grade(archive, tmp_path / "out", CountingGrader(), QUICK.model_copy(update={"dicom": True}))
    names = [sorted(path.name for path in (tmp_path / "out" / row["exam"]).glob("dicom/*")) for row in rows]
    assert names[2] == ["report.dcm"]  # of the refusal
    assert [len(found) for found in names] == [5, 4, 1]
    assert "report.dcm" in names[0]


def test_a_grade_is_kept_where_the_files_can_carry_no_dicom_results(archive: Path, tmp_path: Path) -> None:
    for path in sorted(archive.iterdir())[0].rglob("*"):
        if path.is_file():
            data = dcmread(path)
            data.PatientID = "7" * 65
            data.save_as(path)
    first, *others = grade(archive, tmp_path / "out", CountingGrader(), QUICK.model_copy(update={"dicom": True}))
    assert (first["status"], first["density"], first["reason"]) == ("graded", "B", "no_dicom")
    assert "not an LO of up to 64 characters (65 received)" in first["message"]
    assert "777" not in first["message"]
    assert others[0]["reason"] is None


def test_the_command_tells_by_its_code_that_an_exam_was_refused(archive: Path, tmp_path: Path) -> None:
    said: list[str] = []
    grader: Any = CountingGrader()
    out = tmp_path / "out"
    assert grade_folders([archive], PredictRun(grader, out, QUICK, KEY, said.append)) == SOME_NOT_GRADED
    assert "2 graded, 1 refused, 0 failed" in said
    one, two, third = sorted(path for path in archive.iterdir() if path.is_dir())
    assert grade_folders([one, two], PredictRun(grader, tmp_path / "two", QUICK, KEY, said.append)) == 0
    assert grade_folders([one], PredictRun(grader, tmp_path / "one", QUICK, KEY, said.append)) == 0
    assert "BI-RADS density B" in said
    assert (tmp_path / "one" / "exam.json").exists()
    with pytest.raises(ExamRefusedError, match="has 1 of 4 views"):
        grade_folders([third], PredictRun(grader, tmp_path / "third", QUICK, KEY, said.append))
