"""Decode JPEG 2000, HTJ2K, JPEG-LS and RLE streams of one component, and find out whether they are complete.

OpenJPEG rejects a JPEG 2000 stream that ends too early. But zeros are empty packets, and padding inside a code block is
decoded like coefficients. So the tile-parts must cover the stream, and the stream must not end with padding. CharLS
rejects JPEG-LS streams without every sample; here the reason is found: truncated or damaged. Each segment of RLE
Lossless (PS3.5 annex G) must have every sample.
"""

from __future__ import annotations

from contextlib import suppress
from struct import unpack
from typing import Any, Final

import cv2
import imagecodecs
import numpy as np
from numpy.typing import NDArray

from components.dicom.streams.codestream import (
    CODING_STYLE,
    END_OF_IMAGE,
    START_OF_TILE,
    Frame,
    SecondImageError,
    StreamError,
    end_of_scan,
    marker_segments,
)

_SMALLEST_TILE_PART = 14  # bytes: SOT and SOD
_LARGEST_PRECINCT = 15  # as a power of 2, if the stream names none
_CODED_ZEROS = 32  # bytes: a code block never ends with more of them


def _start_and_packets(stream: bytes, frame: Frame) -> tuple[int, int]:
    """Find the first tile-part; count the packets of an image of one tile (ITU-T T.800 A.6.1 and B.6), at least."""
    packets = 0
    for marker, content, end in marker_segments(stream, 2, START_OF_TILE):
        if marker == START_OF_TILE:
            return content - 4, packets
        if marker == CODING_STYLE and content + 10 <= end <= len(stream):
            layers, levels = int.from_bytes(stream[content + 2 : content + 4], "big"), stream[content + 5]
            sizes = stream[content + 10 : end] if stream[content] & 1 else b""
            for level in range(min(levels, 32) + 1):
                named = sizes[level] if level < len(sizes) else _LARGEST_PRECINCT * 17
                scale = min(levels, 32) - level
                across = (frame.columns >> scale >> (named & 15)) + 2
                packets += layers * across * ((frame.rows >> scale >> (named >> 4)) + 2)
    raise EOFError("a JPEG 2000 stream needs a tile")


def _end_of_tiles(stream: bytes, start: int, frame: Frame) -> int:
    """Return the end of the tile-parts, ITU-T T.800 A.4.2."""
    tiles = set()
    position = start
    while stream[position : position + 2] == bytes([0xFF, START_OF_TILE]):
        tiles.add(stream[position + 4 : position + 6])
        length = int.from_bytes(stream[position + 6 : position + 10], "big")
        if length < _SMALLEST_TILE_PART:  # 0: to the end of the stream
            position = stream.rfind(END_OF_IMAGE, position)
            break
        position += length
        if position > len(stream):
            raise EOFError("a tile-part is cut short")
    if len(tiles) < frame.tiles:
        raise EOFError("each tile must be there")
    return position


def decode_jpeg_2000(stream: bytes, frame: Frame) -> tuple[NDArray[Any], bool]:
    """Decode a JPEG 2000 or HTJ2K stream of one component.

    Args:
        stream: Code stream.
        frame: Its declared image.

    Returns:
        (u)int8 or (u)int16 [rows, columns], with the sign of the stream, and True if the end marker is there.

    Raises:
        EOFError: The stream is truncated, or ends with padding.
        SecondImageError: Another image follows.
        Exception: Any exception of OpenJPEG on damaged streams.
    """
    start, packets = _start_and_packets(stream, frame)
    end = _end_of_tiles(stream, start, frame)
    is_closed = end >= 0 and stream.startswith(END_OF_IMAGE, end)
    end = end if end >= 0 else len(stream)
    bare = stream.rstrip(b"\0")
    if bare.endswith(END_OF_IMAGE) and len(bare) - len(END_OF_IMAGE) < end:
        raise EOFError("the last tile-part is cut short")
    if stream.find(stream[:4], end) >= 0:
        raise SecondImageError("several JPEG 2000 images", "store each image in a separate file")
    # An empty packet is a byte of 0; no stream ends with bytes of 255.
    padding = _CODED_ZEROS + packets
    tail = stream[max(0, end - padding - 1) : end]
    if tail.endswith(b"\xff\xff") or (len(tail) > padding and not any(tail)):
        raise EOFError("the stream is padded")
    return imagecodecs.jpeg2k_decode(stream, numthreads=1), is_closed


_FILLERS: Final = (b"\x55", b"\x92", b"\x36")  # bits that can mean samples in any state of the decoder
_FILLER_PER_SAMPLE: Final = 4  # bytes: more than any sample needs


def _as_far_as_decoded(stream: bytes, frame: Frame) -> NDArray[Any]:
    """Decode the rows before the first error; the others are white."""
    kind, white = (np.uint8, 0xFF) if frame.precision <= 8 else (np.uint16, 0xFFFF)
    rows = np.full((frame.rows, frame.columns), white, kind)
    with suppress(imagecodecs.JpeglsError):
        imagecodecs.jpegls_decode(stream + END_OF_IMAGE, out=rows)
    return rows


def _is_used_up(stream: bytes, frame: Frame) -> bool:
    """Return True if a decoder needs more samples at the end of a stream: it decodes bytes that are appended."""
    bare, size = _as_far_as_decoded(stream, frame), _FILLER_PER_SAMPLE * frame.columns
    return any(not np.array_equal(bare, _as_far_as_decoded(stream + size * filler, frame)) for filler in _FILLERS)


def decode_jpeg_ls(stream: bytes, frame: Frame) -> tuple[NDArray[Any], bool]:
    """Decode a JPEG-LS stream of one component.

    Args:
        stream: JPEG-LS.
        frame: Its declared image.

    Returns:
        uint8 (up to 8 bits) or uint16 [rows, columns], and True if the end marker is there.

    Raises:
        EOFError: The stream ends before it has all samples, or is then padded.
        SecondImageError: Another image follows.
        Exception: Any exception of CharLS on damaged streams.
    """
    start = max((end for _, _, end in marker_segments(stream)), default=2)
    end, is_closed = end_of_scan(stream, start, is_jpeg_ls=True)
    # Without the end marker CharLS would read too far.
    whole = stream[:end] if is_closed else stream[:end].rstrip(b"\0")
    try:
        return imagecodecs.jpegls_decode(whole + END_OF_IMAGE), is_closed
    except imagecodecs.JpeglsError as error:
        if not is_closed or whole.endswith((bytes(8), b"\xff\xff")) or _is_used_up(whole, frame):
            raise EOFError("the stream is cut short") from error
        raise


_RLE_HEADER: Final = 64  # bytes
_RLE_PADDING: Final = 4  # samples that a segment may have in excess


def is_rle(stream: bytes) -> bool:
    """Return True for an RLE header: one or two segments for grey, and the first follows the header."""
    if len(stream) < _RLE_HEADER:
        return False
    segments, *offsets = unpack("<16L", stream[:_RLE_HEADER])
    return segments in (1, 2) and offsets[0] == _RLE_HEADER and not any(offsets[segments:])


def require_rle(stream: bytes, bits_allocated: int) -> None:
    """Check the header of an RLE frame; raise the errors of ``decode_rle``."""
    if len(stream) < _RLE_HEADER:
        raise EOFError("an RLE frame begins with a header")
    segments = unpack("<L", stream[:4])[0]
    if segments != bits_allocated // 8 or not is_rle(stream):
        raise StreamError(f"RLE header of {segments} segments for {bits_allocated} bits", "export the image again")


def _rle_plane(segment: bytes, samples: int) -> NDArray[Any]:
    """Decode a segment: one byte of each sample."""
    result = np.empty(samples + _RLE_PADDING, np.uint8)

    def is_whole(content: bytes) -> bool:
        try:
            return len(imagecodecs.packbits_decode(content, out=result.data)) == samples
        except imagecodecs.PackbitsError:  # it ends within a run, or has too many samples
            return False

    # Zeros can be padding. They can also be data, and the last run needs one of them.
    if is_whole(segment) or is_whole(bare := segment.rstrip(b"\0")) or is_whole(bare + b"\0"):
        return result[:samples]
    raise EOFError("a segment must hold all samples")


def decode_rle(stream: bytes, rows: int, columns: int, bits_allocated: int) -> NDArray[Any]:
    """Decode an RLE frame of one component.

    Args:
        stream: RLE header and segments.
        rows: Rows (0028,0010).
        columns: Columns (0028,0011).
        bits_allocated: Bits Allocated (0028,0100), 8 or 16.

    Returns:
        uint8 or uint16 [rows, columns].

    Raises:
        EOFError: A segment does not have all samples.
        SecondImageError: Another image follows.
        StreamError: The number of segments is wrong.
    """
    require_rle(stream, bits_allocated)
    segments, *offsets = unpack("<16L", stream[:_RLE_HEADER])
    ends = [*offsets[1:segments], len(stream)]
    try:
        planes = [
            _rle_plane(stream[start:end], rows * columns).reshape(rows, columns)
            for start, end in zip(offsets, ends, strict=False)
        ]
    except EOFError:
        if stream.find(stream[:8], _RLE_HEADER) >= 0:
            raise SecondImageError("several RLE images", "store each image in a separate file") from None
        raise
    if segments == 1:
        return planes[0]
    return cv2.merge(planes[::-1]).view(np.uint16)[..., 0]  # the high byte comes first
