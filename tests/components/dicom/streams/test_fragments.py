"""One frame in several fragments (PS3.5 section A.4), and transfer syntaxes that contradict the pixels."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import get_frame
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from benchmarks.pictures import picture
from benchmarks.reference_images import compressed, file_bytes, mammogram, reference_streams
from components.dicom.reading import load_view, read_header
from components.dicom.rejections import AcceptanceConfig, IngestError, RejectionReason
from components.dicom.remarks import Remark
from tests.components.dicom.streams.streams import DELIMITER, END, even, write_encapsulated

ANY_SIZE = AcceptanceConfig(ample_side=1, ample_spacing_mm=1000)  # no remark on small matrices
PICTURE = picture(12, False)
GREY = np.rint(PICTURE / 4095 * 65535)


def stream_of(syntax: UID) -> bytes:
    """A lossless stream of ``PICTURE``."""
    reference = {
        JPEGLosslessSV1: "jpeg-lossless-1-12u",
        JPEGLossless: "jpeg-lossless-6-12u",
        HTJ2KLossless: "htj2k-lossless-12u",
        HTJ2KLosslessRPCL: "htj2k-lossless-12u",
    }
    if syntax in reference:
        return reference_streams()[reference[syntax]]
    return get_frame(compressed(PICTURE, 12, syntax).PixelData, 0, number_of_frames=1)


LOSSLESS = (JPEGLosslessSV1, JPEGLossless, JPEGLSLossless, JPEG2000Lossless, HTJ2KLossless, RLELossless)


def parts_of(stream: bytes, count: int) -> list[bytes]:
    size = -(-len(stream) // count)
    size += size % 2
    return [even(stream[start : start + size]) for start in range(0, len(stream), size)]


def offsets_of(parts: list[bytes]) -> bytes:
    ends = np.cumsum([len(part) + 8 for part in parts])
    return struct.pack(f"<{len(parts)}L", 0, *ends[:-1].tolist())


def remarks_of(path: Path, expected: np.ndarray = GREY) -> set[Remark]:
    view = load_view(path, None, 1024, acceptance=ANY_SIZE)
    np.testing.assert_array_equal(view.pixels, expected)
    return set(view.remarks)


def refusal_of(path: Path) -> IngestError:
    with pytest.raises(IngestError) as caught:
        load_view(path, None, 1024)
    return caught.value


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: UID(syntax).keyword)
def test_all_fragments_are_the_frame(tmp_path: Path, syntax: UID) -> None:
    stream = stream_of(syntax)
    path = tmp_path / "x.dcm"
    for count in (1, 2, 3, 40):
        parts = parts_of(stream, count)
        for table in (b"", bytes(4)):
            assert remarks_of(write_encapsulated(path, PICTURE, 12, parts, syntax, table)) == set()
        for table in (offsets_of(parts), b"\xff" * 8, bytes(6), struct.pack("<L", 12), bytes(12)):
            if table != bytes(4):
                found = remarks_of(write_encapsulated(path, PICTURE, 12, parts, syntax, table))
                assert found == {Remark.WRONG_OFFSET_TABLE}


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: UID(syntax).keyword)
def test_irregular_fragments(tmp_path: Path, syntax: UID) -> None:
    stream = stream_of(syntax)
    path, parts = tmp_path / "x.dcm", parts_of(stream, 3)
    irregular = {Remark.IRREGULAR_FRAGMENTS}
    assert remarks_of(write_encapsulated(path, PICTURE, 12, parts, syntax, delimiter=b"")) == irregular
    assert remarks_of(write_encapsulated(path, PICTURE, 12, [b"", *parts, b""], syntax)) == irregular
    assert remarks_of(write_encapsulated(path, PICTURE, 12, parts, syntax, has_length=True)) == irregular
    inside = [*parts[:-1], parts[-1] + DELIMITER]
    assert remarks_of(write_encapsulated(path, PICTURE, 12, inside, syntax, delimiter=b"")) == irregular
    assert remarks_of(write_encapsulated(path, PICTURE, 12, inside, syntax)) <= irregular
    if syntax != RLELossless:
        missing = {Remark.WRONG_OFFSET_TABLE}
        assert remarks_of(write_encapsulated(path, PICTURE, 12, parts, syntax, table=None)) == missing


def test_an_extended_offset_table(tmp_path: Path) -> None:
    stream = stream_of(JPEGLosslessSV1)
    parts, path = parts_of(stream, 2), tmp_path / "x.dcm"
    for offsets, expected in ((bytes(8), set()), (struct.pack("<2Q", 0, 500), {Remark.WRONG_OFFSET_TABLE})):
        write_encapsulated(path, PICTURE, 12, parts, ExtendedOffsetTable=offsets)
        assert remarks_of(path) == expected


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: UID(syntax).keyword)
def test_two_images_are_refused(tmp_path: Path, syntax: UID) -> None:
    stream = even(stream_of(syntax))
    for fragments in ([stream, stream], [stream + stream], [*parts_of(stream, 2), *parts_of(stream, 2)]):
        path = write_encapsulated(tmp_path / "x.dcm", PICTURE, 12, fragments, syntax)
        assert refusal_of(path).reason is RejectionReason.MULTI_FRAME


@pytest.mark.parametrize("share", [0.05, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: UID(syntax).keyword)
def test_a_lost_end_is_told(tmp_path: Path, syntax: UID, share: float) -> None:
    stream = stream_of(syntax)
    kept = stream[: max(100, int(share * len(stream)))]
    lost = len(stream) - len(kept) - 2
    path = tmp_path / "x.dcm"
    for ending in (b"", END, bytes(lost + 2), bytes(lost) + END, b"\xff" * (lost + 2), b"\xff" * lost + END):
        error = refusal_of(write_encapsulated(path, PICTURE, 12, parts_of(kept + ending, 2), syntax))
        assert error.reason in (RejectionReason.TRUNCATED, RejectionReason.UNDECODABLE_PIXELS)
        if ending == b"" or syntax in (JPEGLosslessSV1, JPEGLossless, RLELossless):
            assert error.reason is RejectionReason.TRUNCATED


@pytest.mark.parametrize("share", [0.3, 0.5, 0.9, 0.99])
def test_a_padded_end_of_lossy_jpeg_2000(tmp_path: Path, share: float) -> None:
    """OpenJPEG takes zeros for coefficients."""
    large = np.tile(PICTURE, (8, 8))
    stream = get_frame(compressed(large, 12, JPEG2000).PixelData, 0, number_of_frames=1)
    kept = stream[: int(share * len(stream))]
    lost = len(stream) - len(kept) - 2
    for ending in (bytes(lost + 2), bytes(lost) + END, b"\xff" * lost + END):
        path = write_encapsulated(tmp_path / "x.dcm", large, 12, [even(kept + ending)], JPEG2000)
        assert refusal_of(path).reason is RejectionReason.TRUNCATED


@pytest.mark.parametrize("declared", [*LOSSLESS, HTJ2KLosslessRPCL], ids=lambda syntax: UID(syntax).keyword)
@pytest.mark.parametrize("real", LOSSLESS, ids=lambda syntax: UID(syntax).keyword)
def test_another_compression_than_the_transfer_syntax(tmp_path: Path, real: UID, declared: UID) -> None:
    path = write_encapsulated(tmp_path / "x.dcm", PICTURE, 12, [even(stream_of(real))], declared)
    fits = real == declared or (real, declared) in {
        (JPEGLosslessSV1, JPEGLossless),
        (HTJ2KLossless, HTJ2KLosslessRPCL),
    }
    assert remarks_of(path) == (set() if fits else {Remark.OTHER_COMPRESSION})


@pytest.mark.parametrize(
    ("real", "declared", "expected"),
    [
        (JPEGExtended12Bit, JPEGLosslessSV1, {Remark.OTHER_COMPRESSION, Remark.UNDECLARED_LOSS}),
        (JPEGExtended12Bit, JPEGBaseline8Bit, {Remark.OTHER_COMPRESSION}),
        (JPEGExtended12Bit, RLELossless, {Remark.OTHER_COMPRESSION, Remark.UNDECLARED_LOSS}),
        (JPEG2000, JPEG2000Lossless, {Remark.OTHER_COMPRESSION, Remark.UNDECLARED_LOSS}),
        (JPEGLSNearLossless, JPEGLSLossless, {Remark.OTHER_COMPRESSION, Remark.UNDECLARED_LOSS}),
        (HTJ2K, HTJ2KLossless, {Remark.OTHER_COMPRESSION, Remark.UNDECLARED_LOSS}),
        (JPEG2000, JPEGExtended12Bit, {Remark.OTHER_COMPRESSION}),
    ],
)
def test_lossy_streams_under_another_transfer_syntax(
    tmp_path: Path, real: UID, declared: UID, expected: set[Remark]
) -> None:
    streams = {JPEGExtended12Bit: "jpeg-extended-12u", HTJ2K: "htj2k-lossy-12u"}
    if real in streams:
        stream = reference_streams()[streams[real]]
    else:
        stream = get_frame(compressed(PICTURE, 12, real).PixelData, 0, number_of_frames=1)
    right = load_view(
        write_encapsulated(tmp_path / "a.dcm", PICTURE, 12, [even(stream)], real), None, 1024, acceptance=ANY_SIZE
    )
    assert right.remarks == ()
    assert (
        remarks_of(write_encapsulated(tmp_path / "b.dcm", PICTURE, 12, [even(stream)], declared), right.pixels)
        == expected
    )


def test_eight_lossy_bits_are_not_twelve(tmp_path: Path) -> None:
    """They would be read as black. The message names both."""
    stream = cv2.imencode(".jpg", picture(8, False))[1].tobytes()
    for syntax in (JPEGExtended12Bit, JPEGLosslessSV1):
        error = refusal_of(write_encapsulated(tmp_path / "x.dcm", PICTURE, 12, [even(stream)], syntax))
        assert error.reason is RejectionReason.UNDECODABLE_PIXELS
        assert "JPEG baseline" in error.value
        assert "8 bits" in error.value


def test_progressive_and_colour_are_refused_as_what_they_are(tmp_path: Path) -> None:
    eight = picture(8, False)
    progressive = cv2.imencode(".jpg", eight, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    colour = cv2.imencode(".jpg", cv2.merge([eight] * 3))[1].tobytes()
    for stream, value in ((progressive, "another JPEG process"), (colour, "3 components")):
        error = refusal_of(write_encapsulated(tmp_path / "x.dcm", eight, 8, [even(stream)], JPEGBaseline8Bit))
        assert error.reason is RejectionReason.UNDECODABLE_PIXELS
        assert value in error.value
    for stream in (
        bytes(imagecodecs.jpegls_encode(cv2.merge([eight] * 3))),
        bytes(imagecodecs.jpeg2k_encode(cv2.merge([eight] * 3), codecformat="j2k")),
    ):
        error = refusal_of(write_encapsulated(tmp_path / "x.dcm", eight, 8, [even(stream)], JPEGLSLossless))
        assert "3 components" in error.value


def test_lossy_samples_beyond_the_stored_bits_are_white(tmp_path: Path) -> None:
    """12-bit JPEG of 10-bit values: rounding leads over the top, and cutting the bit off would make black of it."""
    ten = np.random.default_rng(0).integers(990, 1024, PICTURE.shape, np.uint16)
    stream = bytes(imagecodecs.jpeg8_encode(ten, 60, bitspersample=12))
    assert imagecodecs.jpeg8_decode(stream).max() > 1023
    path = write_encapsulated(tmp_path / "x.dcm", PICTURE, 10, [even(stream)], JPEGExtended12Bit)
    assert load_view(path, None, 1024).pixels.min() > 60_000


def test_native_pixels_under_a_compressed_syntax(tmp_path: Path) -> None:
    native = file_bytes(mammogram(PICTURE, 12))
    for syntax in (JPEG2000Lossless, JPEGBaseline8Bit, RLELossless):
        path = tmp_path / "x.dcm"
        header = write_encapsulated(path, PICTURE, 12, [], syntax).read_bytes()
        path.write_bytes(header[: header.rindex(b"\xe0\x7f\x10\0OB")] + native[native.rindex(b"\xe0\x7f\x10\0OW") :])
        assert remarks_of(path) == {Remark.OTHER_COMPRESSION}


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: UID(syntax).keyword)
@pytest.mark.parametrize("has_length", [False, True])
def test_compressed_pixels_under_an_uncompressed_syntax(tmp_path: Path, syntax: UID, has_length: bool) -> None:
    path = write_encapsulated(
        tmp_path / "x.dcm",
        PICTURE,
        12,
        parts_of(stream_of(syntax), 2),
        ExplicitVRLittleEndian,
        has_length=has_length,
    )
    irregular = {Remark.IRREGULAR_FRAGMENTS} if has_length else set()
    assert remarks_of(path) == {Remark.OTHER_COMPRESSION} | irregular


def test_junk_is_no_stream(tmp_path: Path) -> None:
    error = refusal_of(write_encapsulated(tmp_path / "x.dcm", PICTURE, 12, [b"junk" * 300], JPEG2000))
    assert error.reason is RejectionReason.UNDECODABLE_PIXELS
    assert "not a stream of a known kind" in error.value


def test_the_header_of_a_stream_is_read_without_decoding(tmp_path: Path) -> None:
    """What can be told before pixels are decoded is told to ``describe`` as well."""
    path = tmp_path / "x.dcm"
    lossy = even(reference_streams()["jpeg-extended-12u"])
    header = read_header(write_encapsulated(path, PICTURE, 12, parts_of(lossy, 3), JPEGLosslessSV1, bytes(12)))
    assert set(header.remarks) == {Remark.OTHER_COMPRESSION, Remark.UNDECLARED_LOSS, Remark.WRONG_OFFSET_TABLE}
    for stream, picture_ in (
        (cv2.imencode(".jpg", picture(8, False))[1].tobytes(), PICTURE),
        (stream_of(JPEG2000Lossless), PICTURE[:-1]),
        (b"junk" * 300, PICTURE),
    ):
        with pytest.raises(IngestError) as caught:
            read_header(write_encapsulated(path, picture_, 12, [even(stream)], JPEG2000Lossless))
        assert caught.value.reason is RejectionReason.UNDECODABLE_PIXELS
