"""Reading any file returns a view or raises an IngestError, and planning counts it."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zlib
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from benchmarks.fuzz import run
from components.dicom.bounded_stream import BoundedStream, TooMuchError, inflate
from components.dicom.reading import LoadedView, load_view
from components.dicom.rejections import IngestError, RejectionReason
from components.dicom.remarks import Remark
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.ingest_plan import replace_unusable
from components.dicom_example_gen.plan.planning import inspect, plan
from components.dicom_example_gen.report import summary
from components.sources.source import FolderSource, find_candidates
from schema.features import VIEWS
from tests.components.dicom.dicom_files import MakeDicom, as_written, mammogram, part10

QUICK: Final = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
LIMIT: Final = 1_000_000


def encoded(syntax: str) -> bytes:
    dataset = mammogram(np.random.default_rng(3).integers(0, 4096, (64, 64), dtype=np.uint16))
    if syntax != ExplicitVRLittleEndian:
        dataset.compress(syntax, generate_instance_uid=False)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


SOUND: Final = {
    "native": encoded(ExplicitVRLittleEndian),
    "rle": encoded(RLELossless),
    "jpeg-ls": encoded(JPEGLSLossless),
    "jpeg 2000": encoded(JPEG2000Lossless),
    "png": cv2.imencode(".png", np.arange(4096, dtype=np.uint16).reshape(64, 64))[1].tobytes(),
    "jpeg": cv2.imencode(".jpg", np.arange(4096).reshape(64, 64).astype(np.uint8))[1].tobytes(),
    "tiff": cv2.imencode(".tiff", np.arange(4096, dtype=np.uint16).reshape(64, 64))[1].tobytes(),
}


def load_or_reject(path: Path, data: bytes, view: str | None = "CC_R") -> LoadedView | RejectionReason:
    path.write_bytes(data)
    try:
        return load_view(path, view, 1024, max_pixels=LIMIT)
    except IngestError as error:
        rejection = error.rejection()
    assert rejection.file == str(path)
    return rejection.reason


@pytest.mark.slow
@QUICK
@given(st.binary(max_size=600))
@example(b"\0" * 128 + b"DICM")
@example(b"\xff\xd8\xff")
@example(b"\x89PNG\r\n\x1a\n")
def test_random_bytes(tmp_path: Path, data: bytes) -> None:
    assert isinstance(load_or_reject(tmp_path / "x", data), RejectionReason)
    assert isinstance(load_or_reject(tmp_path / "x", b"\0" * 128 + b"DICM" + data), RejectionReason)


@QUICK
@given(st.sampled_from(sorted(SOUND)), st.floats(0, 0.95))
def test_cut_files(tmp_path: Path, kind: str, share: float) -> None:
    data = SOUND[kind]
    result = load_or_reject(tmp_path / "x", data[: int(share * len(data))])
    assert isinstance(result, RejectionReason)


@pytest.mark.slow
@settings(parent=QUICK, max_examples=150)
@given(
    st.sampled_from(sorted(SOUND)),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8),
    st.booleans(),
)
def test_bytes_changed_anywhere(tmp_path: Path, kind: str, changes: list[tuple[float, int]], in_header: bool) -> None:
    data = bytearray(SOUND[kind])
    end = min(len(data), 1300) if in_header else len(data)
    for position, value in changes:
        data[int(position * end)] = value
    result = load_or_reject(tmp_path / "x", bytes(data), None)
    if isinstance(result, LoadedView):
        assert result.header.view in VIEWS
        assert result.pixels.dtype == np.uint16
        assert max(result.pixels.shape) <= 1024


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom warns about every unusual value

KEYWORDS: Final = (
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "SamplesPerPixel",
    "NumberOfFrames",
    "WindowCenter",
    "WindowWidth",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelPaddingValue",
    "PatientAge",
    "PatientBirthDate",
    "StudyDate",
    "ViewPosition",
    "ImageLaterality",
    "ImagerPixelSpacing",
    "Modality",
    "SOPClassUID",
    "PhotometricInterpretation",
    "SoftwareVersions",
    "PatientID",
    "StudyInstanceUID",
    "PresentationIntentType",
    "VOILUTFunction",
    "AcquisitionTime",
)


def with_all_tags() -> bytes:
    numbers = dict.fromkeys(("WindowCenter", "WindowWidth", "RescaleSlope", "RescaleIntercept", "NumberOfFrames"), "1")
    dataset = mammogram(**numbers, VOILUTFunction="LINEAR")
    dataset.add_new("PixelPaddingValue", "US", 0)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


ALL_TAGS: Final = with_all_tags()
_READ: Final = dcmread(io.BytesIO(ALL_TAGS))


def place(keyword: str) -> tuple[int, int]:
    """Return where the value of an element of ``ALL_TAGS`` begins, and its length, in bytes."""
    element: object = _READ.get_item(keyword)
    assert isinstance(element, RawDataElement)
    return element.value_tell, element.length


PLACES: Final = {k: place(k) for k in KEYWORDS}


@QUICK
@given(
    st.dictionaries(
        st.sampled_from(KEYWORDS),
        st.one_of(
            st.binary(max_size=20),
            st.sampled_from([b"", b"NaN", b"inf", b"-1", b"0", b"1e308", b"\\", b"1\\2", b"\xff\xff", b"\0\0"]),
        ),
        min_size=1,
        max_size=5,
    )
)
def test_junk_in_any_tag(tmp_path: Path, junk: dict[str, bytes]) -> None:
    data = ALL_TAGS
    for keyword in sorted(junk, key=PLACES.__getitem__, reverse=True):  # from the end, so that positions stay valid
        start, length = PLACES[keyword]
        value = junk[keyword] + b" " * (len(junk[keyword]) % 2)
        data = data[: start - 2] + len(value).to_bytes(2, "little") + value + data[start + length :]
    result = load_or_reject(tmp_path / "x", data, None)
    if isinstance(result, LoadedView):
        assert result.header.view in VIEWS
        assert -1 <= result.header.patient_age <= 120


@pytest.mark.parametrize(
    "tags",
    [
        {"RescaleSlope": "1E300", "RescaleIntercept": "1E300"},
        {"WindowCenter": "1E308", "WindowWidth": "1E308"},
        {"WindowCenter": "0", "WindowWidth": "1E-300", "VOILUTFunction": "SIGMOID"},
    ],
)
def test_absurd_grey_scales(make_dicom: MakeDicom, tags: dict[str, str]) -> None:
    path = make_dicom(**tags)
    assert isinstance(load_or_reject(path, path.read_bytes()), LoadedView | RejectionReason)


def test_the_folder_of_the_issue(make_dicom: MakeDicom, tmp_path: Path) -> None:
    """One sound exam, and each of the faults that an archive is known to hold: all counted, all typed."""
    rng = np.random.default_rng(1)
    for view in VIEWS:
        projection, side = view.split("_")
        pixels = rng.integers(0, 4096, (64, 48), dtype=np.uint16)
        make_dicom(f"{view}.dcm", pixels, ViewPosition=projection, ImageLaterality=side)
    whole = (tmp_path / "CC_R.dcm").read_bytes()
    (tmp_path / "truncated.dcm").write_bytes(whole[:-1000])
    (tmp_path / "text.dcm").write_text("this is no image")
    (tmp_path / "twice.dcm").write_bytes(whole)
    make_dicom("ct.dcm", Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    make_dicom("without_pixels.dcm", PixelData=None)
    make_dicom("which_view.dcm", ViewPosition=None)
    labels = tmp_path / "labels.csv"
    labels.write_text("exam_id,density\n1.2.3.4,B\n")

    candidates = find_candidates(FolderSource(tmp_path, labels))
    outcomes = [inspect(c, candidates.root, LIMIT) for c in candidates.found]
    result = replace_unusable(plan(outcomes, candidates.labels, IngestConfig(), b"key"), [])
    assert {r.file: r.reason.value for r in result.rejected} == {
        "ct.dcm": "not_mammography",
        "text.dcm": "not_dicom",
        "truncated.dcm": "truncated",
        "twice.dcm": "duplicate",
        "which_view.dcm": "unknown_view",
        "without_pixels.dcm": "no_pixel_data",
    }
    assert {v.view for v in result.accepted} == set(VIEWS)
    figures = summary(result, candidates.ignored)
    assert figures["found"] == len(candidates.found) == 10 == figures["accepted"] + figures["rejected"]


def assert_survived(files: int, seed: int) -> None:
    """Crashes and hangs end a worker process, not this one (``benchmarks/fuzz.py``)."""
    tally = run(files, seed)
    assert not tally.failures
    assert sum(tally.outcomes.values()) == files
    assert tally.outcomes["accepted"] < files / 2
    assert tally.peak_mib[0] < 1500


@pytest.mark.slow
def test_mutated_files() -> None:
    assert_survived(250, seed=0)


@pytest.mark.slow
def test_many_mutated_files() -> None:
    assert_survived(1_000, seed=2)


def test_a_header_is_read_in_so_many_steps() -> None:
    stream = BoundedStream(io.BytesIO(bytes(100_000)))
    for _ in range(50_000):
        stream.read(1)
    with pytest.raises(TooMuchError):
        stream.read(1)


def test_inflation_is_bounded() -> None:
    deflated = zlib.compress(bytes(1_000_000))[2:-4]
    assert inflate(deflated, 1_000_000) == bytes(1_000_000)
    with pytest.raises(TooMuchError):
        inflate(deflated, 999_999)
    with pytest.raises(EOFError):
        inflate(deflated[:-4], 1_000_001)


def test_a_deflated_bomb_is_too_large(tmp_path: Path) -> None:
    dataset = mammogram(np.zeros((64, 48), np.uint16), TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    dataset.add_new(0x7FDF0010, "LO", "TEST")
    dataset.add_new(0x7FDF1001, "OB", bytes(40_000_000))  # before the pixels
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    assert len(buffer.getvalue()) < 60_000
    assert load_or_reject(tmp_path / "x", buffer.getvalue()) is RejectionReason.TOO_LARGE


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless])
def test_a_huge_image_in_a_few_bytes_is_not_decoded(tmp_path: Path, syntax: str) -> None:
    dataset = mammogram(np.zeros((64, 64), np.uint16))
    dataset.compress(syntax, generate_instance_uid=False)
    side = (900).to_bytes(2, "big")
    dataset.PixelData = dataset.PixelData.replace((64).to_bytes(2, "big"), side)
    dataset.Rows = dataset.Columns = 900
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    assert load_or_reject(tmp_path / "x", buffer.getvalue()) is RejectionReason.TOO_LARGE


def test_a_jpeg_of_endless_scans_is_not_decoded(tmp_path: Path) -> None:
    image = cv2.imencode(".jpg", np.arange(4096).reshape(64, 64).astype(np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1]
    data = image.tobytes()
    last = data.rfind(b"\xff\xda")
    assert isinstance(load_or_reject(tmp_path / "x", data), LoadedView)
    bomb = data[:last] + data[last:-2] * 250_000 + data[-2:]
    assert load_or_reject(tmp_path / "x", bomb) is RejectionReason.UNDECODABLE_PIXELS


def test_lengths_beyond_the_end_take_no_memory(tmp_path: Path) -> None:
    """A file allocates what is asked for before it looks how much there is."""
    (tmp_path / "x").write_bytes(bytes(1000))
    with (tmp_path / "x").open("rb") as stream:
        bounded = BoundedStream(stream)
        tracemalloc.start()
        assert len(bounded.read(1 << 30)) == 1000
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()


@pytest.mark.parametrize("count", [100, 20_000])
def test_a_sequence_of_nothing_is_bounded(tmp_path: Path, count: int) -> None:
    items = struct.pack("<HHL", 0xFFFE, 0xE000, 0) * count
    data = SOUND["native"]
    at = data.rfind(b"\xe0\x7f\x10\0")
    data = data[:at] + struct.pack("<HH2sHL", 0x0054, 0x0220, b"SQ", 0, len(items)) + items + data[at:]
    result = load_or_reject(tmp_path / "x", data)
    assert isinstance(result, LoadedView) if count == 100 else result is RejectionReason.TOO_LARGE


def with_value(data: bytes, keyword: str, value: bytes, syntax: UID) -> bytes:
    """Exchange an element's value in a file; pydicom takes seconds to write as many values."""
    at = data.index(struct.pack("<HH", *divmod(tag_for_keyword(keyword) or 0, 1 << 16))) + 4
    at, form = (at, "<L") if syntax == ImplicitVRLittleEndian else (at + 2, "<H")
    (length,) = struct.unpack_from(form, data, at)
    begin = at + struct.calcsize(form)
    return data[:at] + struct.pack(form, len(value)) + value + data[begin + length :]


# An element with Explicit VR has up to 65,534 bytes, one with Implicit VR any number.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("syntax", "count"), [(ImplicitVRLittleEndian, 400_000), (ExplicitVRLittleEndian, 13_000)], ids=["many", "64 kB"]
)
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"WindowCenter": "2000\\", "WindowWidth": "3000\\"}, {Remark.UNUSABLE_WINDOW}),
        ({"RescaleSlope": "1.00\\"}, RejectionReason.MALFORMED_HEADER),
        ({"RescaleIntercept": "0.00\\"}, RejectionReason.MALFORMED_HEADER),
        ({"ImagerPixelSpacing": "0.10\\"}, set()),
        ({"ImageType": "ORIG\\", "SoftwareVersions": "1.00\\", "LossyImageCompressionRatio": "2.00\\"}, set()),
        ({"BitsStored": "\f\0\f\0"}, RejectionReason.UNSUPPORTED_IMAGE),
    ],
)
def test_an_element_of_countless_values_is_unreadable(
    values: dict[str, str], expected: set[Remark] | RejectionReason, syntax: UID, count: int, tmp_path: Path
) -> None:
    vr = "US" if "BitsStored" in values else "DS"
    dataset = mammogram(np.arange(4096).reshape(64, 64).astype(np.uint16))
    data = part10(as_written(dataset, vr, **values), syntax)
    for name, text in values.items():
        data = with_value(data, name, text.encode() * count, syntax)
    result = load_or_reject(tmp_path / "x", data)
    told = set(result.remarks) - {Remark.LOW_RESOLUTION} if isinstance(result, LoadedView) else result
    assert told == expected
    if isinstance(result, LoadedView) and "ImagerPixelSpacing" in values:
        assert result.pixel_spacing_mm == 0


@pytest.mark.parametrize("known", [False, True], ids=["undefined", "known"])
@pytest.mark.parametrize("nested", [False, True], ids=["root", "item"])
@pytest.mark.parametrize("count", [3, 200_000])
def test_character_sets_are_bounded(count: int, nested: bool, known: bool, tmp_path: Path) -> None:
    """Each of them is looked up where pydicom parses the element: a file of 2 MB took 36 seconds."""
    text = b"A\\" * count
    element = struct.pack("<HHL", 0x0008, 0x0005, len(text)) + text
    if nested:
        length = len(element) if known else 0xFFFFFFFF
        end = b"" if known else struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
        element = struct.pack("<HHL", 0xFFFE, 0xE000, length) + element + end
        length = len(element) if known else 0xFFFFFFFF
        end = b"" if known else struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
        element = struct.pack("<HHL", 0x0008, 0x0051, length) + element + end
    data = part10(mammogram(np.zeros((64, 64), np.uint16) + np.arange(64, dtype=np.uint16)), ImplicitVRLittleEndian)
    at = data.index(struct.pack("<HH", 0x0008, 0x0060))  # Modality
    data = data[:at] + element + data[at:]
    result = load_or_reject(tmp_path / "x", data)
    assert isinstance(result, LoadedView) if count == 3 else result is RejectionReason.TOO_LARGE
