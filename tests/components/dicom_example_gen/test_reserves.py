"""Several images of one view: the best usable one is kept, and the rejections of others name it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import UID, RLELossless

from components.common.png import decode_png, pixels_sha256
from components.common.shards import read_index
from components.dicom.reading import load_view
from components.dicom_example_gen.config import IngestConfig
from components.sources.source import FolderSource
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.special_set import special_views
from schema import features as f
from schema.features import VIEWS
from tests.components.dicom_example_gen.archive_files import write_image
from tests.components.executor_harness import NodeOutput, run_ingest, text_of

EXAMS = "ABCDEFGH"
CONFIG = IngestConfig(longest_side=64, shard_size=3)


def image(path: Path, view: str, seed: int, **tags: Any) -> Path:
    pixels = np.random.default_rng(seed).integers(1000, 4096, (64, 48)).astype("<u2")
    exam = path.parent.name
    named = {"StudyInstanceUID": f"1.2.{ord(exam[-1])}", "PatientID": f"PAT{exam}", "StudyDate": "20190304"}
    return write_image(path, view, **(named | {"Rows": 64, "Columns": 48, "PixelData": pixels.tobytes()} | tags))


def black(path: Path) -> Path:
    data = pydicom.dcmread(path)
    data.PixelData = bytes(len(data.PixelData))
    data.save_as(path)
    return path


def cut(path: Path) -> Path:
    """Cut a compressed stream in half, in a complete file."""
    data = pydicom.dcmread(path)
    data.compress(RLELossless)
    frame = next(generate_frames(data.PixelData, number_of_frames=1))
    data.PixelData = encapsulate([frame[: len(frame) // 4 * 2]])
    data.save_as(path)
    return path


def specimen(path: Path) -> Path:
    """Write a specimen under the header of a standard view."""
    made = next(
        v for v in special_views(PhantomConfig(exams=1, seed=7, reduction=8, workers=1)) if v.kind == "specimen"
    )
    data = pydicom.dcmread(path)
    data.Rows, data.Columns = made.grey.shape
    data.ImagerPixelSpacing = [made.spacing_mm] * 2
    data.PixelData = np.rint(made.grey * 4095).astype("<u2").tobytes()
    data.save_as(path)
    return path


def without_grey(path: Path, copy: Path) -> None:
    """Write a copy of an image, with its UID and stored pixels, and a window that maps them to one grey value."""
    data = pydicom.dcmread(path)
    data.WindowCenter, data.WindowWidth = 500, 10
    data.save_as(copy)


def archive(folder: Path, density: str = "") -> FolderSource:
    """Exams EA to EH of four views and one woman each."""
    for number, exam in enumerate(EXAMS):
        for place, view in enumerate(VIEWS):
            image(folder / "images" / f"E{exam}" / f"{view}.dcm", view, 10 * number + place, AcquisitionTime="100000")
    named = zip(EXAMS, "ABCDABCD", ("train",) * 4 + ("eval", "eval", "test", "test"), strict=True)
    rows = "".join(f"E{exam},{density or own},{split}\n" for exam, own, split in named)
    (folder / "labels.csv").write_text("exam_id,density,split\n" + rows, encoding="utf-8")
    return FolderSource(folder / "images", folder / "labels.csv")


def fates(output: NodeOutput) -> dict[str, str]:
    """Return file -> ``accepted`` or the reason of its rejection; check the invariants of every ingest."""
    rows = output.rows()
    kept = {row["file"] for row in rows if row["outcome"] == "accepted"}
    for row in rows:
        if row.get("reason") in ("duplicate", "duplicate_view"):
            assert row["value"].rpartition(" of ")[2] in kept
    figures = output.summary()
    assert (figures["found"], figures["accepted"], figures["rejected"]) == (len(rows), len(kept), len(rows) - len(kept))
    records = [example for examples in output.views().values() for example in examples]
    index = [view for views in read_index(output.examples.uri).values() for view in views]
    assert len(records) == len(index) == len(kept)
    written = [pixels_sha256(decode_png(e.features.feature[f.IMAGE].bytes_list.value[0])) for e in records]
    assert sorted(written) == sorted(view.pixels for view in index)
    return {row["file"]: row.get("reason", "accepted") for row in rows}


def picture(output: NodeOutput, root: Path, file: str) -> bool:
    """Return True if the examples contain a file's image, and no other of its view."""
    loaded = load_view(root / file, None, 64)
    exam = next(row["exam_id"] for row in output.rows() if row["file"] == file)
    of_view = [
        decode_png(example.features.feature[f.IMAGE].bytes_list.value[0])
        for examples in output.views().values()
        for example in examples
        if (text_of(example, f.EXAM_ID), text_of(example, f.VIEW)) == (exam, loaded.header.view)
    ]
    return len(of_view) == 1 and np.array_equal(of_view[0], loaded.pixels)


@pytest.mark.parametrize(
    ("spoil", "reason"), [(black, "implausible_pixels"), (cut, "truncated"), (specimen, "specimen")]
)
def test_the_next_best_image_replaces_an_unusable_one(
    tmp_path: Path, spoil: Callable[[Path], Path], reason: str
) -> None:
    source, images = archive(tmp_path), tmp_path / "images"
    exam = images / "EB"
    spoil(image(exam / "best.dcm", "CC_R", 91, AcquisitionTime="120000"))
    spoil(image(exam / "next.dcm", "CC_R", 92, AcquisitionTime="113000"))
    image(exam / "sound.dcm", "CC_R", 93, AcquisitionTime="110000")
    output = run_ingest(source, CONFIG, tmp_path / "one")
    found = fates(output)
    assert {file: fate for file, fate in found.items() if fate != "accepted"} == {
        "EB/best.dcm": reason,
        "EB/next.dcm": reason,
        "EB/CC_R.dcm": "duplicate_view",
    }
    assert picture(output, images, "EB/sound.dcm")
    assert output.summary()["incomplete_exams"] == 0
    parallel = run_ingest(source, CONFIG, tmp_path / "two", workers=2)
    assert parallel.files() == output.files()


def test_a_view_is_absent_if_all_its_images_are_unusable(tmp_path: Path) -> None:
    source, images = archive(tmp_path), tmp_path / "images"
    black(images / "EB" / "CC_R.dcm")
    cut(image(images / "EB" / "late.dcm", "CC_R", 92, AcquisitionTime="120000"))
    found = fates(run_ingest(source, CONFIG, tmp_path / "out"))
    assert {file: fate for file, fate in found.items() if fate != "accepted"} == {
        "EB/CC_R.dcm": "implausible_pixels",
        "EB/late.dcm": "truncated",
    }


def test_a_copy_replaces_an_unreadable_file(tmp_path: Path) -> None:
    source, images = archive(tmp_path), tmp_path / "images"
    first = images / "EB" / "CC_R.dcm"
    without_grey(first, images / "EB" / "AA.dcm")
    # The same UID over half a stream: another image, by name before the sound one.
    cut(Path(shutil.copy(images / "EC" / "CC_L.dcm", images / "EC" / "AA.dcm")))
    shutil.copy(first, images / "EB" / "ZZ.dcm")
    output = run_ingest(source, CONFIG, tmp_path / "out")
    found = fates(output)
    assert {file: fate for file, fate in found.items() if fate != "accepted"} == {
        "EB/AA.dcm": "implausible_pixels",
        "EB/ZZ.dcm": "duplicate",
        "EC/AA.dcm": "truncated",
    }
    assert picture(output, images, "EB/CC_R.dcm")


def test_a_copy_in_a_rejected_exam_takes_no_image_from_a_valid_one(tmp_path: Path) -> None:
    source, images = archive(tmp_path, density="C"), tmp_path / "images"
    # The exam of two women comes first by name, and holds a copy of EB's image.
    shutil.copy(images / "EB" / "CC_R.dcm", images / "EA" / "0.dcm")
    found = fates(run_ingest(source, CONFIG, tmp_path / "out"))
    assert {fate for file, fate in found.items() if file.startswith("EA/")} == {"mixed_patients"}
    assert {fate for file, fate in found.items() if not file.startswith("EA/")} == {"accepted"}


def test_a_copy_in_another_exam_replaces_the_image(tmp_path: Path) -> None:
    source, images = archive(tmp_path, density="C"), tmp_path / "images"
    shutil.copytree(images / "EA", images / "EX")
    with (tmp_path / "labels.csv").open("a", encoding="utf-8") as labels:
        labels.write("EX,C,train\n")
    without_grey(images / "EA" / "CC_R.dcm", images / "EA" / "CC_R.dcm")
    output = run_ingest(source, CONFIG, tmp_path / "out")
    found = fates(output)
    assert {file: fate for file, fate in found.items() if fate != "accepted"} == {
        "EA/CC_R.dcm": "implausible_pixels",
        **{f"EX/{view}.dcm": "duplicate" for view in VIEWS if view != "CC_R"},
    }
    exams = {row["file"]: row["exam_id"] for row in output.rows() if row["outcome"] == "accepted"}
    assert exams["EX/CC_R.dcm"] == exams["EA/MLO_R.dcm"]


@pytest.mark.parametrize(
    ("density", "of_first", "of_copy"),
    [
        ("A", ["duplicate_view"], ["duplicate_view", *["duplicate"] * 4]),
        ("D", ["invalid_label"] * 5, ["invalid_label"] * 5),  # the first has A
    ],
)
def test_reserves_of_an_exam_exported_twice_are_rejected_too(
    tmp_path: Path, density: str, of_first: list[str], of_copy: list[str]
) -> None:
    source, images = archive(tmp_path), tmp_path / "images"
    image(images / "EA" / "again.dcm", "CC_R", 95, AcquisitionTime="110000")
    (images / "EX").mkdir()
    for path in (images / "EA").iterdir():
        data = pydicom.dcmread(path)
        data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = UID(f"{data.SOPInstanceUID[:60]}.9")
        data.StudyInstanceUID = "1.2.9999"
        data.save_as(images / "EX" / path.name)
    with (tmp_path / "labels.csv").open("a", encoding="utf-8") as labels:
        labels.write(f"EX,{density},train\n")
    found = fates(run_ingest(source, CONFIG, tmp_path / "out"))
    assert [fate for file, fate in found.items() if file.startswith("EA/") and fate != "accepted"] == of_first
    assert sorted(fate for file, fate in found.items() if file.startswith("EX/")) == sorted(of_copy)
