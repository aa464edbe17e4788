"""Review files, valid and hostile: each is read, or is unused with a sentence that explains what to do."""

from __future__ import annotations

import json
import os
import zlib
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import highdicom as hd
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

from components.common.png import pixels_sha256
from components.review.folder import ReviewFolderError, folder_fingerprint, read_reviews
from components.review.problems import ReviewError, ReviewProblem
from components.review.review_file import (
    MAX_BYTES,
    Review,
    ReviewName,
    drawn_mask,
    parse_review,
    parse_stem,
    review_name,
)

SHAPE = (120, 80)
NAME = ReviewName("0123456789abcdef" * 2, "MLO_L", "fedcba9876543210")
TRIANGLE = [[0.5, 0.5], [40.5, 0.5], [0.5, 60.5]]


def muscle() -> NDArray[np.bool_]:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return x / 40 + y / 60 < 1


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


def segmentation(mask: NDArray[np.bool_]) -> bytes:
    """Return a DICOM SEG that highdicom wrote, of a mammogram with the mask's size."""
    source = Dataset()
    source.file_meta = FileMetaDataset()
    source.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    source.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    source.SOPInstanceUID, source.SeriesInstanceUID, source.StudyInstanceUID = (generate_uid() for _ in range(3))
    source.PatientID, source.PatientName, source.PatientBirthDate, source.PatientSex = "ID", "Rossi^Maria", "", "F"
    source.StudyID, source.StudyDate, source.StudyTime, source.AccessionNumber = "1", "", "", ""
    source.ReferringPhysicianName, source.Modality = "", "MG"
    source.Rows, source.Columns = mask.shape
    source.SamplesPerPixel, source.BitsAllocated, source.PixelRepresentation = 1, 16, 0
    segment = hd.seg.SegmentDescription(
        segment_number=1,
        segment_label="pectoral",
        segmented_property_category=codes.SCT.AnatomicalStructure,
        segmented_property_type=codes.SCT.Muscle,
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.MANUAL,
    )
    made = hd.seg.Segmentation(
        source_images=[source],
        pixel_array=mask,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment],
        series_instance_uid=generate_uid(),
        series_number=1,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer="M",
        manufacturer_model_name="M",
        software_versions="1",
        device_serial_number="1",
    )
    buffer = BytesIO()
    made.save_as(buffer)
    return buffer.getvalue()


def read(content: object, suffix: str = ".json") -> Review:
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    return parse_review(NAME.stem + suffix, data)


def problem_of(content: object, suffix: str = ".json") -> ReviewProblem:
    with pytest.raises(ReviewError) as raised:
        drawn_mask(read(content, suffix), SHAPE)
    assert len(raised.value.sentence) > 20
    assert "\n" not in raised.value.sentence
    return raised.value.problem


LABELME: dict[str, Any] = {
    "version": "5.5.0",
    "flags": {"accept": False, "absent": False},
    "shapes": [{"label": "pectoral", "points": TRIANGLE, "group_id": None, "shape_type": "polygon", "flags": {}}],
    "imagePath": "x.png",
    "imageData": None,
    "imageHeight": SHAPE[0],
    "imageWidth": SHAPE[1],
    "pixels_sha256": NAME.pixels + "0" * 48,
}


@pytest.mark.parametrize("content", [{"polygons": [TRIANGLE]}, LABELME], ids=["own", "labelme"])
def test_polygons_become_the_mask_that_they_outline(content: dict[str, object]) -> None:
    review = read(content)
    assert (review.name, review.statement) == (NAME, "muscle")
    drawn = drawn_mask(review, SHAPE)
    assert drawn[0, 0]
    assert drawn[0, 40]
    assert not drawn[0, 42]
    assert (drawn ^ muscle()).sum() < 60  # the sloping side


@pytest.mark.parametrize(
    "picture",
    [
        255 * muscle().astype(np.uint8),
        muscle().astype(np.uint8),
        65535 * muscle().astype(np.uint16),
        np.dstack([255 * muscle().astype(np.uint8)] * 3),
        np.dstack([np.full((*SHAPE, 3), 255, np.uint8), 255 * muscle().astype(np.uint8)]),  # white, transparent outside
    ],
    ids=["grey", "one", "16 bit", "colour", "alpha"],
)
def test_masks_of_any_editor_are_read(picture: np.ndarray) -> None:
    np.testing.assert_array_equal(drawn_mask(read(png(picture), ".png"), SHAPE), muscle())


def test_a_smooth_brush_leaves_a_mask() -> None:
    smooth = cv2.GaussianBlur(255 * muscle().astype(np.uint8), (0, 0), 0.6)
    assert (drawn_mask(read(png(smooth), ".png"), SHAPE) ^ muscle()).sum() < 40


@pytest.fixture(scope="module")
def seg_bytes() -> bytes:
    return segmentation(muscle())


def test_a_dicom_segmentation_of_highdicom_is_read(seg_bytes: bytes) -> None:
    np.testing.assert_array_equal(drawn_mask(read(seg_bytes, ".dcm"), SHAPE), muscle())


def test_a_mask_of_the_archives_own_size_is_reduced() -> None:
    large = np.kron(muscle(), np.ones((4, 4), np.bool_))
    np.testing.assert_array_equal(drawn_mask(read(png(255 * large.astype(np.uint8)), ".png"), SHAPE), muscle())


def test_absent_and_accepted_are_read_from_own_keys_and_from_labelmes_flags() -> None:
    assert read({"muscle": "absent"}).statement == "absent"
    assert read({"flags": {"absent": True}, "shapes": []}).statement == "absent"
    assert read({"accept": True}).statement == "accept"
    seen = read({"accept": True, "polygons": [TRIANGLE]})
    assert (seen.statement, seen.has_outline) == ("accept", True)
    assert read({"accept": True, "muscle": "absent"}).accepted_absent


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", ReviewProblem.UNREADABLE),
        (b"\xff\xfe junk", ReviewProblem.UNREADABLE),
        (b"[" * 100_000, ReviewProblem.UNREADABLE),
        ([], ReviewProblem.UNREADABLE),
        ({"polygons": [[["1", "2"], [3, 4], [5, 6]]]}, ReviewProblem.UNREADABLE),
        (b'{"polygons": [[[1e999, 0], [3, 4], [5, 6]]]}', ReviewProblem.UNREADABLE),
        (b'{"polygons": [[[NaN, 0], [3, 4], [5, 6]]]}', ReviewProblem.UNREADABLE),
        ({"polygons": [TRIANGLE] * 21}, ReviewProblem.UNREADABLE),
        ({"muscle": "present"}, ReviewProblem.UNREADABLE),
        ({"acept": True}, ReviewProblem.NO_STATEMENT),
        ({"accept": False, "polygons": []}, ReviewProblem.NO_STATEMENT),
        ({"muscle": "absent", "polygons": [TRIANGLE]}, ReviewProblem.CONTRADICTION),
        ({"polygons": [TRIANGLE[:2]]}, ReviewProblem.BAD_POLYGON),
        ({"polygons": [[[0, 0], [30, 30], [30, 0], [0, 30]]]}, ReviewProblem.BAD_POLYGON),
        ({"polygons": [[[0, 0], [300, 0], [0, 60]]]}, ReviewProblem.OUTSIDE_IMAGE),
        ({"polygons": [TRIANGLE], "imageHeight": 60, "imageWidth": 40}, ReviewProblem.WRONG_SIZE),
        ({"shapes": [{"label": "mass", "points": TRIANGLE}]}, ReviewProblem.UNSUPPORTED),
        ({"shapes": [{"label": "pectoral", "points": TRIANGLE, "shape_type": "circle"}]}, ReviewProblem.UNSUPPORTED),
    ],
)
def test_bad_json_is_refused(content: object, problem: ReviewProblem) -> None:
    assert problem_of(content) is problem


def _bomb(side: int) -> bytes:
    """Return a small PNG whose header declares a huge picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + b"\x08\x00\x00\x00\x00"
    data = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"junk", ReviewProblem.UNREADABLE),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, ReviewProblem.UNREADABLE),
        (_bomb(200_000), ReviewProblem.TOO_LARGE),
        (png(np.zeros(SHAPE, np.uint8)), ReviewProblem.EMPTY_MASK),
        (png(255 * np.ones((60, 80), np.uint8)), ReviewProblem.WRONG_SIZE),
        (png(255 * np.ones((80, 120), np.uint8)), ReviewProblem.WRONG_SIZE),
        (png(np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)), ReviewProblem.NOT_A_MASK),
    ],
)
def test_bad_png_is_refused(content: bytes, problem: ReviewProblem) -> None:
    assert problem_of(content, ".png") is problem


def test_bad_dicom_is_refused(seg_bytes: bytes) -> None:
    def edited(**values: object) -> bytes:
        dataset = dcmread(BytesIO(seg_bytes))
        for name, value in values.items():
            setattr(dataset, name, value)
        buffer = BytesIO()
        dataset.save_as(buffer)
        return buffer.getvalue()

    assert problem_of(b"junk", ".dcm") is ReviewProblem.UNREADABLE
    assert problem_of(seg_bytes[:-200], ".dcm") is ReviewProblem.UNREADABLE
    assert problem_of(edited(SOPClassUID="1.2.840.10008.5.1.4.1.1.2"), ".dcm") is ReviewProblem.UNSUPPORTED
    assert problem_of(edited(SegmentationType="FRACTIONAL"), ".dcm") is ReviewProblem.UNSUPPORTED
    assert problem_of(edited(NumberOfFrames=2), ".dcm") is ReviewProblem.UNSUPPORTED
    assert problem_of(edited(Rows=60000, Columns=60000), ".dcm") is ReviewProblem.TOO_LARGE
    assert problem_of(edited(Rows=80, Columns=120), ".dcm") is ReviewProblem.WRONG_SIZE
    deflated = seg_bytes.replace(ExplicitVRLittleEndian.encode() + b"\0", DeflatedExplicitVRLittleEndian.encode()[:20])
    assert problem_of(deflated, ".dcm") in (ReviewProblem.UNSUPPORTED, ReviewProblem.UNREADABLE)


@settings(max_examples=60)
@given(st.data())
def test_damaged_files_are_read_or_refused_with_a_typed_error(seg_bytes: bytes, data: st.DataObject) -> None:
    kinds = {
        ".json": json.dumps(LABELME).encode(),
        ".png": png(255 * muscle().astype(np.uint8)),
        ".dcm": seg_bytes,
    }
    suffix = data.draw(st.sampled_from(sorted(kinds)))
    content = bytearray(kinds[suffix])
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content
    with suppress(ReviewError):
        review = read(bytes(content), suffix)
        assert not review.has_outline or drawn_mask(review, SHAPE).shape == SHAPE


@pytest.mark.parametrize(
    "name",
    [
        "notes.json",
        f"{NAME.stem} (1) (2).json",
        f"{NAME.stem} Rossi.json",
        f"{NAME.stem}.nrrd",
        f"{NAME.stem}.mask.png",
        "Rossi Maria.png",
        ".json",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ReviewError, match="EXAMID_VIEW_PIXELS") as raised:
        parse_review(name, b"{}")
    assert raised.value.problem is ReviewProblem.UNKNOWN_NAME


def test_a_craniocaudal_view_has_no_muscle_to_review() -> None:
    with pytest.raises(ReviewError) as raised:
        parse_review(f"{NAME.exam_id}_CC_L_{NAME.pixels}.json", b'{"muscle": "absent"}')
    assert raised.value.problem is ReviewProblem.NOT_OBLIQUE


def test_names_round_trip_and_depend_only_on_the_pixels() -> None:
    assert parse_stem(NAME.stem) == NAME
    pixels = np.arange(12, dtype=np.uint16).reshape(3, 4)
    name = review_name(NAME.exam_id, "MLO_R", pixels_sha256(pixels))
    assert parse_stem(name.stem) == name
    assert pixels_sha256(np.asfortranarray(pixels)) == pixels_sha256(pixels.astype(">u2")) == pixels_sha256(pixels)
    others: list[np.ndarray] = [pixels.reshape(4, 3), pixels.astype(np.uint8), pixels + np.uint16(1)]
    assert len({pixels_sha256(other) for other in [pixels, *others]}) == 4


def test_every_file_of_a_folder_is_used_or_unused(tmp_path: Path) -> None:
    def other(digit: str) -> str:
        return ReviewName(digit * 32, "MLO_R", NAME.pixels).stem

    (tmp_path / f"{NAME.stem}.json").write_text('{"muscle": "absent"}')
    (tmp_path / f"{other('1')}.png").write_bytes(png(255 * muscle().astype(np.uint8)))
    (tmp_path / f"{other('2')}.json").write_text('{"accept": true}')
    (tmp_path / f"{other('2')}.PNG").write_bytes(b"junk")
    (tmp_path / f"{other('3')}.json").write_bytes(b" " * (MAX_BYTES + 1))
    (tmp_path / "Rossi Maria.json").write_text("{}")
    os.mkfifo(tmp_path / f"{other('4')}.json")
    for left_alone in ("todo", f"{other('5')}.json"):
        (tmp_path / left_alone).mkdir()
    (tmp_path / "review.html").touch()
    (tmp_path / ".DS_Store").touch()

    reviews = read_reviews(tmp_path)

    assert {review.file for review in reviews.by_name.values()} == {f"{NAME.stem}.json", f"{other('1')}.png"}
    assert {(review.file, review.problem) for review in reviews.unused} == {
        (f"{other('2')}.json", ReviewProblem.TWO_FILES),
        (f"{other('2')}.PNG", ReviewProblem.TWO_FILES),
        (f"{other('3')}.json", ReviewProblem.TOO_LARGE),
        (f"{other('4')}.json", ReviewProblem.UNREADABLE),
        ("Rossi Maria.json", ReviewProblem.UNKNOWN_NAME),
    }
    [stranger] = [review for review in reviews.unused if review.problem is ReviewProblem.UNKNOWN_NAME]
    assert "Rossi" not in stranger.shown + stranger.sentence


@pytest.mark.parametrize("copy", [" (1)", "(1)", "-1"])
def test_the_later_review_of_one_image_is_used(tmp_path: Path, copy: str) -> None:
    first, second = f"{NAME.stem}.json", f"{NAME.stem}{copy}.json"  # as browsers name a second download
    (tmp_path / first).write_text('{"accept": true, "answered_at": "2026-11-23T10:00:00.000Z"}')
    (tmp_path / second).write_text('{"muscle": "absent", "answered_at": "2026-11-23T10:00:00.001Z"}')
    reviews = read_reviews(tmp_path)
    assert [(review.file, review.statement) for review in reviews.by_name.values()] == [(second, "absent")]
    [unused] = reviews.unused
    assert (unused.file, unused.problem) == (first, ReviewProblem.SUPERSEDED)
    assert second in unused.sentence

    for undated in ('{"accept": true}', '{"accept": true, "answered_at": "2026-11-23T10:00:00.000Z"}', "junk"):
        (tmp_path / second).write_text(undated)
        reviews = read_reviews(tmp_path)
        assert not reviews.by_name
        assert [(f.file, f.problem) for f in reviews.unused] == [
            (name, ReviewProblem.TWO_FILES) for name in sorted((first, second))
        ]
        assert "keep the newest" in reviews.unused[0].sentence


def test_the_fingerprint_depends_on_names_and_contents(tmp_path: Path) -> None:
    folder = tmp_path / "reviews"
    folder.mkdir()
    seen = [folder_fingerprint(folder)]
    file = folder / f"{NAME.stem}.json"
    for content in ('{"accept": true}', '{"muscle": "absent"}'):
        file.write_text(content)
        seen.append(folder_fingerprint(folder))
    os.utime(file, (1, 1))
    (folder / "todo").mkdir()
    assert folder_fingerprint(folder) == seen[-1]
    file.rename(folder / f"{NAME.stem}.png")
    assert len({*seen, folder_fingerprint(folder)}) == 4
    with pytest.raises(ReviewFolderError, match="nowhere"):
        folder_fingerprint(tmp_path / "nowhere")
