"""Split a JPEG of one scan and one component into its header and the entropy-coded data of each restart interval.

libjpeg fills up a stream that ends too early, and imagecodecs suppresses its warnings. So a stream is decoded with some
more rows than it has, and their content shows where the entropy-coded data ended. That takes almost no time. Zeros at
the end are data if they mean that nothing changes. Otherwise they are padding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

import imagecodecs
from numpy.typing import NDArray

from components.dicom.bounded_stream import TooMuchError
from components.dicom.streams.codestream import END_OF_IMAGE, START_OF_SCAN, end_of_scan, marker_segments

ZEROS: Final = bytes(8)  # zeros at the end that can be part of the data are fewer
_FRAMES: Final = (0xC0, 0xC1, 0xC3)
_RESTART_INTERVAL: Final = 0xDD
_SCAN_HEADER: Final = 6  # bytes for one component
_RESTART: Final = re.compile(rb"\xff+([\xd0-\xd7])")
_MAX_INTERVALS: Final = 16_384
_MAX_HEADERS: Final = 1 << 30  # bytes, because the header is copied for each interval


@dataclass(frozen=True)
class Jpeg:
    """A stream of one scan.

    Attributes:
        header: Bytes before the entropy-coded data.
        frame: Position of the frame header's content in ``header``.
        scan: Position of the scan header's content.
        restart: Position of the restart interval; None if there is none.
        interval: Samples or blocks per restart interval; 0 if there is none.
        pieces: Entropy-coded data of each interval.
        is_closed: An end marker follows.
    """

    header: bytes
    frame: int
    scan: int
    restart: int | None
    interval: int
    pieces: list[memoryview]
    is_closed: bool

    def decode(self, rows: int, columns: int, data: list[bytes | memoryview], changes: dict[int, int]) -> NDArray[Any]:
        """Decode other data as an image of another size; ``changes`` are bytes of the header by position."""
        header = bytearray(self.header)
        header[self.frame + 1 : self.frame + 5] = rows.to_bytes(2, "big") + columns.to_bytes(2, "big")
        header[self.frame + 7] = 0x11  # sampling has no meaning for a single component, but libjpeg uses it
        for position, value in changes.items():
            header[position] = value
        return imagecodecs.jpeg8_decode(b"".join((header, *data, END_OF_IMAGE)))


def parse_jpeg(stream: bytes) -> Jpeg:
    """Split a stream into its parts; raise the errors of ``decoders.decode_jpeg``."""
    frame = scan = start = interval = 0
    restart = None
    for marker, content, end in marker_segments(stream):
        if marker in _FRAMES:
            frame = content
        elif marker == _RESTART_INTERVAL:
            restart, interval = content, int.from_bytes(stream[content : content + 2], "big")
        elif marker == START_OF_SCAN:
            scan, start = content, end
    if not 0 < frame < scan or start - scan != _SCAN_HEADER or start >= len(stream):
        raise EOFError("a JPEG needs the header of a scan, and data")
    end, is_closed = end_of_scan(stream, start)
    if stream[end - 1] == 0xFF:  # fill bytes, T.81 B.1.1.2
        end = start + len(stream[start:end].rstrip(b"\xff"))
    data = memoryview(stream)[start:end]
    if not interval:
        return Jpeg(stream[:start], frame, scan, restart, 0, [data], is_closed)
    markers = list(_RESTART.finditer(data))
    if len(markers) >= _MAX_INTERVALS:
        raise TooMuchError(f"up to {_MAX_INTERVALS} restart intervals are decoded")
    if len(markers) * start > _MAX_HEADERS:
        raise TooMuchError("a header of comments is not decoded for each restart interval")
    if any(marker[1][0] != 0xD0 + number % 8 for number, marker in enumerate(markers)):
        raise EOFError("restart markers must follow each other")
    starts, ends = [0, *(marker.end() for marker in markers)], [*(marker.start() for marker in markers), len(data)]
    pieces = [data[first:last] for first, last in zip(starts, ends, strict=True)]
    return Jpeg(stream[:start], frame, scan, restart, interval, pieces, is_closed)


def _without_zeros(data: memoryview) -> memoryview:
    """Remove zeros at the end, except one that belongs to the byte before it."""
    size = len(bytes(data).rstrip(b"\0"))
    return data[: size + 1] if size and data[size - 1] == 0xFF else data[:size]


def possible_data(data: memoryview, zeros_are_data: bool) -> list[memoryview]:
    """List what the data of the last interval can be: all, or all without padding."""
    if not data or data[-1]:
        return [data]
    bare = _without_zeros(data)
    return [data, bare] if zeros_are_data or len(data) - len(bare) < len(ZEROS) else [bare]
