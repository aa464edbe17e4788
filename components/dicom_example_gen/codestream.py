"""JPEG, JPEG-LS and JPEG 2000 streams: what they declare, and the repair of one known fault.

Decoders believe the stream, not the DICOM header, and allocate what it declares. So both are compared first.

Old encoders of JPEG Extended (Process 2 and 4) write sequential scan headers that name no full scan, where ITU-T
T.81 B.2.3 demands coefficients 0 to 63. The data are sound, but a strict decoder refuses them; the NEMA WG-04
samples are such files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

# Progressive JPEGs have some ten scans of all their pixels, and a hostile one may have thousands.
_MAX_SCANNED_PIXELS: Final = 1_000_000_000
_START_OF_SCAN: Final = 0xDA
_SEQUENTIAL_FRAMES: Final = frozenset({0xC0, 0xC1})  # baseline and extended sequential DCT, Huffman coded
JPEG_LS_PROCESS: Final = 0xF7  # SOF55
# All start-of-frame markers: SOF0 to SOF15 without DHT, JPG and DAC, and SOF55 of JPEG-LS.
_FRAMES: Final = (frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {JPEG_LS_PROCESS}
_FULL_SCAN: Final = bytes([0, 63, 0])  # Ss, Se, Ah/Al
_JPEG_2000: Final = b"\xff\x4f\xff\x51"  # SOC, SIZ
_JP2: Final = b"\0\0\0\x0cjP  \r\n\x87\n"  # signature box, ITU-T T.800 I.5.1
JPEG_2000_PROCESS: Final = 0x51
END_OF_IMAGE: Final = b"\xff\xd9"
_JPEG_2000_HEADER: Final = 45  # bytes of a stream up to and with the fields of its first component


@dataclass(frozen=True)
class Frame:
    """What a stream declares of its image.

    Attributes:
        process: Marker that starts the frame, as 0xC0 for baseline JPEG (ITU-T T.81 table B.1); that of the SIZ segment
            for JPEG 2000.
        rows: Rows, pixels.
        columns: Columns, pixels.
        precision: Bits of a sample.
        components: Samples of a pixel.
        tiles: Tiles of JPEG 2000 (a decoder keeps some kilobytes for each); 1 for the others.
    """

    process: int
    rows: int
    columns: int
    precision: int
    components: int
    tiles: int = 1


def _segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Walks the marker segments of a JPEG up to its first scan: marker, start of content, end."""
    position = 2
    while position + 4 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xFF:  # fill byte, ITU-T T.81 B.1.1.2
            position += 1
            continue
        end = position + 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
        yield marker, position + 4, end
        if marker == _START_OF_SCAN:
            return
        position = end


def _jpeg_2000_frame(stream: bytes) -> Frame:
    """Reads the SIZ segment, ITU-T T.800 A.5.1."""
    x, y, x_offset, y_offset, tile_x, tile_y, tile_x_offset, tile_y_offset = (
        int.from_bytes(stream[i : i + 4], "big") for i in range(8, 40, 4)
    )
    tiles = 0
    if tile_x and tile_y:
        tiles = -(-(x - tile_x_offset) // tile_x) * -(-(y - tile_y_offset) // tile_y)
    components = int.from_bytes(stream[40:42], "big")
    subsampled = stream[43:45] != b"\1\1"
    rows, columns = (0, 0) if subsampled else (y - y_offset, x - x_offset)
    return Frame(JPEG_2000_PROCESS, rows, columns, (stream[42] & 0x7F) + 1, components, tiles)


def declared_frame(stream: bytes) -> Frame | None:
    """Reads what a stream declares of its image.

    Args:
        stream: JPEG, JPEG-LS or JPEG 2000 code stream.

    Returns:
        The declaration, or None if the stream has none.
    """
    if stream.startswith(_JPEG_2000):
        return _jpeg_2000_frame(stream) if len(stream) >= _JPEG_2000_HEADER else None
    if stream.startswith(b"\xff\xd8"):
        for marker, start, end in _segments(stream):
            if marker in _FRAMES and start + 6 <= min(end, len(stream)):
                rows, columns = (int.from_bytes(stream[i : i + 2], "big") for i in (start + 1, start + 3))
                return Frame(marker, rows, columns, stream[start], stream[start + 5])
    return None


def without_jp2(stream: bytes) -> bytes:
    """Takes the file format around a JPEG 2000 stream away, which some write against PS3.5 section A.4.4."""
    return stream[max(0, stream.find(_JPEG_2000)) :] if stream.startswith(_JP2) else stream


def has_too_many_scans(stream: bytes, pixels: int) -> bool:
    """Tells whether a JPEG of so many pixels would keep a decoder busy for long."""
    return stream.count(bytes([0xFF, _START_OF_SCAN])) * pixels > _MAX_SCANNED_PIXELS


def repair_scan_header(stream: bytes) -> bytes:
    """Writes the one allowed coefficient range into the scan header of a sequential JPEG.

    Args:
        stream: JPEG stream from SOI on.

    Returns:
        The stream, repaired if it is a sequential JPEG; any other one unchanged.
    """
    sequential = False
    for marker, start, end in _segments(stream):
        sequential = sequential or marker in _SEQUENTIAL_FRAMES
        if marker == _START_OF_SCAN and sequential and end - start >= 4 and end <= len(stream):
            return stream[: end - 3] + _FULL_SCAN + stream[end:]
    return stream
