"""Special pictures: special phantoms are found, standard phantoms and all available real films are accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from components.dicom.pictures.checks import find_in_picture
from components.dicom.pictures.field import PictureFinding
from components.dicom.reading import load_view, reduce_by_area
from components.dicom.rejections import (
    ANY_IMAGE,
    SPECIAL_CASES,
    STANDARD_ONLY,
    AcceptanceConfig,
    IngestError,
    RejectionReason,
)
from components.dicom.remarks import Remark
from components.exam_model.recipe import PreprocessingRecipe
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.distractors import DISTRACTORS
from pipeline.phantom.special import SPECIAL
from pipeline.phantom.special_set import SpecialView, special_views, write_special_set
from serving.client.preprocessing import prepare_exam
from tests.components.dicom.dicom_files import MakeDicom, ramp
from tests.pictures import read_picture

SHARED = Path("../shared/data")
STANDARD = ("standard", *DISTRACTORS)
# Seed and reduction differ from those that the limits were chosen with (11 and 4).
HELD_OUT = PhantomConfig(exams=3, seed=2077, reduction=5, workers=1)


@cache
def held_out() -> dict[str, list[list[PictureFinding]]]:
    """What was found in each held-out picture, by kind."""
    found: dict[str, list[list[PictureFinding]]] = {}
    for made in special_views(HELD_OUT):
        found.setdefault(made.kind, []).append(find_in_picture(pixels_of(made), made.view))
    return found


def pixels_of(made: SpecialView) -> np.ndarray:
    return reduce_by_area(np.rint(made.grey * 65535).astype(np.uint16), 1024)


@pytest.mark.slow
@pytest.mark.parametrize("kind", STANDARD)
def test_no_standard_phantom_is_special(kind: str) -> None:
    found = held_out()[kind]
    assert len(found) == 12
    # A pacemaker can be mistaken for a small paddle, once in these 12.
    assert sum(map(bool, found)) <= (1 if kind == "device" else 0), [item for item in found if item]


@pytest.mark.parametrize(
    ("kind", "least"),
    [
        ("spot_compression", 3),
        ("magnification", 9),
        ("collimated", 11),
        ("implant_present", 9),
        ("implant_displaced", 7),
        ("specimen", 12),
        ("cropped", 11),
        ("breast_cut_off", 11),
    ],
)
def test_special_phantoms_are_found(kind: str, least: int) -> None:
    found = held_out()[kind]
    assert len(found) == 12
    assert sum(map(bool, found)) >= least


def test_every_kind_is_tested() -> None:
    assert set(held_out()) == {*STANDARD, *SPECIAL}


def test_evidence_names_numbers_and_places() -> None:
    evidence = [text for found in held_out().values() for item in found for _, text, _ in item]
    assert evidence
    assert all(any(character.isdigit() for character in text) for text in evidence)


@pytest.mark.slow
def test_places_are_in_pixels_of_the_file() -> None:
    """A bright disc of rows 800 to 1600 in a file of 2400 rows is named so, however small the picture is kept."""
    full: np.ndarray = np.zeros((2400, 1800), np.uint16)
    cv2.ellipse(full, (0, 1200), (1300, 1000), 0, 0, 360, (20000,), -1)
    full = cv2.GaussianBlur(full, (0, 0), 60)
    cv2.ellipse(full, (0, 1200), (600, 400), 0, 0, 360, (60000,), -1)
    for longest in (2400, 1024, 400):
        kept = reduce_by_area(full, longest)
        (case, text, _), *_ = find_in_picture(kept, "CC_L", 2400 / max(kept.shape))
        assert case is RejectionReason.IMPLANT_PRESENT
        words = text.split("rows ")[1].split(",")[0].split(" to ")
        np.testing.assert_allclose([int(word) for word in words], [800, 1600], atol=40)


def real_standard_views() -> Iterator[tuple[str, str, np.ndarray]]:
    for file in sorted((SHARED / "ddsm_browse/images").glob("*.jpg"))[::8]:
        yield file.name, file.name.split(".")[1], read_picture(file, cv2.IMREAD_GRAYSCALE)
    for file in sorted((SHARED / "ddsm_pectoral/images").glob("*.png")):
        yield file.name, "MLO_R", read_picture(file, cv2.IMREAD_GRAYSCALE)


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.is_dir(), reason="no real films here")
def test_no_real_film_is_special() -> None:
    """All 1,144 browse films pass too; every eighth keeps this quick."""
    refused, count = {}, 0
    for name, view, grey in real_standard_views():
        count += 1
        if found := find_in_picture(grey.astype(np.uint16) * np.uint16(257), view):
            refused[name] = found
    assert count >= 143
    assert refused == {}


@pytest.mark.skipif(not SHARED.is_dir(), reason="no real films here")
def test_parts_of_real_films_are_special() -> None:
    """Windows of a film, films cut at the nipple, and lumps on an empty field; all of the film's own pixels."""
    found: Counter[str] = Counter()
    files = sorted((SHARED / "ddsm_pectoral/images").glob("*.png"))[::4]
    for file in files:
        film = read_picture(file, cv2.IMREAD_GRAYSCALE).astype(np.uint16) * 257
        rows, columns = film.shape
        # Right breasts; some are displayed the other way round.
        film = film if film[:, -20:].mean() > film[:, :20].mean() else film[:, ::-1]
        window = film[rows // 2 : rows * 3 // 4, columns * 3 // 4 :]
        cut = film[:, columns * 11 // 16 :]
        lump = np.zeros((500, 400), np.uint16)
        y, x = np.mgrid[:240, : min(240, columns // 3)]
        piece = film[rows // 2 : rows // 2 + 240, columns - x.shape[1] :]
        round_piece = np.hypot((y - 120) / 120, (x - x.shape[1] / 2) / (x.shape[1] / 2)) < 0.97
        lump[130:370, 100 : 100 + x.shape[1]] = piece * round_piece
        for kind, picture in (("window", window), ("cut", cut), ("lump", lump)):
            found[kind] += bool(find_in_picture(np.ascontiguousarray(picture), "MLO_R"))
    least = 0.8 * len(files)
    assert min(found[kind] for kind in ("window", "cut", "lump")) >= least, (found, len(files))


def refusal_of(file: Path, acceptance: AcceptanceConfig) -> IngestError | None:
    try:
        load_view(file, None, 1024, acceptance=acceptance)
    except IngestError as error:
        return error
    return None


@pytest.mark.slow
def test_a_set_on_disk_is_refused_by_kind(tmp_path: Path) -> None:
    counts = write_special_set(PhantomConfig(exams=1, seed=9, reduction=6, workers=1), tmp_path)
    assert counts == dict.fromkeys((*STANDARD, *SPECIAL), 4)
    refused: Counter[str] = Counter()
    for file in sorted(tmp_path.glob("images/*/*.dcm")):
        error = refusal_of(file, STANDARD_ONLY)
        if error is not None:
            if error.reason is RejectionReason.IMPLAUSIBLE_PIXELS:  # the check of the orientation has other rules
                continue
            refused[file.parent.name] += 1
            assert error.reason.value in {case.value for case in SPECIAL_CASES}
            assert error.tag == "pixels"
            assert "pipeline.ingest.accept" in error.remedy
        assert refusal_of(file, ANY_IMAGE) is None
    assert sum(refused[kind] for kind in STANDARD) == 0
    assert sum(refused.values()) >= 20  # of 32 pictures
    with pytest.raises(FileExistsError):
        write_special_set(PhantomConfig(exams=1, workers=1), tmp_path)


def crop(seed: int = 0) -> np.ndarray:
    """Tissue without any background."""
    noise = np.random.default_rng(seed).normal(0, 1, (300, 240)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 6)
    return np.rint(2000 + 1500 * smooth / np.abs(smooth).max()).astype(np.uint16)


def breast() -> np.ndarray:
    """A standard right CC view: uneven tissue on an even background."""
    made = next(made for made in special_views(HELD_OUT) if made.view == "CC_R")
    return np.rint(made.grey * 4095).astype(np.uint16)


def test_acceptance_takes_it_and_tells(make_dicom: MakeDicom) -> None:
    path = make_dicom(pixels=crop())
    with pytest.raises(IngestError) as caught:
        load_view(path, None, 1024)
    assert caught.value.reason in (RejectionReason.CROPPED, RejectionReason.BREAST_CUT_OFF)
    accepting = AcceptanceConfig(accept=(RejectionReason.CROPPED, RejectionReason.BREAST_CUT_OFF))
    loaded = load_view(path, None, 1024, acceptance=accepting)
    assert Remark.SPECIAL_PICTURE in loaded.remarks
    assert RejectionReason.CROPPED in loaded.header.special


def test_what_the_header_names_and_is_accepted_explains_the_picture(make_dicom: MakeDicom) -> None:
    path = make_dicom(pixels=crop(), PartialView="YES")
    loaded = load_view(path, None, 1024, acceptance=AcceptanceConfig(accept=(RejectionReason.PARTIAL_VIEW,)))
    assert {RejectionReason.PARTIAL_VIEW, RejectionReason.CROPPED} <= set(loaded.header.special)


@pytest.mark.parametrize(("strength", "outcome"), [(400, "refused"), (200, "told"), (0, "taken")])
def test_a_faint_rim_is_told_and_taken(make_dicom: MakeDicom, strength: int, outcome: str) -> None:
    rim = np.zeros(breast().shape, np.uint16)
    cv2.rectangle(rim, (425, 290), (515, 430), (strength,), 2)
    path = make_dicom(pixels=np.minimum(breast() + rim, 4095))
    if outcome == "refused":
        with pytest.raises(IngestError, match="spot_compression"):
            load_view(path, None, 1024)
        return
    loaded = load_view(path, None, 1024)
    assert (Remark.POSSIBLE_PADDLE in loaded.remarks) == (outcome == "told")
    assert Remark.SPECIAL_PICTURE not in loaded.remarks
    assert loaded.header.special == ()
    accepting = AcceptanceConfig(accept=(RejectionReason.SPOT_COMPRESSION,))
    assert Remark.POSSIBLE_PADDLE not in load_view(path, None, 1024, acceptance=accepting).remarks


def test_a_large_breast_on_a_small_detector_is_standard() -> None:
    """Both ends of the breast leave the field; from a certain share on it is told, and never refused."""
    rows, columns = 480, 360
    y, x = np.mgrid[:rows, :columns].astype(np.float32)
    texture = cv2.GaussianBlur(np.random.default_rng(3).normal(0, 1, (rows, columns)).astype(np.float32), (0, 0), 3)
    for height, told in ((0.5, False), (0.58, False), (0.7, True)):
        inside = ((x - 0) / 320) ** 2 + ((y - rows / 2) / (height * rows)) ** 2
        grey = np.clip(1 - inside, 0, 1) ** 0.3 * (0.5 + 0.5 * texture)
        found = find_in_picture(np.rint(np.clip(grey, 0, 1) * 60000).astype(np.uint16), "CC_L")
        assert not any(item.sure for item in found), (height, found)
        assert any(item.case is RejectionReason.BREAST_CUT_OFF for item in found) == told, (height, found)


def test_padding_of_a_lossy_file_at_the_chest_wall_is_no_gap() -> None:
    picture = breast()
    noise = np.random.default_rng(0).integers(0, 12, (picture.shape[0], 90)).astype(np.uint16)
    assert find_in_picture(np.hstack([picture, noise]), "CC_R") == []


def test_what_is_seen_does_not_depend_on_how_small_pictures_are_kept(make_dicom: MakeDicom) -> None:
    path = make_dicom(pixels=crop())
    for longest in (1024, 300, 64):
        with pytest.raises(IngestError):
            load_view(path, None, longest)


@pytest.mark.parametrize(
    ("rows", "columns", "spacing", "remark", "refused"),
    [
        (24, 20, 0.1, True, True),
        (32, 20, 0.1, True, False),
        (64, 48, 0.1, True, False),
    ],
)
def test_few_pixels_are_told_or_refused(
    make_dicom: MakeDicom, rows: int, columns: int, spacing: float, remark: bool, refused: bool
) -> None:
    path = make_dicom(pixels=ramp(rows, columns), ImagerPixelSpacing=[spacing, spacing])
    if refused:
        with pytest.raises(IngestError, match=rf"low_resolution, pixels is {rows} x {columns}"):
            load_view(path, None, 1024)
    accept = AcceptanceConfig(accept=(RejectionReason.LOW_RESOLUTION,) if refused else ())
    assert (Remark.LOW_RESOLUTION in load_view(path, None, 1024, acceptance=accept).remarks) == remark


def test_resolution_is_configuration(make_dicom: MakeDicom) -> None:
    path = make_dicom(pixels=breast(), ImagerPixelSpacing=[0.4, 0.4])
    assert load_view(path, None, 1024).remarks == ()
    for limits in ({"ample_side": 4000}, {"ample_spacing_mm": 0.3}):
        assert load_view(path, None, 1024, acceptance=AcceptanceConfig(**limits)).remarks == (Remark.LOW_RESOLUTION,)
    with pytest.raises(IngestError, match="low_resolution"):
        load_view(path, None, 1024, acceptance=AcceptanceConfig(least_side=4000))


def test_a_special_duplicate_does_not_push_the_standard_view_out(tmp_path: Path, make_dicom: MakeDicom) -> None:
    """The client reads the pictures before it chooses among images of one view."""
    make_dicom("a/standard.dcm", breast(), AcquisitionTime="080000")
    make_dicom("a/spot.dcm", crop(), AcquisitionTime="120000")
    prepared = prepare_exam(tmp_path / "a", PreprocessingRecipe())
    assert set(prepared.views) == {"CC_R"}
    assert [item.file for item in prepared.rejected] == ["spot.dcm"]


@pytest.mark.parametrize("shape", [(287, 240), (574, 479), (1024, 832)])
@pytest.mark.parametrize("spread", [9, 4000])
def test_noise_shows_no_special_image(shape: tuple[int, int], spread: int) -> None:
    noise = np.random.default_rng(0).integers(0, spread, shape).astype(np.uint16)
    assert find_in_picture(noise, "CC_L") == []
