"""``predict`` on exams that the model has seen the like of, has not, or cannot compare."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import dcmread

from components.dicom_example_gen.plan.identity import HashKey
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from pipeline.predict.archive import ArchiveOptions
from pipeline.predict.exam import exam_lines, predict_exam
from pipeline.predict.folders import PredictRun, grade_folders, grade_manifest
from schema.acquisition import ImageSystem
from schema.features import VIEWS
from schema.training_systems import SystemTally, TrainingSystems
from serving.client.grades import ExamGrade
from serving.client.grading import ExamRefusedError, GradingPolicy
from tests.pipeline.predict.test_predict_exam_folder import FixedGrader
from tests.systems import systems_of_phantoms

KEY = HashKey(b"k" * 32, False)
REFUSE = GradingPolicy(unseen="refuse")


class TrainedGrader(FixedGrader):
    """Says what it was trained on."""

    def __init__(self, training: TrainingSystems, familiarity: float | None = 1.5) -> None:
        super().__init__()
        self._training, self._familiarity = training, familiarity

    def predict_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExamGrade:
        return replace(super().predict_exam(images, exam_id), training=self._training, familiarity=self._familiarity)


PHANTOMS = TrainedGrader(TrainingSystems(origin="synthetic phantoms", systems=systems_of_phantoms()))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom") / "set"
    generate_phantoms(PhantomConfig(exams=2, seed=2, reduction=16, workers=1, repeat_share=0), folder)
    return min((folder / "images").iterdir())


@pytest.fixture
def other(source: Path, tmp_path: Path) -> Path:
    """Another exam, with one view of another machine."""
    exam = Path(shutil.copytree(max(source.parent.iterdir()), tmp_path / "other"))
    image = dcmread(exam / "MLO_L.dcm")
    image.Manufacturer, image.ManufacturerModelName = "SIEMENS", "Mammomat"
    image.save_as(exam / "MLO_L.dcm")
    return exam


def test_the_answer_says_which_system_is_not_in_the_training_data(source: Path, other: Path, tmp_path: Path) -> None:
    seen = predict_exam(source, PHANTOMS, tmp_path / "seen", REFUSE)
    document = json.loads(seen.summary.read_text())
    assert (document["unseen_system"], {v["system_status"] for v in document["views"].values()}) == (False, {"seen"})
    assert document["warnings"] == ["The model was trained on synthetic phantoms, not on exams of patients."]

    flagged = predict_exam(other, PHANTOMS, tmp_path / "flagged")
    document = json.loads(flagged.summary.read_text())
    assert document["unseen_system"] is True
    assert [document["views"][view]["system_status"] for view in VIEWS] == ["seen", "seen", "seen", "unseen"]
    assert document["views"]["MLO_L"]["acquisition_system"].startswith("Siemens Mammomat")
    assert document["warnings"][0].startswith("Unseen acquisition system: Siemens Mammomat")
    assert exam_lines(flagged)[1] == f"  WARNING {document['warnings'][0]}", "next to the grade"
    with pytest.raises(ExamRefusedError, match=r"Siemens Mammomat.*trained on: GE.*Grade it by eye") as refused:
        predict_exam(other, PHANTOMS, tmp_path / "refused", REFUSE)
    assert refused.value.reason == "unseen_system"
    assert not (tmp_path / "refused").exists()


def test_pictures_unlike_the_training_and_doubtful_grades_are_refused_by_policy(source: Path, tmp_path: Path) -> None:
    far = TrainedGrader(TrainingSystems(systems=systems_of_phantoms()), 0.8)
    document = json.loads(predict_exam(source, far, tmp_path / "flagged").summary.read_text())
    assert (document["unlike_training"], document["familiarity"]) == (True, 0.8)
    assert "(familiarity 0.80; like them is 1 or more). Do not trust the grade." in document["warnings"][0]
    near = json.loads(predict_exam(source, PHANTOMS, tmp_path / "near").summary.read_text())
    assert (near["unlike_training"], near["familiarity"]) == (False, 1.5)
    for grader, policy, reason in (
        (far, GradingPolicy(unlike_training="refuse"), "unlike_training"),
        (PHANTOMS, GradingPolicy(minimum_confidence=0.61), "low_confidence"),  # the grader gives B 0.6
    ):
        with pytest.raises(ExamRefusedError) as refused:
            predict_exam(source, grader, tmp_path / "refused", policy)
        assert refused.value.reason == reason
    strict = GradingPolicy(unseen="refuse", unlike_training="refuse", minimum_confidence=0.6)
    assert predict_exam(source, PHANTOMS, tmp_path / "strict", strict).grade.density == "B"


def test_a_model_that_does_not_say_is_never_called_familiar(other: Path, tmp_path: Path) -> None:
    graded = predict_exam(other, FixedGrader(), tmp_path / "out", REFUSE)
    document = json.loads(graded.summary.read_text())
    assert document["unseen_system"] is None
    assert {view["system_status"] for view in document["views"].values()} == {"not_known"}
    assert "It is not known whether the model has seen" in document["warnings"][0]
    assert (document["unlike_training"], document["familiarity"]) == (None, None)
    assert "It is not known whether the pictures are like" in document["warnings"][1]


def test_the_table_has_the_flag_and_a_refused_exam_its_reason(source: Path, other: Path, tmp_path: Path) -> None:
    folders = [source, other]
    for policy, statuses, flags in (
        (GradingPolicy(), ["graded", "graded"], ["no", "yes"]),
        (REFUSE, ["graded", "refused"], ["no", ""]),
    ):
        out = tmp_path / policy.unseen
        run = PredictRun(PHANTOMS, out, ArchiveOptions(policy=policy, workers=1), KEY, lambda line: None)
        grade_folders(folders, run)
        with (out / "grades.csv").open(encoding="utf-8") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: row["status"] + row["unseen_system"])
        assert [row["status"] for row in rows] == statuses
        assert [row["unseen_system"] for row in rows] == flags
    assert rows[1]["reason"] == "unseen_system"


def test_a_manifest_names_systems_as_it_does_for_ingest(tmp_path: Path) -> None:
    tally = SystemTally()
    tally.add("1", ImageSystem(label="Scanner A"))
    grader = TrainedGrader(TrainingSystems(systems=tally.systems()))
    breast = cv2.ellipse(np.zeros((400, 300), np.uint8), (0, 200), (180, 150), 0, -90, 90, (150,), cv2.FILLED)
    picture = cv2.GaussianBlur(breast, (0, 0), 9)
    for view in VIEWS:
        cv2.imwrite(str(tmp_path / f"{view}.png"), picture[:, ::-1] if view.endswith("R") else picture)
    found = {}
    for system in ("Scanner  A", "Scanner B", ""):
        rows = [f"E,{view},{view}.png,{system}" for view in VIEWS]
        (tmp_path / "exams.csv").write_text("\n".join(["exam_id,view,file,acquisition_system", *rows]))
        out = tmp_path / f"out {system}"
        run = PredictRun(grader, out, ArchiveOptions(), KEY, lambda line: None)
        assert grade_manifest(tmp_path / "exams.csv", run) == 0
        found[system] = json.loads((out / "exam.json").read_text())["unseen_system"]
    assert found == {"Scanner  A": False, "Scanner B": True, "": None}
