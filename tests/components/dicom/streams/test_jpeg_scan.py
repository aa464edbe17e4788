"""Lossless JPEG from an encoder after ITU-T T.81: predictors, depths, and differences modulo 2^16."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.uid import JPEGBaseline8Bit, JPEGLossless

from benchmarks.reference_images import reference_streams
from components.dicom.reading import read_image_file, read_pixels
from components.dicom.rejections import IngestError, RejectionReason
from components.dicom.streams.codestream import Frame, declared_frame
from components.dicom.streams.decoders import decode_jpeg
from tests.components.dicom.streams.streams import END, lossless_jpeg, write_encapsulated
from tests.pictures import decode_picture

QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def frame_of(stream: bytes) -> Frame:
    frame = declared_frame(stream)
    assert frame is not None
    return frame


def noisy(precision: int, rows: int = 20, columns: int = 37, seed: int = 0) -> np.ndarray:
    """A smooth picture with jumps over the whole range, so that differences need all categories."""
    random = np.random.default_rng(seed)
    smooth = np.cumsum(random.integers(-3, 4, (rows, columns)), axis=1)
    jumps = (random.random((rows, columns)) < 0.2) * random.integers(0, 1 << precision, (rows, columns))
    return ((smooth + jumps) % (1 << precision)).astype(np.uint16)


def decoded(stream: bytes) -> np.ndarray:
    return decode_jpeg(stream, frame_of(stream))[0]


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("precision", range(8, 17))
def test_predictors_and_depths(precision: int, predictor: int) -> None:
    """Modulo 2^16, as T.81 has it, and modulo 2^precision, as some systems write."""
    expected = noisy(precision)
    for modulus in (1 << 16, 1 << precision):
        for filling in (0, 1):
            stream = lossless_jpeg(expected, precision, predictor, modulus=modulus, filling=filling)
            np.testing.assert_array_equal(decoded(stream), expected)


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("precision", [8, 12, 16])
def test_point_transform_and_restart_intervals(precision: int, predictor: int) -> None:
    expected = noisy(precision) >> 2 << 2
    for modulus in (1 << 16, 1 << (precision - 2)):
        for rows in (0, 1, 7, 20):
            stream = lossless_jpeg(expected, precision, predictor, 2, modulus, rows)
            np.testing.assert_array_equal(decoded(stream), expected)


def test_a_difference_of_2_to_the_15_has_no_bits() -> None:
    """Category 16, T.81 table H.2: 32768 and -32768 are one."""
    expected = np.array([[0, 32768] * 8, [65535, 32767] * 8, [32768, 0] * 8], np.uint16)
    np.testing.assert_array_equal(decoded(lossless_jpeg(expected, 16)), expected)


@pytest.mark.parametrize("modulus", [1 << 14, 1 << 16])
@pytest.mark.parametrize("predictor", [1, 7])
def test_through_a_file(tmp_path: Path, predictor: int, modulus: int) -> None:
    expected = noisy(14)
    stream = lossless_jpeg(expected, 14, predictor, modulus=modulus)
    path = write_encapsulated(tmp_path / "x.dcm", expected, 14, [stream + b"\0" * (len(stream) % 2)], JPEGLossless)
    np.testing.assert_array_equal(read_pixels(path), np.rint(expected / 16383 * 65535))


def test_two_components_are_refused(tmp_path: Path) -> None:
    expected = noisy(12)
    stream = bytearray(lossless_jpeg(expected, 12))
    at = stream.index(b"\xff\xc3") + 2
    assert stream[at + 7] == 1
    two = stream[:at] + b"\0\x0e" + stream[at + 2 : at + 7] + bytes([2, 1, 0x11, 0, 2, 0x11, 0]) + stream[at + 11 :]
    path = write_encapsulated(tmp_path / "x.dcm", expected, 12, [bytes(two)])
    with pytest.raises(IngestError, match="2 components") as caught:
        read_pixels(path)
    assert caught.value.reason is RejectionReason.UNDECODABLE_PIXELS


def cuts_of(stream: bytes, start: int, share: float) -> dict[str, bytes]:
    """A stream cut at a share of its data, and what may be put behind it."""
    kept = stream[: start + int(share * (len(stream) - start - 2))]
    lost = len(stream) - len(kept) - 2
    return {
        "": kept,
        "end marker": kept + END,
        "zeros": kept + bytes(lost + 2),
        "zeros, end marker": kept + bytes(lost) + END,
        "more zeros than were lost": kept + bytes(3 * lost),
        "ones": kept + b"\xff" * (lost + 2),
        "ones, end marker": kept + b"\xff" * lost + END,
    }


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", sorted(name for name in reference_streams() if name.startswith("jpeg-")))
def test_cut_streams(name: str, share: float) -> None:
    stream = reference_streams()[name]
    for ending, cut in cuts_of(stream, stream.index(b"\xff\xda") + 10, share).items():
        with pytest.raises(EOFError):
            print(ending, decoded(cut))


@pytest.mark.parametrize("rows", [0, 1, 7])
def test_cut_streams_of_restart_intervals(rows: int) -> None:
    expected = noisy(12, 28)
    stream = lossless_jpeg(expected, 12, rows_an_interval=rows)
    for share in (0.05, 0.5, 0.9, 0.97):
        for ending, cut in cuts_of(stream, stream.index(b"\xff\xda") + 10, share).items():
            with pytest.raises(EOFError):
                print(ending, decoded(cut))


def test_a_missing_restart_interval() -> None:
    stream = lossless_jpeg(noisy(12, 28), 12, rows_an_interval=2)
    for first, last in ((b"\xff\xd1", b"\xff\xd2"), (b"\xff\xd0", b"\xff\xd1"), (b"\xff\xd4", END)):
        start = stream.index(first)
        with pytest.raises(EOFError):
            decoded(stream[:start] + stream[stream.index(last, start + 2) :])


@pytest.mark.parametrize("name", sorted(name for name in reference_streams() if name.startswith("jpeg-")))
def test_whole_streams_with_something_behind_them(name: str) -> None:
    stream = reference_streams()[name]
    expected = decoded(stream)
    assert decode_jpeg(stream, frame_of(stream))[1]
    for other in (stream + bytes(9), stream + b"\0\xff\x01garbage", stream[:-2] + b"\xff\xff" + END):
        np.testing.assert_array_equal(decoded(other), expected)
    for other in (stream[:-2], stream[:-2] + b"\0", stream[:-2] + bytes(50), stream[:-2] + b"\xff\xff"):
        np.testing.assert_array_equal(decoded(other), expected)
        assert not decode_jpeg(other, frame_of(other))[1]


@pytest.mark.parametrize("level", [0, 1, 2048, 4095])
def test_constant_ends_are_no_padding(level: int) -> None:
    """A black background is a run of zero bits, and mid-grey is what decoders fill up with."""
    expected = noisy(12, 40)
    expected[20:] = level
    stream = lossless_jpeg(expected, 12)
    np.testing.assert_array_equal(decoded(stream), expected)
    cut = stream[: stream.index(b"\xff\xda") + 10 + 300]
    for behind in (b"", bytes(len(stream) - len(cut) - 2), bytes(5000)):
        with pytest.raises(EOFError):
            decoded(cut + behind + END)


@QUICK
@given(
    st.integers(2, 16),
    st.integers(1, 7),
    st.integers(1, 12),
    st.integers(9, 80),
    st.integers(0, 3),
    st.integers(0, 1),
    st.integers(0, 1 << 30),
)
def test_any_image(
    precision: int, predictor: int, rows: int, columns: int, interval: int, filling: int, seed: int
) -> None:
    expected = noisy(precision, rows, columns, seed)
    stream = lossless_jpeg(expected, precision, predictor, rows_an_interval=interval, filling=filling)
    np.testing.assert_array_equal(decoded(stream), expected)


@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("interval", [0, 1, 5])
@pytest.mark.parametrize("level", [0, 127, 128, 255])
def test_sequential_streams_with_a_constant_end(level: int, interval: int, optimized: bool) -> None:
    expected = (noisy(8, 80, 61) // 2).astype(np.uint8)
    expected[40:] = level
    options = [cv2.IMWRITE_JPEG_RST_INTERVAL, interval, cv2.IMWRITE_JPEG_OPTIMIZE, int(optimized)]
    stream = cv2.imencode(".jpg", expected, options)[1].tobytes()
    found = decoded(stream)
    np.testing.assert_array_equal(found, decode_picture(stream, cv2.IMREAD_GRAYSCALE))
    for share in (0.05, 0.5, 0.8):
        for ending, cut in cuts_of(stream, stream.index(b"\xff\xda") + 10, share).items():
            with pytest.raises(EOFError):
                print(ending, decoded(cut))


@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("level", [0, 127, 128, 129, 255])
def test_a_short_interval_of_sequential_jpeg(tmp_path: Path, level: int, optimized: bool) -> None:
    """Of intervals of 16 blocks, one loses a half or more; the rest of the picture is sound, and may be mid-grey."""
    expected = (noisy(8, 128, 128) // 2).astype(np.uint8)
    expected[80:112] = expected[:, 60:70] = level
    options = [cv2.IMWRITE_JPEG_RST_INTERVAL, 16, cv2.IMWRITE_JPEG_OPTIMIZE, int(optimized)]
    stream = cv2.imencode(".jpg", expected, options)[1].tobytes()
    plain = decode_picture(stream, cv2.IMREAD_GRAYSCALE)
    path = write_encapsulated(tmp_path / "x.dcm", expected, 8, [stream + b"\0" * (len(stream) % 2)], JPEGBaseline8Bit)
    np.testing.assert_array_equal(read_pixels(path), plain.astype(np.uint16) * 257)
    start = stream.index(b"\xff\xda") + 10
    ends = [start - 2, *(stream.index(bytes([0xFF, 0xD0 + number]), start) for number in range(7))]
    for first, last in pairwise(ends):
        for kept in (0, (last - first - 2) // 4, (last - first - 2) // 2):
            cut = stream[: first + 2 + kept].rstrip(b"\xff") + stream[last:]
            path = write_encapsulated(tmp_path / "x.dcm", expected, 8, [cut + b"\0" * (len(cut) % 2)], JPEGBaseline8Bit)
            with pytest.raises(IngestError) as caught:
                read_pixels(path)
            assert caught.value.reason is RejectionReason.TRUNCATED


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9])
def test_cut_pictures_that_are_no_dicom(tmp_path: Path, share: float) -> None:
    """Grey JPEGs that a manifest names. Pillow reads one with an end marker as whole."""
    path, stream = tmp_path / "x.jpg", reference_streams()["jpeg-baseline-8u"]
    path.write_bytes(stream)
    np.testing.assert_array_equal(read_image_file(path), decoded(stream).astype(np.uint16) * 257)
    for cut in cuts_of(stream, stream.index(b"\xff\xda") + 10, share).values():
        path.write_bytes(cut)
        with pytest.raises(IngestError) as caught:
            read_image_file(path)
        assert caught.value.reason is RejectionReason.TRUNCATED
