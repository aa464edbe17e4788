"""RLE Lossless (PS3.5 annex G), decoded with proof that each segment holds every sample."""

from __future__ import annotations

from struct import unpack
from typing import Final

import cv2
import imagecodecs
import numpy as np

from components.dicom.streams.codestream import SecondImageError, StreamError

_HEADER: Final = 64  # bytes
_PADDING: Final = 4  # samples that a segment may have in excess


def is_rle(stream: bytes) -> bool:
    """Tells an RLE header: one or two segments for grey, of which the first follows the header."""
    if len(stream) < _HEADER:
        return False
    segments, *offsets = unpack("<16L", stream[:_HEADER])
    return segments in (1, 2) and offsets[0] == _HEADER and not any(offsets[segments:])


def require_rle(stream: bytes, bits_allocated: int) -> None:
    """Checks the header of an RLE frame; errors as of ``decode_rle``."""
    if len(stream) < _HEADER:
        raise EOFError("an RLE frame begins with a header")
    segments = unpack("<L", stream[:4])[0]
    if segments != bits_allocated // 8 or not is_rle(stream):
        raise StreamError(f"RLE header of {segments} segments for {bits_allocated} bits", "export the image again")


def _plane(segment: bytes, samples: int) -> np.ndarray:
    """Decodes a segment: one byte of each sample."""
    result = np.empty(samples + _PADDING, np.uint8)

    def is_whole(content: bytes) -> bool:
        try:
            return len(imagecodecs.packbits_decode(content, out=result.data)) == samples
        except imagecodecs.PackbitsError:  # ends within a run, or has too many samples
            return False

    # Zeros may pad it. They may also be data, of which the last run needs one.
    if is_whole(segment) or is_whole(bare := segment.rstrip(b"\0")) or is_whole(bare + b"\0"):
        return result[:samples]
    raise EOFError("a segment must hold all samples")


def decode_rle(stream: bytes, rows: int, columns: int, bits_allocated: int) -> np.ndarray:
    """Decodes an RLE frame of one component.

    Args:
        stream: RLE header and segments.
        rows: Rows (0028,0010).
        columns: Columns (0028,0011).
        bits_allocated: Bits Allocated (0028,0100), 8 or 16.

    Returns:
        uint8 or uint16 [rows, columns].

    Raises:
        EOFError: A segment does not hold all samples.
        SecondImageError: There is another image behind it.
        StreamError: There is another number of segments.
    """
    require_rle(stream, bits_allocated)
    segments, *offsets = unpack("<16L", stream[:_HEADER])
    ends = [*offsets[1:segments], len(stream)]
    try:
        planes = [
            _plane(stream[start:end], rows * columns).reshape(rows, columns)
            for start, end in zip(offsets, ends, strict=False)
        ]
    except EOFError:
        if stream.find(stream[:8], _HEADER) >= 0:
            raise SecondImageError("several RLE images", "give each image a file of its own") from None
        raise
    if segments == 1:
        return planes[0]
    return cv2.merge(planes[::-1]).view(np.uint16)[..., 0]  # the high byte comes first
