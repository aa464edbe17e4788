"""Copies of images: equal SOP Instance UIDs, links to one exam, and equal pixels under other identifiers."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.dicom.rejections import RejectionReason as Reason
from components.dicom.remarks import Remark
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.copies import pixel_copies
from components.dicom_example_gen.plan.ingest_plan import PlannedView
from components.dicom_example_gen.report import file_rows, summary
from components.sources.source import FolderSource
from pipeline.describe import describe_source
from schema.acquisition import AcquisitionSystem
from schema.features import VIEWS
from tests.components.dicom.dicom_files import MakeDicom
from tests.components.dicom_example_gen.archive_files import fates, planned, write_image


def view(
    file: str, patient: str, split: str = "train", exam: str = "", name: str = "CC_R", density: str = "A"
) -> PlannedView:
    system = AcquisitionSystem("GE", "DS", "1")
    return PlannedView(file, name, exam or f"exam of {patient}", patient, split, density, 50, 2019, system, system.key)


def reasons(views: list[PlannedView], digests: dict[str, str]) -> dict[str, Reason]:
    return {rejection.file: rejection.reason for rejection in pixel_copies(views, digests)}


def test_different_pixels_are_all_kept() -> None:
    views = [view("a", "P1"), view("b", "P2", "test")]
    assert pixel_copies(views, {"a": "1", "b": "2"}) == []


def test_the_first_by_name_is_kept_and_the_copy_names_it() -> None:
    views = [view("b.dcm", "P1", exam="E2"), view("a.dcm", "P1", exam="E1")]
    [copy] = pixel_copies(views, {"a.dcm": "1", "b.dcm": "1"})
    assert copy.message == "b.dcm: duplicate, pixels is those of a.dcm; one of equal images is kept, remove the copy."


def test_one_whole_exam_is_kept_of_two_exports() -> None:
    files = {"CC_R": ("a1", "a2"), "CC_L": ("b2", "b1"), "MLO_R": ("c2", "c1"), "MLO_L": ("d1", "d2")}
    views = [view(file, f"P{file in (pair[1],)}", name=name) for name, pair in files.items() for file in pair]
    digests = {file: name for name, pair in files.items() for file in pair}
    kept = {v.patient_hash for v in views if v.file not in reasons(views, digests)}
    assert kept == {"PFalse"}  # its file a1 is the first of all, though b1 and c1 are the other's


def test_a_person_with_two_ids_stays_in_one_split() -> None:
    views = [view("a", "P1", "train"), view("b", "P2", "test"), view("c", "P2", "test", name="CC_L")]
    assert reasons(views, {"a": "1", "b": "1", "c": "2"}) == {"b": Reason.DUPLICATE, "c": Reason.SPLIT_CONFLICT}
    same = [view("a", "P1"), view("b", "P2"), view("c", "P2", name="CC_L")]
    assert reasons(same, {"a": "1", "b": "1", "c": "2"}) == {"b": Reason.DUPLICATE}


def test_equal_pixels_of_other_views_or_classes_are_all_left_out() -> None:
    views = [view("a", "P1"), view("b", "P1", name="CC_L"), view("c", "P3"), view("d", "P3", exam="x", density="D")]
    assert reasons(views, {"a": "1", "b": "1", "c": "2", "d": "2"}) == {
        "a": Reason.UNKNOWN_VIEW,
        "b": Reason.UNKNOWN_VIEW,
        "c": Reason.INVALID_LABEL,
        "d": Reason.INVALID_LABEL,
    }


@settings(max_examples=150)
@given(
    st.lists(st.tuples(st.sampled_from("PQRST"), st.sampled_from("1234567")), max_size=14),
    st.randoms(use_true_random=False),
)
def test_kept_images_are_unique_and_do_not_leak_between_splits(
    drawn: list[tuple[str, str]], order: random.Random
) -> None:
    split = {"P": "train", "Q": "eval", "R": "test", "S": "train", "T": "test"}
    views = [view(f"{n:02}", patient, split[patient]) for n, (patient, _) in enumerate(drawn)]
    digests = {f"{n:02}": digest for n, (_, digest) in enumerate(drawn)}
    rejected = reasons(views, digests)
    kept = [v for v in views if v.file not in rejected]
    assert len({digests[v.file] for v in kept}) == len(kept)
    # No image of the archive, kept or not, connects patients who are kept in different splits.
    for one in kept:
        for other in kept:
            shared = {digests[v.file] for v in views if v.patient_hash == one.patient_hash} & {
                digests[v.file] for v in views if v.patient_hash == other.patient_hash
            }
            assert not shared or one.split == other.split
    shuffled = list(views)
    order.shuffle(shuffled)
    assert reasons(shuffled, digests) == rejected


UID = "1.2.3.4"


@pytest.mark.parametrize("implicit", [False, True])
def test_one_uid_for_all_images_rejects_none_and_adds_a_remark(tmp_path: Path, implicit: bool) -> None:
    for exam in "AB":
        for number, view in enumerate(VIEWS):
            seed = 10 * ord(exam) + number
            write_image(tmp_path / exam / f"{view}.dcm", view, seed, implicit, SOPInstanceUID=UID, PatientID=exam)
    result = planned(tmp_path, {"A": "A", "B": "C"})
    assert fates(result) == {f"{e}/{v}.dcm": {"A": "A", "B": "C"}[e] for e in "AB" for v in VIEWS}
    assert {v.remarks for v in result.accepted} == {(Remark.BROKEN_UID,)}
    figures = summary(result, {})
    assert figures["remarks"] == {"broken_uid": 8}
    assert UID not in json.dumps([figures, file_rows(result)])


def test_a_copy_has_the_same_uid_and_pixels(tmp_path: Path) -> None:
    first = write_image(tmp_path / "A" / "1.dcm", "CC_R", 1, SOPInstanceUID=UID)
    shutil.copy(first, tmp_path / "A" / "2.dcm")
    write_image(tmp_path / "A" / "3.dcm", "CC_R", 1, SOPInstanceUID=UID, PatientComments="edited")
    write_image(tmp_path / "A" / "4.dcm", "CC_L", 2, SOPInstanceUID=UID)
    result = planned(tmp_path, {"A": "A"})
    assert fates(result) == {"A/1.dcm": "A", "A/2.dcm": "duplicate", "A/3.dcm": "duplicate", "A/4.dcm": "A"}
    assert all("that of A/1.dcm" in r.message for r in result.rejected)
    assert [v.remarks for v in result.accepted] == [(Remark.BROKEN_UID,)] * 2


def test_four_views_under_one_uid_are_an_exam(tmp_path: Path) -> None:
    for number, view in enumerate(VIEWS):
        write_image(tmp_path / "A" / f"{view}.dcm", view, number, SOPInstanceUID=UID)
    assert len(planned(tmp_path, {"A": "B"}).accepted) == 4


def test_describe_gives_the_same_result(tmp_path: Path) -> None:
    for exam in "AB":
        write_image(tmp_path / "images" / exam / "1.dcm", "CC_R", ord(exam), SOPInstanceUID=UID)
    (tmp_path / "labels.csv").write_text("exam_id,density\nA,A\nB,D\n", encoding="utf-8")
    source = FolderSource(tmp_path / "images", tmp_path / "labels.csv")
    figures = describe_source(source, IngestConfig(), lambda done, count: None).figures
    assert (figures["accepted"], figures["remarks"]) == (2, {"broken_uid": 2})
    assert (figures["exam_by"], figures["label_by"]) == ({"folder level 1": 2}, {"folder level 1": 2})


FILES = len(VIEWS)


@pytest.mark.parametrize(
    ("links", "labels", "accepted", "reasons"),
    [
        ({"A0": "s0", "E0": "s0", "E1": "s1"}, "E0,A\nE1,C\n", 2, {"no_label": FILES}),
        ({"E0": "s0", "Z0": "s0", "E1": "s1"}, "E0,A\nE1,C\n", 2, {"no_label": FILES}),
        ({"E0": "s0", "E1": "s0", "E2": "s1"}, "E0,A\nE1,C\nE2,B\n", 1, {"invalid_label": 2 * FILES}),
        ({"E0": "s0", "E1": "s0", "E2": "s1"}, "E0,A\nE1,A\nE2,B\n", 2, {"duplicate": FILES}),
    ],
)
def test_links_to_one_exam(
    tmp_path: Path, make_dicom: MakeDicom, links: dict[str, str], labels: str, accepted: int, reasons: dict[str, int]
) -> None:
    for number in range(2):
        uid = f"1.2.826.0.1.{number}"
        for place, view in enumerate(VIEWS):
            make_dicom(
                f"store/s{number}/{view}.dcm",
                ViewPosition=view[:-2],
                ImageLaterality=view[-1],
                StudyInstanceUID=uid,
                SOPInstanceUID=f"{uid}.{place}",
                AccessionNumber="",
                StudyID="",
                PatientID=f"PAT{number}",
            )
    cohort = tmp_path / "cohort"
    cohort.mkdir()
    for name, target in links.items():
        (cohort / name).symlink_to(tmp_path / "store" / target)
    (tmp_path / "labels.csv").write_text("exam_id,density\n" + labels)
    figures = describe_source(
        FolderSource(cohort, tmp_path / "labels.csv"), IngestConfig(), lambda done, total: None
    ).figures
    assert figures["found"] == len(links) * FILES
    assert (figures["accepted"], figures["by_reason"]) == (accepted * FILES, reasons)
