"""Equal pixels under other identifiers: which image is kept, and no person is in two splits."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from components.dicom.rejections import RejectionReason as Reason
from components.dicom_example_gen.plan.copies import pixel_copies
from components.dicom_example_gen.plan.ingest_plan import PlannedView
from schema.acquisition import AcquisitionSystem


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
