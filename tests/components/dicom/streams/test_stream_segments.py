"""The end of streams: comments and application segments around the data, and truncated streams with any tail."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from benchmarks.pictures import picture
from benchmarks.reference_images import compressed, mammogram
from components.dicom.reading import load_view, read_header, read_pixels
from components.dicom.rejections import IngestError, RejectionReason
from components.dicom.remarks import Remark
from components.dicom.streams.decoders import decode_frame
from tests.components.dicom.streams.streams import END, even, lossless_jpeg, write_encapsulated

PICTURE, BYTES = picture(12, False), picture(8, False)
LARGE = picture(12, False, 1000, 800)
SYNTAXES = (JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLossless, JPEGLSLossless, JPEGLSNearLossless)
MARKERS = b"\xff\xd9 \xff\xd8\xff\xe0 \xff\xd0 \xff\xda \xff"


def stream_in(data: bytes, syntax: UID) -> bytes:
    start = data.index(b"\xff\x4f\xff\x51" if syntax == JPEG2000Lossless else b"\xff\xd8\xff")
    return data[start : data.rindex(END) + 2]


def stream_of(syntax: UID) -> tuple[np.ndarray, int, bytes]:
    """A picture, its bits, and its stream from SOI to EOI."""
    if syntax == JPEGLossless:
        return PICTURE, 12, lossless_jpeg(PICTURE, 12, 7, rows_an_interval=8)
    pixels, bits = (BYTES, 8) if syntax == JPEGBaseline8Bit else (PICTURE, 12)
    data = compressed(pixels, bits, syntax).PixelData
    return pixels, bits, stream_in(data, syntax)


def written(path: Path, syntax: UID, stream: bytes) -> Path:
    pixels, bits, _ = stream_of(syntax)
    return write_encapsulated(path, pixels, bits, [even(stream)], syntax)


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


@pytest.mark.parametrize("marker", [0xE1, 0xEF, 0xFE])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_segments_around_the_data(tmp_path: Path, syntax: UID, marker: int) -> None:
    """Markers inside a segment mean nothing, T.81 B.1.1.4; two segments and fill bytes may follow each other."""
    stream = stream_of(syntax)[2]
    plain = read_pixels(written(tmp_path / "plain.dcm", syntax, stream))
    other = segment(marker, MARKERS)
    before, behind = stream[:2] + other + stream[2:], stream[:-2] + other + b"\xff\xff" + other + b"\xff" + END
    for number, variant in enumerate((before, behind, before[:-2] + other + END)):
        loaded = load_view(written(tmp_path / f"{number}.dcm", syntax, variant), None, 10_000)
        np.testing.assert_array_equal(loaded.pixels, plain)
        assert Remark.NO_END_MARKER not in loaded.remarks
    loaded = load_view(written(tmp_path / "open.dcm", syntax, stream[:-2] + other), None, 10_000)
    np.testing.assert_array_equal(loaded.pixels, plain)
    assert Remark.NO_END_MARKER in loaded.remarks


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_second_image_behind_segments(tmp_path: Path, syntax: UID) -> None:
    stream = stream_of(syntax)[2]
    variant = stream[:-2] + segment(0xFE, MARKERS) + END + stream
    with pytest.raises(IngestError) as caught:
        read_pixels(written(tmp_path / "x.dcm", syntax, variant))
    assert caught.value.reason is RejectionReason.MULTI_FRAME


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_segments_behind_cut_data(tmp_path: Path, syntax: UID) -> None:
    stream = stream_of(syntax)[2]
    cut = stream[: len(stream) * 2 // 3].rstrip(b"\xff")
    with pytest.raises(IngestError) as caught:
        read_pixels(written(tmp_path / "x.dcm", syntax, cut + segment(0xFE, MARKERS) + END))
    assert caught.value.reason in (RejectionReason.TRUNCATED, RejectionReason.UNDECODABLE_PIXELS)


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_streams_that_end_in_their_header(tmp_path: Path, syntax: UID) -> None:
    """However few bytes are left of a large image, it is not too large."""
    bits = 8 if syntax == JPEGBaseline8Bit else 12
    pixels = (LARGE >> 4).astype(np.uint8) if bits == 8 else LARGE
    stream = stream_in(compressed(pixels, bits, syntax).PixelData, syntax)
    start = stream.index(b"\xff\x90" if syntax == JPEG2000Lossless else b"\xff\xda")
    behind = start + (12 if syntax == JPEG2000Lossless else 10)
    bare = (4, 7, start // 2, start - 1, start, start + 1, start + 4, behind - 1, behind, behind + 20)
    variants = [stream[:kept] for kept in bare] + [stream[:kept] + bytes(5) for kept in bare[:5]]
    for number, variant in enumerate(variants):
        path = write_encapsulated(tmp_path / f"{number}.dcm", pixels, bits, [even(variant)], syntax)
        for read in (read_header, read_pixels):
            with pytest.raises(IngestError) as caught:
                read(path)
            assert caught.value.reason is RejectionReason.TRUNCATED, number


def test_large_headers_of_many_intervals(tmp_path: Path) -> None:
    """The header is decoded with each interval."""
    pixels = picture(12, False, 1100, 16)
    stream = lossless_jpeg(pixels, 12, rows_an_interval=1)
    for segments, reason in ((1, None), (16, RejectionReason.TOO_LARGE)):
        variant = stream[:2] + segments * segment(0xFE, bytes(65533)) + stream[2:]
        path = write_encapsulated(tmp_path / "x.dcm", pixels, 12, [even(variant)])
        if reason is None:
            assert read_pixels(path).shape == pixels.shape
            continue
        with pytest.raises(IngestError) as caught:
            read_pixels(path)
        assert caught.value.reason is reason


def smooth() -> np.ndarray:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:96, :80]
    pixels = np.clip(1000 + 8 * x + 5 * y + random.normal(0, 10, y.shape), 0, 4095)
    return np.where(x > 50, 0, pixels).astype(np.uint16)


def smooth_stream(syntax: UID) -> bytes:
    if syntax == JPEG2000Lossless:
        return bytes(imagecodecs.jpeg2k_encode(smooth(), codecformat="j2k", reversible=True, bitspersample=12))
    return bytes(imagecodecs.jpegls_encode(smooth(), level=2 if syntax == JPEGLSNearLossless else 0))


CUT_SYNTAXES = (JPEGLSLossless, JPEGLSNearLossless, JPEG2000Lossless)
TAILS: Final[dict[str, Callable[[int], bytes]]] = {
    "nothing": lambda lost: b"",
    "end marker": lambda lost: END,
    "end marker, zeros": lambda lost: END + bytes(lost),
    "zeros": bytes,
    "zeros, end marker": lambda lost: bytes(lost) + END,
    "ones": lambda lost: b"\xff" * lost,
}


@pytest.mark.parametrize("tail", sorted(TAILS))
@pytest.mark.parametrize("syntax", CUT_SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_cut_streams(tmp_path: Path, syntax: UID, tail: str) -> None:
    stream = smooth_stream(syntax)
    start = stream.index(b"\xff\x93" if syntax == JPEG2000Lossless else b"\xff\xda") + 10
    size = len(stream) - 2 - start
    # Some zeros can be the end of a code block of JPEG 2000.
    last = 0 if syntax == JPEG2000Lossless and tail.startswith("zeros") else size
    for kept in (0, 1, size // 10, size // 2, *(last - n for n in (40, 4, 3, 2) if last)):
        cut = stream[: start + kept] + TAILS[tail](size - kept)
        path = write_encapsulated(tmp_path / "x.dcm", smooth(), 12, [even(cut)], syntax)
        with pytest.raises(IngestError) as caught:
            read_pixels(path)
        assert caught.value.reason is RejectionReason.TRUNCATED, kept


@pytest.mark.parametrize("syntax", CUT_SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_a_stream_that_is_cut_in_its_signature(tmp_path: Path, syntax: UID) -> None:
    for kept in (1, 2):
        path = write_encapsulated(tmp_path / "x.dcm", smooth(), 12, [even(smooth_stream(syntax)[:kept])], syntax)
        with pytest.raises(IngestError) as caught:
            read_pixels(path)
        assert caught.value.reason is RejectionReason.TRUNCATED


@pytest.mark.parametrize("syntax", CUT_SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_whole_streams_are_read(syntax: UID) -> None:
    found = decode_frame(mammogram(smooth(), 12), syntax, smooth_stream(syntax)).cells
    assert np.abs(found.astype(int) - smooth()).max() <= (2 if syntax == JPEGLSNearLossless else 0)
