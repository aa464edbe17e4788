"""JPEG 2000 and HTJ2K streams, decoded after a look at whether they are whole.

OpenJPEG refuses a stream that ends too early. But zeros are empty packets, and padding inside a code block is decoded
as if it were coefficients. So the tile-parts must account for the stream, and its end must not be padding.
"""

from __future__ import annotations

import imagecodecs
import numpy as np

from components.dicom.streams.codestream import END_OF_IMAGE, Frame, SecondImageError, segments

_START_OF_TILE, _CODING_STYLE = 0x90, 0x52  # SOT, COD
_SMALLEST_TILE_PART = 14  # bytes: SOT and SOD
_LARGEST_PRECINCT = 15  # as a power of 2, where the stream names none
_CODED_ZEROS = 32  # bytes: more of them do not end a code block, and never a whole one


def _start_and_packets(stream: bytes, frame: Frame) -> tuple[int, int]:
    """Finds the first tile-part; counts the packets of an image of one tile (ITU-T T.800 A.6.1 and B.6), at least."""
    packets = 0
    for marker, content, end in segments(stream, 2, _START_OF_TILE):
        if marker == _START_OF_TILE:
            return content - 4, packets
        if marker == _CODING_STYLE and content + 10 <= end <= len(stream):
            layers, levels = int.from_bytes(stream[content + 2 : content + 4], "big"), stream[content + 5]
            sizes = stream[content + 10 : end] if stream[content] & 1 else b""
            for level in range(min(levels, 32) + 1):
                named = sizes[level] if level < len(sizes) else _LARGEST_PRECINCT * 17
                scale = min(levels, 32) - level
                across = (frame.columns >> scale >> (named & 15)) + 2
                packets += layers * across * ((frame.rows >> scale >> (named >> 4)) + 2)
    raise EOFError("a JPEG 2000 stream needs a tile")


def _end_of_tiles(stream: bytes, start: int, frame: Frame) -> int:
    """Walks the tile-parts, ITU-T T.800 A.4.2; returns where they end."""
    tiles = set()
    position = start
    while stream[position : position + 2] == bytes([0xFF, _START_OF_TILE]):
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


def decode_jpeg_2000(stream: bytes, frame: Frame) -> tuple[np.ndarray, bool]:
    """Decodes a JPEG 2000 or HTJ2K stream of one component.

    Args:
        stream: Code stream.
        frame: What it declares.

    Returns:
        (u)int8 or (u)int16 [rows, columns], as signed as the stream says, and whether the end marker is there.

    Raises:
        EOFError: The stream is cut short, or what ends it is padding.
        SecondImageError: There is another image behind it.
        Exception: Whatever OpenJPEG says of damaged streams.
    """
    start, packets = _start_and_packets(stream, frame)
    end = _end_of_tiles(stream, start, frame)
    is_closed = end >= 0 and stream.startswith(END_OF_IMAGE, end)
    end = end if end >= 0 else len(stream)
    bare = stream.rstrip(b"\0")
    if bare.endswith(END_OF_IMAGE) and len(bare) - len(END_OF_IMAGE) < end:
        raise EOFError("the last tile-part is cut short")
    if stream.find(stream[:4], end) >= 0:
        raise SecondImageError("several JPEG 2000 images", "give each image a file of its own")
    # An empty packet is a byte of 0; nothing ends with bytes of 255.
    padding = _CODED_ZEROS + packets
    tail = stream[max(0, end - padding - 1) : end]
    if tail.endswith(b"\xff\xff") or (len(tail) > padding and not any(tail)):
        raise EOFError("the stream is padded")
    return imagecodecs.jpeg2k_decode(stream, numthreads=1), is_closed
