"""JPEG-LS streams. CharLS refuses those that do not hold every sample; here it is told whether they are cut short."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

import imagecodecs
import numpy as np

from components.dicom.streams.codestream import END_OF_IMAGE, Frame, end_of_scan, segments

_FILLERS: Final = (b"\x55", b"\x92", b"\x36")  # of bits that may mean samples, whatever the state of the decoder
_FILLER_A_SAMPLE: Final = 4  # bytes: more than any sample takes


def _as_far_as_decoded(stream: bytes, frame: Frame) -> np.ndarray:
    """Decodes the rows before the first error; the others are white."""
    kind, white = (np.uint8, 0xFF) if frame.precision <= 8 else (np.uint16, 0xFFFF)
    rows = np.full((frame.rows, frame.columns), white, kind)
    with suppress(imagecodecs.JpeglsError):
        imagecodecs.jpegls_decode(stream + END_OF_IMAGE, out=rows)
    return rows


def _is_used_up(stream: bytes, frame: Frame) -> bool:
    """Tells whether a decoder comes to the end of a stream before it has all samples: what is put behind is decoded."""
    bare, size = _as_far_as_decoded(stream, frame), _FILLER_A_SAMPLE * frame.columns
    return any(not np.array_equal(bare, _as_far_as_decoded(stream + size * filler, frame)) for filler in _FILLERS)


def decode_jpeg_ls(stream: bytes, frame: Frame) -> tuple[np.ndarray, bool]:
    """Decodes a JPEG-LS stream of one component.

    Args:
        stream: JPEG-LS.
        frame: What it declares.

    Returns:
        uint8 (up to 8 bits) or uint16 [rows, columns], and whether the end marker is there.

    Raises:
        EOFError: The stream ends before it has all samples, or is padded after that.
        SecondImageError: There is another image behind it.
        Exception: Whatever CharLS says of damaged streams.
    """
    start = max((end for _, _, end in segments(stream)), default=2)
    end, is_closed = end_of_scan(stream, start, is_jpeg_ls=True)
    # Without its marker CharLS would read on.
    whole = stream[:end] if is_closed else stream[:end].rstrip(b"\0")
    try:
        return imagecodecs.jpegls_decode(whole + END_OF_IMAGE), is_closed
    except imagecodecs.JpeglsError as error:
        if not is_closed or whole.endswith((bytes(8), b"\xff\xff")) or _is_used_up(whole, frame):
            raise EOFError("the stream is cut short") from error
        raise
