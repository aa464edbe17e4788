"""Read what JPEG, JPEG-LS and JPEG 2000 streams are and declare, and repair one known fault.

Decoders trust the stream, not the DICOM header, and allocate memory for the declared image. So the stream is first
compared with the header. The stream also shows its coding process, because the transfer syntax can be wrong.

Old encoders of JPEG Extended (Process 2 and 4) write sequential scan headers without the full range of coefficients, 0
to 63, that ITU-T T.81 B.2.3 requires. The data are valid, but a strict decoder rejects them. The NEMA WG-04 samples are
such files.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final

# Progressive JPEGs have some ten scans of all their pixels; a hostile one can have thousands.
_MAX_SCANNED_PIXELS: Final = 1_000_000_000
START_OF_SCAN: Final = 0xDA
_SEQUENTIAL_FRAMES: Final = frozenset({0xC0, 0xC1})  # baseline and extended sequential DCT, Huffman coded
_LOSSLESS_FRAME: Final = 0xC3
_JPEG_LS_FRAME: Final = 0xF7  # SOF55
# All start-of-frame markers: SOF0 to SOF15 without DHT, JPG and DAC, and SOF55 of JPEG-LS.
_FRAMES: Final = (frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {_JPEG_LS_FRAME}
_FULL_SCAN: Final = bytes([0, 63, 0])  # Ss, Se, Ah/Al
_JPEG: Final = b"\xff\xd8"  # SOI
_JPEG_2000: Final = b"\xff\x4f\xff\x51"  # SOC, SIZ
_JP2: Final = b"\0\0\0\x0cjP  \r\n\x87\n"  # signature box, ITU-T T.800 I.5.1
_CAPABILITIES, CODING_STYLE, START_OF_TILE = 0x50, 0x52, 0x90  # markers of JPEG 2000: CAP, COD, SOT
_COMPONENT_STYLE: Final = 0x53  # COC
END_OF_IMAGE: Final = b"\xff\xd9"
_START_OF_IMAGE: Final = b"\xff\xd8\xff"
# Markers that end the data of a scan; restart markers do not. In data, a zero byte follows 255; in JPEG-LS, a zero bit.
_JPEG_MARKER: Final = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")
_JPEG_LS_MARKER: Final = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_ANNOTATIONS: Final = frozenset({*range(0xE0, 0xF0), 0xFE})  # APPn, COM
_SEGMENT_HEADER: Final = 4  # bytes: marker and length
_JPEG_2000_HEADER: Final = 45  # bytes of a stream, including the fields of its first component


class Coding(Enum):
    """What a stream can be; the values are the names for messages."""

    BASELINE = "JPEG baseline"
    EXTENDED = "JPEG extended"
    LOSSLESS_SV1 = "JPEG lossless, predictor 1"
    LOSSLESS = "JPEG lossless, another predictor than 1"
    JPEG_LS = "JPEG-LS lossless"
    JPEG_LS_NEAR = "JPEG-LS near-lossless"
    JPEG_2000 = "JPEG 2000 lossless"
    JPEG_2000_LOSSY = "JPEG 2000 lossy"
    HTJ2K = "HTJ2K lossless"
    HTJ2K_LOSSY = "HTJ2K lossy"
    RLE = "RLE"
    OTHER = "another JPEG process"


LOSSY: Final = frozenset(
    {Coding.BASELINE, Coding.EXTENDED, Coding.JPEG_LS_NEAR, Coding.JPEG_2000_LOSSY, Coding.HTJ2K_LOSSY}
)


class StreamError(ValueError):
    """A stream that cannot be read, or that contradicts its header.

    Attributes:
        found: What the stream is, without anything that identifies a person.
        remedy: What to do, as a clause.
    """

    def __init__(self, found: str, remedy: str) -> None:
        super().__init__(found, remedy)
        self.found = found
        self.remedy = remedy


class SecondImageError(StreamError):
    """The frame has more than one image."""


@dataclass(frozen=True)
class Frame:
    """The image that a stream declares.

    Attributes:
        coding: Coding process.
        rows: Rows, pixels.
        columns: Columns, pixels.
        precision: Bits per sample.
        components: Samples per pixel.
        tiles: Number of tiles of JPEG 2000 (a decoder allocates some kilobytes per tile); 1 for other streams.
    """

    coding: Coding
    rows: int
    columns: int
    precision: int
    components: int
    tiles: int = 1


def is_stream(first_bytes: bytes) -> bool:
    """Return True if the first 12 bytes are JPEG, JPEG-LS or JPEG 2000."""
    return first_bytes.startswith((_JPEG + b"\xff", _JPEG_2000, _JP2))


def begins_a_stream(stream: bytes) -> bool:
    """Return True if the bytes are an incomplete signature of a stream, possibly padded."""
    bare = stream.rstrip(b"\0")
    return bool(bare) and any(signature.startswith(bare) for signature in (_JPEG, _JPEG_2000, _JP2))


def marker_segments(stream: bytes, start: int = 2, last: int = START_OF_SCAN) -> Iterator[tuple[int, int, int]]:
    """Yield the marker segments of a header, including the marker ``last``: marker, start of content, end."""
    position = start
    while position + 4 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF:  # fill byte, ITU-T T.81 B.1.1.2
            position += 1
            continue
        end = position + 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
        yield marker, position + 4, end
        if marker == last:
            return
        position = end


def ends_in_header(stream: bytes, size: int) -> bool:
    """Return True if a stream ends before its first scan or tile, as far as it is known.

    Args:
        stream: The stream, or its beginning.
        size: Its size, bytes.
    """
    last = START_OF_TILE if stream.startswith(_JPEG_2000) else START_OF_SCAN
    marker, _, position = [(0, 0, 2), *marker_segments(stream, 2, last)][-1]
    if marker == last or len(stream) < size or position > size:
        return position > size
    return len(stream) - position < _SEGMENT_HEADER or not stream[position:].strip(b"\0\xff")


def end_of_scan(stream: bytes, start: int, is_jpeg_ls: bool = False) -> tuple[int, bool]:
    """Find the end of the data of the only scan of a JPEG or JPEG-LS.

    Args:
        stream: The stream.
        start: Start of the data.
        is_jpeg_ls: The stream is JPEG-LS.

    Returns:
        The end of the data, and True if the end marker follows, possibly after comments and application segments.

    Raises:
        EOFError: Another marker is in the data.
        SecondImageError: Another image follows.
    """
    found = (_JPEG_LS_MARKER if is_jpeg_ls else _JPEG_MARKER).search(stream, start)
    if found is None:
        return len(stream), False
    position = found.start()
    for marker, _, end in marker_segments(stream, position, END_OF_IMAGE[1]):
        if marker not in _ANNOTATIONS:
            break
        position = end
    is_marker, behind = stream[position : position + 1] == b"\xff", stream[position : position + 64].lstrip(b"\xff")
    if is_marker and behind.startswith(END_OF_IMAGE[1:]):
        if stream.find(_START_OF_IMAGE, position) >= 0:
            raise SecondImageError("several images", "store each image in a separate file")
        return found.start(), True
    if is_marker and behind:
        raise EOFError("the data must be followed by the end marker")
    return found.start(), False


def _jpeg_2000_coding(stream: bytes) -> Coding | None:
    """Read the coding style, ITU-T T.800 A.6.1 and A.6.2, T.814 A.3; that of the component is used if there is one."""
    is_high_throughput = False
    reversible: dict[int, bool] = {}
    for marker, start, end in marker_segments(stream, 2, START_OF_TILE):
        if marker == _CAPABILITIES:
            is_high_throughput = True
        offset = {CODING_STYLE: 9, _COMPONENT_STYLE: 6}.get(marker)
        if offset is not None and start + offset < min(end, len(stream)):
            reversible[marker] = stream[start + offset] == 1
    if CODING_STYLE not in reversible:
        return None
    is_lossless = reversible.get(_COMPONENT_STYLE, reversible[CODING_STYLE])
    if is_high_throughput:
        return Coding.HTJ2K if is_lossless else Coding.HTJ2K_LOSSY
    return Coding.JPEG_2000 if is_lossless else Coding.JPEG_2000_LOSSY


def _jpeg_2000_frame(stream: bytes) -> Frame | None:
    """Read the SIZ segment, ITU-T T.800 A.5.1."""
    coding = _jpeg_2000_coding(stream)
    if coding is None or len(stream) < _JPEG_2000_HEADER:
        return None
    x, y, x_offset, y_offset, tile_x, tile_y, tile_x_offset, tile_y_offset = (
        int.from_bytes(stream[i : i + 4], "big") for i in range(8, 40, 4)
    )
    tiles = 0
    if tile_x and tile_y:
        tiles = -(-(x - tile_x_offset) // tile_x) * -(-(y - tile_y_offset) // tile_y)
    components = int.from_bytes(stream[40:42], "big")
    subsampled = stream[43:45] != b"\1\1"
    rows, columns = (0, 0) if subsampled else (y - y_offset, x - x_offset)
    return Frame(coding, rows, columns, (stream[42] & 0x7F) + 1, components, tiles)


def _jpeg_coding(frame: int, scan: bytes) -> Coding:
    """Return the coding for the marker of the frame and the parameters of the scan, of one component."""
    if frame == 0xC0:
        return Coding.BASELINE
    if frame == 0xC1:
        return Coding.EXTENDED
    first = scan[3] if len(scan) > 3 else 0  # Ss: predictor of lossless JPEG, NEAR of JPEG-LS
    if frame == _LOSSLESS_FRAME:
        return Coding.LOSSLESS_SV1 if first == 1 else Coding.LOSSLESS
    if frame == _JPEG_LS_FRAME:
        return Coding.JPEG_LS_NEAR if first else Coding.JPEG_LS
    return Coding.OTHER


def _jpeg_frame(stream: bytes) -> Frame | None:
    found, scan = None, b""
    for marker, start, end in marker_segments(stream):
        if marker in _FRAMES and found is None and start + 6 <= min(end, len(stream)):
            found = marker, stream[start : start + 6]
        if marker == START_OF_SCAN:
            scan = stream[start:end]
    if found is None or not scan:
        return None
    marker, content = found
    rows, columns = (int.from_bytes(content[i : i + 2], "big") for i in (1, 3))
    return Frame(_jpeg_coding(marker, scan), rows, columns, content[0], content[5])


def declared_frame(stream: bytes) -> Frame | None:
    """Read the image that a stream declares.

    Args:
        stream: JPEG, JPEG-LS or JPEG 2000 code stream.

    Returns:
        The declared image; None if the stream declares none or ends before that.
    """
    if stream.startswith(_JPEG_2000):
        return _jpeg_2000_frame(stream)
    return _jpeg_frame(stream) if stream.startswith(_JPEG) else None


def without_jp2(stream: bytes) -> bytes:
    """Remove the file format around a JPEG 2000 stream, which some systems write against PS3.5 section A.4.4."""
    return stream[max(0, stream.find(_JPEG_2000)) :] if stream.startswith(_JP2) else stream


def has_too_many_scans(stream: bytes, pixels: int) -> bool:
    """Return True if a JPEG with this number of pixels would keep a decoder busy for too long."""
    return stream.count(bytes([0xFF, START_OF_SCAN])) * pixels > _MAX_SCANNED_PIXELS


def repair_scan_header(stream: bytes) -> bytes:
    """Write the only allowed coefficient range into the scan header of a sequential JPEG.

    Args:
        stream: JPEG stream from SOI on.

    Returns:
        The repaired stream if it is a sequential JPEG; any other stream unchanged.
    """
    sequential = False
    for marker, start, end in marker_segments(stream):
        sequential = sequential or marker in _SEQUENTIAL_FRAMES
        if marker == START_OF_SCAN and sequential and end - start >= 4 and end <= len(stream):
            return stream[: end - 3] + _FULL_SCAN + stream[end:]
    return stream
