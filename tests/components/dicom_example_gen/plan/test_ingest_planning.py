from __future__ import annotations

import json
import pickle
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from components.dicom.headers.header import ViewHeader
from components.dicom.rejections import Rejection
from components.dicom.rejections import RejectionReason as Reason
from components.dicom_example_gen.config import IngestConfig, SplitFractions
from components.dicom_example_gen.plan.identity import keyed_hash
from components.dicom_example_gen.plan.ingest_plan import IngestPlan, replace_unusable
from components.dicom_example_gen.plan.patients import split_of
from components.dicom_example_gen.plan.planning import InspectedFile, plan
from components.dicom_example_gen.report import file_rows, summary
from components.sources.candidates import Candidate, Label
from components.sources.tables import RowProblem
from schema.features import VIEWS

KEY, CONFIG = b"secret", IngestConfig()


def read(file: str, view: str = "CC_R", label: Label | None = None, **header: Any) -> InspectedFile:
    fields: dict[str, Any] = {"rows": 10, "columns": 10, "sop_uid": f"uid of {file}"} | header
    return InspectedFile(Candidate(file, label=label), ViewHeader(view=view, **fields))


def four_views(exam: str, **header: Any) -> list[InspectedFile]:
    return [read(f"{exam}/{view}.dcm", view, **header) for view in VIEWS]


def reasons(result: IngestPlan) -> dict[str, Reason]:
    return {r.file: r.reason for r in result.rejected}


@pytest.mark.parametrize(
    "header",
    [
        {"study_uid": "E1", "patient_id": "E2"},
        {"accession_number": "E1", "study_id": "E2"},
        {"study_id": "E1"},
        {"patient_id": "E1"},
    ],
)
def test_exams_match_by_header_in_order(header: dict[str, Any]) -> None:
    labels = {"E1": Label("E1", "C"), "E2": Label("E2", "A")}
    result = plan([read("a.dcm", **header)], labels, CONFIG, KEY)
    assert [v.density for v in result.accepted] == ["C"]
    assert result.labels_without_files == 1


def test_exams_match_by_the_innermost_folder() -> None:
    labels = {"outer": Label("outer", "A"), "inner": Label("inner", "B")}
    result = plan([read("outer/inner/x/a.dcm"), read("outer/b.dcm")], labels, CONFIG, KEY)
    assert {v.file: v.density for v in result.accepted} == {"outer/inner/x/a.dcm": "B", "outer/b.dcm": "A"}


def test_files_without_or_with_a_bad_label() -> None:
    labels = {"E2": RowProblem(Reason.INVALID_LABEL, "l.csv line 3, column density", "Z", "A to D is allowed")}
    result = plan([read("a.dcm", patient_id="secret-7"), read("E2/b.dcm")], labels, CONFIG, KEY)
    assert reasons(result) == {"a.dcm": Reason.NO_LABEL, "E2/b.dcm": Reason.INVALID_LABEL}
    assert not any("secret-7" in r.message for r in result.rejected)


def test_duplicates_by_name_and_by_instance() -> None:
    first = read("E1/a.dcm")
    copy = replace(first, candidate=Candidate("E1/copy.dcm"))
    result = plan([copy, first, first], {"E1": Label("E1", "A")}, CONFIG, KEY)
    assert [v.file for v in result.accepted] == ["E1/a.dcm"]
    assert reasons(result) == {"E1/copy.dcm": Reason.DUPLICATE, "E1/a.dcm": Reason.DUPLICATE}
    assert all(r.value == "that of E1/a.dcm" for r in result.rejected)


def test_the_largest_then_latest_then_first_image_of_a_view_is_kept() -> None:
    labels = {f"E{i}": Label(f"E{i}", "A") for i in (1, 2, 3)}
    outcomes = [
        read("E1/a.dcm", rows=10),
        read("E1/b.dcm", rows=20, acquired_at="201901021000"),
        read("E1/c.dcm", rows=20, acquired_at="201901021001"),
        read("E2/a.dcm"),
        read("E2/b.dcm"),
        read("E3/a.dcm"),
        read("E3/b.dcm", view="MLO_R"),
    ]
    result = plan(outcomes, labels, CONFIG, KEY)
    assert [v.file for v in result.accepted] == ["E1/c.dcm", "E2/a.dcm", "E3/a.dcm", "E3/b.dcm"]
    assert set(reasons(result).values()) == {Reason.DUPLICATE_VIEW}


def test_the_patient_comes_from_the_table_then_the_header_then_the_exam() -> None:
    labels = {
        "E1": Label("E1", "A", patient_id="P9"),
        "E2": Label("E2", "A"),
        "E3": Label("E3", "A"),
        "E4": Label("E4", "A"),
    }
    outcomes = [
        *four_views("E1", patient_id="X"),
        *four_views("E2", patient_id="X"),
        *(read(f"E3/{v}.dcm", v, patient_id=f"P_001_{v}") for v in VIEWS),  # as in CBIS-DDSM
        *four_views("E4", patient_id="X"),
    ]
    result = plan(outcomes, labels, CONFIG, KEY)
    patients = {v.file.split("/")[0]: v.patient_hash for v in result.accepted}
    assert patients == {
        "E1": keyed_hash("P9", KEY, "patient"),
        "E2": keyed_hash("X", KEY, "patient"),
        "E3": keyed_hash("E3", KEY, "patient"),
        "E4": keyed_hash("X", KEY, "patient"),
    }


def test_rows_of_one_exam_must_agree() -> None:
    outcomes = [
        read("a", label=Label("E1", "A")),
        read("b", "CC_L", Label("E1", "B")),
        read("c", label=Label("E2", "A", patient_id="P1")),
        read("d", "CC_L", Label("E2", "A", patient_id="P2")),
    ]
    result = plan(outcomes, {}, CONFIG, KEY)
    assert not result.accepted
    assert reasons(result) == {
        "a": Reason.INVALID_LABEL,
        "b": Reason.INVALID_LABEL,
        "c": Reason.INVALID_ROW,
        "d": Reason.INVALID_ROW,
    }


def test_splits_of_a_manifest_hold_for_the_patient_and_may_not_conflict() -> None:
    def row(exam: str, patient: str, split: str) -> InspectedFile:
        return read(f"{exam}.png", label=Label(exam, "A", patient_id=patient, split=split))

    outcomes = [row("E1", "P1", "test"), row("E2", "P1", ""), row("E3", "P2", "train"), row("E4", "P2", "eval")]
    result = plan(outcomes, {}, CONFIG, KEY)
    assert {v.file: v.split for v in result.accepted} == {"E1.png": "test", "E2.png": "test"}
    assert reasons(result) == {"E3.png": Reason.SPLIT_CONFLICT, "E4.png": Reason.SPLIT_CONFLICT}


def test_the_table_overrides_age_and_system() -> None:
    label = Label("E1", "A", age=61, acquisition_system="Scanner X")
    (view,) = plan([read("a", label=label, patient_age=50)], {}, CONFIG, KEY).accepted
    assert (view.patient_age, view.acquisition_system, view.system.key) == (61, "Scanner X", "unknown")


@st.composite
def archives(draw: st.DrawFn) -> list[InspectedFile]:
    outcomes = []
    for number in range(draw(st.integers(0, 25))):
        file = f"{draw(st.sampled_from(['E1', 'E2', 'E3', 'none']))}/{number:02d}.dcm"
        if draw(st.integers(0, 5)) == 0:
            rejected = Rejection(Reason.TRUNCATED, file, "t", "v", "r")
            outcomes.append(InspectedFile(Candidate(file), rejection=rejected))
            continue
        header = ViewHeader(
            view=draw(st.sampled_from(VIEWS)),
            rows=draw(st.integers(1, 3)),
            columns=1,
            sop_uid=draw(st.sampled_from(["", "1", "2", str(number)])),
            patient_id=draw(st.sampled_from(["", "P1", "P2"])),
        )
        label = None
        if draw(st.booleans()):
            label = Label(
                draw(st.sampled_from(["E1", "E4", "E5"])),
                draw(st.sampled_from("AB")),
                draw(st.sampled_from(["", "P1", "P2"])),
                split=draw(st.sampled_from(["", "", "train", "test"])),
            )
        outcomes.append(InspectedFile(Candidate(file, label=label), header))
    return outcomes


@pytest.mark.slow
@settings(max_examples=150)
@given(archives(), st.randoms(use_true_random=False))
def test_every_candidate_is_accepted_or_rejected_in_any_order(
    outcomes: list[InspectedFile], order: random.Random
) -> None:
    labels: dict[str, Label | RowProblem] = {
        "E1": Label("E1", "A"),
        "E2": RowProblem(Reason.NO_LABEL, "w", "v", "a"),
        "E3": Label("E3", "B", split="eval"),
    }
    result = plan(outcomes, labels, CONFIG, KEY)
    files = Counter(v.file for v in result.accepted) + Counter(r.file for r in result.rejected)
    assert files == Counter(o.candidate.file for o in outcomes)
    by_view = Counter((v.exam_hash, v.view) for v in result.accepted)
    assert all(count == 1 for count in by_view.values())
    splits: dict[str, set[str]] = {}
    for view in result.accepted:
        splits.setdefault(view.patient_hash, set()).add(view.split)
    assert all(len(found) == 1 for found in splits.values())
    shuffled = list(outcomes)
    order.shuffle(shuffled)
    assert plan(shuffled, labels, CONFIG, KEY) == result
    assert pickle.loads(pickle.dumps(result)) == result


@settings(max_examples=150)
@given(archives(), st.data())
def test_a_view_is_absent_only_if_each_image_failed(outcomes: list[InspectedFile], data: st.DataObject) -> None:
    labels = {"E1": Label("E1", "A"), "E2": Label("E2", "B"), "E3": Label("E3", "A", split="eval")}
    first = plan(outcomes, labels, CONFIG, KEY)
    files = sorted({image.file for view in first.accepted for image in view.images})
    bad = data.draw(st.sets(st.sampled_from(files))) if files else set()
    # Pass two tries the images of a view in their order, until one is sound.
    tried = {
        image.file
        for view in first.accepted
        for place, image in enumerate(view.images)
        if all(before.file in bad for before in view.images[:place])
    }
    late = [Rejection(Reason.UNDECODABLE_PIXELS, file, "t", "v", "r") for file in sorted(bad & tried)]
    result = replace_unusable(first, late)
    counted = Counter(v.file for v in result.accepted) + Counter(r.file for r in result.rejected)
    assert counted == Counter(o.candidate.file for o in outcomes)
    kept = {view.file for view in result.accepted}
    assert not kept & bad
    for rejection in result.rejected:
        if rejection.reason in (Reason.DUPLICATE, Reason.DUPLICATE_VIEW):
            assert rejection.value.rpartition("that of ")[2] in kept
    shown = {(view.exam_hash, view.view) for view in result.accepted}
    for view in first.accepted:
        images = {image.file for image in view.images}
        assert ((view.exam_hash, view.view) in shown) == bool(images - bad)
    assert replace_unusable(first, []) == first


def test_late_rejections_and_report() -> None:
    labels = {"E1": Label("E1", "A", age=50), "E2": Label("E2", "C", age=60), "E3": Label("E3", "C", age=63)}
    outcomes = [o for exam in labels for o in four_views(exam, patient_id=f"patient of {exam}")]
    first = plan(outcomes, labels, CONFIG, KEY)
    late = Rejection(Reason.UNDECODABLE_PIXELS, "E1/CC_L.dcm", "Pixel Data (7FE0,0010)", "bad", "export again")
    result = replace_unusable(first, [late])
    assert (len(first.accepted), len(result.accepted), len(result.rejected)) == (12, 11, 1)

    figures = summary(result, {".csv": 1})
    assert (figures["found"], figures["accepted"], figures["rejected"]) == (12, 11, 1)
    assert figures["by_reason"] == {"undecodable_pixels": 1}
    assert figures["exams"] == {"A": 1, "B": 0, "C": 2, "D": 0}
    assert figures["incomplete_exams"] == 1
    assert sum(s["views"] for s in figures["splits"].values()) == 11
    assert sum(s["patients"] for s in figures["splits"].values()) == 3
    assert figures["systems"] == {"unknown": {"original": 3, "exams": 3, "views": 11}}
    ages = {"60": 1, "63": 1}
    assert figures["ages"]["C"] == {"n": 2, "mean": 61.5, "sd": 2.12, "median": 61.5, "counts": ages}
    assert figures["ages"]["B"] == {"n": 0, "mean": None, "sd": None, "median": None, "counts": {}}

    rows = file_rows(result)
    assert [row["file"] for row in rows] == sorted(o.candidate.file for o in outcomes)
    assert rows[0]["reason"] == "undecodable_pixels"
    text = json.dumps([figures, rows])
    assert "patient of" not in text
    assert "uid of" not in text


@given(st.text(min_size=1), st.integers(0, 9))
def test_the_split_depends_only_on_the_patient(patient: str, seed: int) -> None:
    assert split_of(patient, SplitFractions(train=1, eval=0, test=0), seed) == "train"
    assert split_of(patient, SplitFractions(train=0, eval=0, test=1), seed) == "test"
    assert split_of(patient, SplitFractions(train=0, eval=1, test=0), seed) == "eval"
    assert split_of(patient, CONFIG.splits, seed) == split_of(patient, CONFIG.splits, seed)


def test_split_shares_and_seeds() -> None:
    hashes = [keyed_hash(str(i), KEY, "patient") for i in range(4000)]
    counts = Counter(split_of(h, CONFIG.splits, 0) for h in hashes)
    for split, share in (("train", 0.7), ("eval", 0.15), ("test", 0.15)):
        assert abs(counts[split] / 4000 - share) < 0.03
    assert 0.3 < sum(split_of(h, CONFIG.splits, 0) != split_of(h, CONFIG.splits, 1) for h in hashes) / 4000 < 0.6


def test_adding_patients_moves_no_others() -> None:
    labels = {f"E{i}": Label(f"E{i}", "A") for i in range(40)}
    outcomes = [o for exam in labels for o in four_views(exam)]
    before = plan(outcomes[:80], labels, CONFIG, KEY)
    after = {v.file: v.split for v in plan(outcomes, labels, CONFIG, KEY).accepted}
    assert all(after[v.file] == v.split for v in before.accepted)


def test_the_keyed_hash_depends_on_key_and_kind() -> None:
    assert keyed_hash("P1", KEY, "patient") == keyed_hash("P1", KEY, "patient")
    assert len({keyed_hash("P1", k, n) for k in (KEY, b"x") for n in ("patient", "exam")}) == 4
    assert len(keyed_hash("P1", KEY, "exam")) == 32


def test_configuration_is_closed() -> None:
    with pytest.raises(ValidationError, match="sum to 1"):
        SplitFractions(train=0.5, eval=0.1, test=0.1)
    with pytest.raises(ValidationError):
        IngestConfig.model_validate({"longest": 3})
    config = IngestConfig.model_validate({"splits": {"train": 0.6, "eval": 0.2, "test": 0.2}})
    assert config.splits.test == 0.2
