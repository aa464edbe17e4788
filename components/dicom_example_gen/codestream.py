"""JPEG, JPEG-LS and JPEG 2000 streams: the size they declare, and the repair of one known fault.

Decoders believe the stream, not the DICOM header, and allocate what it declares. So both are compared first.

Old encoders of JPEG Extended (Process 2 and 4) wrote sequential scan headers that name no full scan, where ITU-T
T.81 B.2.3 demands coefficients 0 to 63. The data are sound, but a strict decoder refuses them; the NEMA WG-04
samples are such files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_START_OF_SCAN: Final = 0xDA
_SEQUENTIAL_FRAMES: Final = frozenset({0xC0, 0xC1})  # baseline and extended sequential DCT, Huffman coded
# All start-of-frame markers: SOF0 to SOF15 without DHT, JPG and DAC, and SOF55 of JPEG-LS.
_FRAMES: Final = (frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}) | {0xF7}
_FULL_SCAN: Final = bytes([0, 63, 0])  # Ss, Se, Ah/Al
_JPEG_2000: Final = b"\xff\x4f\xff\x51"  # SOC, SIZ


def _segments(stream: bytes) -> Iterator[tuple[int, int, int]]:
    """Walks the marker segments of a JPEG up to its first scan: marker, start of content, end."""
    position = 2
    while position + 4 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        end = position + 2 + int.from_bytes(stream[position + 2 : position + 4], "big")
        yield marker, position + 4, end
        if marker == _START_OF_SCAN:
            return
        position = end


def declared_size(stream: bytes) -> tuple[int, int] | None:
    """Reads the size that a stream declares.

    Args:
        stream: JPEG, JPEG-LS or JPEG 2000 code stream.

    Returns:
        Rows and columns, pixels; None if it is none of these streams (RLE has no size of its own).
    """
    if stream.startswith(_JPEG_2000) and len(stream) >= 24:
        x, y, x_offset, y_offset = (int.from_bytes(stream[i : i + 4], "big") for i in (8, 12, 16, 20))
        return y - y_offset, x - x_offset
    if stream.startswith(b"\xff\xd8"):
        for marker, start, _ in _segments(stream):
            if marker in _FRAMES:
                rows, columns = stream[start + 1 : start + 3], stream[start + 3 : start + 5]
                return int.from_bytes(rows, "big"), int.from_bytes(columns, "big")
    return None


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
