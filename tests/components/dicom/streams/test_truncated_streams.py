"""Cut streams of JPEG-LS and JPEG 2000 are called truncated, also where an end marker or padding follows the cut."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import imagecodecs
import numpy as np
import pytest
from pydicom.uid import UID, JPEG2000Lossless, JPEGLSLossless, JPEGLSNearLossless

from benchmarks.reference_images import mammogram
from components.dicom.reading import read_pixels
from components.dicom.rejections import IngestError, RejectionReason
from components.dicom.streams.decoders import decode_frame
from tests.components.dicom.streams.streams import END, even, write_encapsulated


def smooth() -> np.ndarray:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:96, :80]
    pixels = np.clip(1000 + 8 * x + 5 * y + random.normal(0, 10, y.shape), 0, 4095)
    return np.where(x > 50, 0, pixels).astype(np.uint16)


def stream_of(syntax: UID) -> bytes:
    if syntax == JPEG2000Lossless:
        return bytes(imagecodecs.jpeg2k_encode(smooth(), codecformat="j2k", reversible=True, bitspersample=12))
    return bytes(imagecodecs.jpegls_encode(smooth(), level=2 if syntax == JPEGLSNearLossless else 0))


SYNTAXES = (JPEGLSLossless, JPEGLSNearLossless, JPEG2000Lossless)
TAILS: Final[dict[str, Callable[[int], bytes]]] = {
    "nothing": lambda lost: b"",
    "end marker": lambda lost: END,
    "end marker, zeros": lambda lost: END + bytes(lost),
    "zeros": bytes,
    "zeros, end marker": lambda lost: bytes(lost) + END,
    "ones": lambda lost: b"\xff" * lost,
}


@pytest.mark.parametrize("tail", sorted(TAILS))
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_cut_streams(tmp_path: Path, syntax: UID, tail: str) -> None:
    stream = stream_of(syntax)
    start = stream.index(b"\xff\x93" if syntax == JPEG2000Lossless else b"\xff\xda") + 10
    size = len(stream) - 2 - start
    # Some zeros may be what ends a code block of JPEG 2000.
    last = 0 if syntax == JPEG2000Lossless and tail.startswith("zeros") else size
    for kept in (0, 1, size // 10, size // 2, *(last - n for n in (40, 4, 3, 2) if last)):
        cut = stream[: start + kept] + TAILS[tail](size - kept)
        path = write_encapsulated(tmp_path / "x.dcm", smooth(), 12, [even(cut)], syntax)
        with pytest.raises(IngestError) as caught:
            read_pixels(path)
        assert caught.value.reason is RejectionReason.TRUNCATED, kept


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_a_stream_that_is_cut_in_its_signature(tmp_path: Path, syntax: UID) -> None:
    for kept in (1, 2):
        path = write_encapsulated(tmp_path / "x.dcm", smooth(), 12, [even(stream_of(syntax)[:kept])], syntax)
        with pytest.raises(IngestError) as caught:
            read_pixels(path)
        assert caught.value.reason is RejectionReason.TRUNCATED


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.keyword)
def test_whole_streams_are_read(syntax: UID) -> None:
    found = decode_frame(mammogram(smooth(), 12), syntax, stream_of(syntax)).cells
    assert np.abs(found.astype(int) - smooth()).max() <= (2 if syntax == JPEGLSNearLossless else 0)
