"""A part of the conformance laboratory, what it found before, and that it finds what is wrong."""

from __future__ import annotations

from pathlib import Path
from random import Random

import numpy as np
import pytest

from benchmarks.conformance import archive_files, compare, drawing, invariants, readers, run, shrinking
from benchmarks.conformance.archives import Archive
from benchmarks.conformance.cases import Case, Lut, Padding, Rescale, Windows
from benchmarks.conformance.writers import program

SEED = 20
FILES = 220
ARCHIVES = 60

# Shrunk: each was read wrong, or refused, once.
FOUND = (
    Case(overlay="junk"),
    Case(overlay="extended"),
    Case(overlay="embedded"),
    Case(overlay="junk", syntax="RLELossless", pixel_vr="OB"),
    Case(high_bit=12, signed=True),
    Case(padding=Padding(65535)),
    Case(modality=Lut()),
    Case(voi_luts=(Lut(bits=8, data_vr="OW", packed=True),), syntax="ExplicitVRBigEndian"),
    Case(voi_luts=(Lut(first=-1024, descriptor_vr="SS"),), modality=Rescale("1", "-1024")),
    Case(
        voi_luts=(Lut(entries=65536, first=-1024, bits=12, data_vr="OW", descriptor_vr="SS"),),
        modality=Rescale("1.25", "-1024"),
        syntax="ImplicitVRLittleEndian",
        stored=16,
        high_bit=15,
    ),
    Case(windows=Windows("1264\\", "4065.4")),
    Case(windows=Windows("3057\\", "4766.1\\")),
    Case(windows=Windows("2681,7", "4729,3")),
    Case(windows=Windows("2000\\NaN", "1000\\NaN")),
    Case(windows=Windows("2000", "1")),
    Case(modality=Rescale("1", "-1500,0"), windows=Windows("500", "4000")),
    Case(modality=Rescale("one", "0")),
    Case(windows=Windows("1585.2", "1892.7"), groups="shared"),
    Case(windows=Windows("1585.2", "1892.7"), groups="frame"),
    Case(modality=Rescale("2", "-100"), groups="frame"),
    Case(voi_luts=(Lut(),), groups="shared"),
    Case(syntax="HTJ2K", encoder="stream", pixel_vr="OB"),
    Case(syntax="JPEGLSLossless", pixel_vr="OB", signed=True),
    *(
        Case(syntax=syntax, encoder=encoder, pixel_vr="OB", fragments=3, offsets=offsets)
        for syntax, encoder in (("JPEGLSLossless", "pydicom"), ("JPEG2000Lossless", "pydicom"), ("JPEG2000", "pydicom"))
        for offsets in ("empty", "one", "each", "junk")
    ),
    *(
        Case(syntax="JPEGLosslessSV1", encoder="dcmtk", pixel_vr="OB", fragments=3, offsets=offsets)
        for offsets in ("empty", "one", "each", "junk")
    ),
)
FOUND_ARCHIVES = (
    Archive(women=2, study_uids="constant"),
    Archive(women=2, study_uids="constant", dates="blank", people="blank", accessions="constant"),
    Archive(women=2, study_uids="blank", misfiled=True),
    Archive(women=2, key="patient", patient_ids="constant", unlabelled=True),
    Archive(women=2, key="patient", patient_ids="constant", unilateral="first"),
    Archive(women=2, patient_ids="constant", unilateral="both", layout="flat", key="study_uid"),
    Archive(women=2, key="study_id", study_ids="1", unlabelled=True),
    Archive(women=2, sop_uids="constant"),
    Archive(women=2, sop_uids="per exam", key="manifest"),
    Archive(women=1, several=True, study_uids="constant"),
    Archive(women=1, several=True, study_uids="blank", misfiled=True),
    Archive(women=1, several=True, key="patient"),
    Archive(women=1, several=True, key="patient", dates="blank"),
    Archive(women=1, several=True, layout="numbered"),
    Archive(women=1, several=True, layout="patient/number", misfiled=True),
    Archive(women=1, several=True, layout="flat", key="manifest", study_uids="blank"),
    Archive(women=1, several=True, study_uids="constant", dates="blank", people="blank", accessions="blank"),
    Archive(
        women=1,
        several=True,
        layout="patient/exam",
        key="patient folder",
        study_uids="blank",
        dates="blank",
        people="blank",
        accessions="constant",
    ),
    Archive(women=1, links=True),
    Archive(women=2, table="sep line", key="study_uid"),
)


def _told(lines: list[str]) -> str:
    return "\n".join(["", *lines])


@pytest.mark.parametrize("case", FOUND, ids=lambda case: run.brief(case, Case()))
def test_what_was_found_before_is_right(case: Case, tmp_path: Path) -> None:
    verdict = compare.judge(case, tmp_path)
    if verdict.unwritten and program("dcmcjpeg") is None:
        pytest.skip(verdict.unwritten)
    assert not verdict.unwritten
    assert verdict.failures == (), verdict


@pytest.mark.slow
def test_our_grey_is_that_of_other_readers() -> None:
    tally = run.try_grey(FILES, SEED)
    assert not tally.failures, _told(run.shrunk_grey(tally, 1))
    assert tally.compared["the standard"] > FILES / 2
    if program("dcmj2pnm") is not None:
        assert tally.compared["dcmtk"] > FILES / 4


@pytest.mark.parametrize("archive", FOUND_ARCHIVES, ids=lambda archive: run.brief(archive, Archive()))
def test_archives_that_went_wrong_before_are_right(archive: Archive) -> None:
    assert invariants.judge(archive).broken == ()


@pytest.mark.parametrize("spoilt", ["first", "second", "both"])
@pytest.mark.parametrize("dates", ["kept", "blank"])
def test_the_next_image_of_a_view_is_taken(spoilt: str, dates: str) -> None:
    archive = Archive(women=2, retake=True, spoilt=spoilt, dates=dates, copies=True, table="numbers")
    assert invariants.judge(archive, whole=True).broken == ()


@pytest.mark.slow
def test_no_archive_breaks_an_invariant() -> None:
    grouping = run.try_grouping(ARCHIVES, runs=1, seed=SEED)
    assert not grouping.failures, _told(run.shrunk_archives(grouping, 1))
    # A rule that refuses everything breaks no invariant either.
    assert sum(grouping.lost.values()) < grouping.usable / 4


def test_the_laboratory_sees_one_pixel_that_differs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = readers.ours

    def wrong(path: Path, case: Case) -> np.ndarray:
        grey = ours(path, case).copy()
        grey[3, 4] += 20
        return grey

    assert compare.judge(Case(), tmp_path).failures == ()
    monkeypatch.setattr(compare, "ours", wrong)
    failures = compare.judge(Case(), tmp_path).failures
    assert {"differs from the standard", "differs from pydicom", "differs from highdicom"} <= set(failures)


def test_a_failing_case_is_shrunk_to_what_fails() -> None:
    case = next(
        case
        for number in range(1000)
        if (case := drawing.draw(Random(number), number)).inverse and case.voi_luts and case.is_encapsulated
    )
    shrunk = shrinking.shrink(case, lambda tried: tried.inverse and bool(tried.voi_luts))
    assert shrunk.inverse
    assert len(shrunk.voi_luts) == 1
    assert (shrunk.syntax, shrunk.windows, shrunk.modality, shrunk.padding) == (Case().syntax, None, None, None)


def test_every_archive_has_one_truth(tmp_path: Path) -> None:
    archive = Archive(women=2, several=True, copies=True, retake=True)
    truth = archive_files.write(archive, tmp_path)
    on_disk = {path.relative_to(truth.root).as_posix() for path in truth.root.rglob("*") if path.is_file()}
    assert on_disk == truth.files.keys()
    assert {image.exam.woman for image in truth.files.values()} == {0, 1}
    assert len({image.exam for image in truth.files.values()}) == 3
    copies = [image for image in truth.files.values() if image.copy_of]
    assert copies
    assert all((truth.root / c.copy_of).exists() for c in copies)
