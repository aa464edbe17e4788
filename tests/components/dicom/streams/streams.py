"""Encoders of lossless and sequential JPEG from ITU-T T.81 (annexes H and F) only, and files with any fragments."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import UID, JPEGLosslessSV1

from benchmarks.reference_images import file_bytes, mammogram

END = b"\xff\xd9"


class _Bits:
    def __init__(self) -> None:
        self.done = bytearray()
        self._value = self._size = 0

    def put(self, value: int, size: int) -> None:
        self._value, self._size = self._value << size | value, self._size + size
        while self._size >= 8:
            self._size -= 8
            byte = self._value >> self._size & 255
            self.done += bytes([byte, 0]) if byte == 255 else bytes([byte])
        self._value &= (1 << self._size) - 1

    def fill(self, bit: int) -> None:
        while self._size:
            self.put(bit, 1)


def _predicted(x: np.ndarray, row: int, column: int, first: int, predictor: int, bits: int) -> int:
    """Predict a sample by table H.1, with the rules for the first row and column (H.1.1)."""
    if row == first:
        return int(x[row, column - 1]) if column else 1 << (bits - 1)
    if column == 0:
        return int(x[row - 1, 0])
    a, b, c = (int(value) for value in (x[row, column - 1], x[row - 1, column], x[row - 1, column - 1]))
    return (0, a, b, c, a + b - c, a + ((b - c) >> 1), b + ((a - c) >> 1), (a + b) >> 1)[predictor]


def lossless_jpeg(
    pixels: np.ndarray,
    precision: int,
    predictor: int = 1,
    shift: int = 0,
    modulus: int = 1 << 16,
    rows_an_interval: int = 0,
    filling: int = 1,
) -> bytes:
    """Encode pixels with 17 codes of 5 bits, one per category.

    Args:
        pixels: Unsigned samples [H, W].
        precision: Bits per sample.
        predictor: 1 to 7.
        shift: Point transform.
        modulus: Modulus of the differences: 2^16 in T.81, 2^precision in some systems.
        rows_an_interval: Rows per restart interval, 0 for none.
        filling: Bit that fills up the last byte.
    """
    x = pixels.astype(np.int64) >> shift
    rows, columns = x.shape
    bits, interval, first = _Bits(), 0, 0
    for row in range(rows):
        if rows_an_interval and row and row % rows_an_interval == 0:
            bits.fill(filling)
            bits.done += bytes([0xFF, 0xD0 + interval % 8])
            interval, first = interval + 1, row
        for column in range(columns):
            difference = int(x[row, column]) - _predicted(x, row, column, first, predictor, precision - shift)
            difference = (difference + modulus // 2) % modulus - modulus // 2
            if difference == -(1 << 15):
                bits.put(16, 5)
                continue
            category = abs(difference).bit_length()
            bits.put(category, 5)
            bits.put(difference if difference >= 0 else difference + (1 << category) - 1, category)
    bits.fill(filling)
    frame = b"\xff\xc3" + struct.pack(">HBHHB3B", 11, precision, rows, columns, 1, 1, 0x11, 0)
    table = b"\xff\xc4" + struct.pack(">HB", 36, 0) + bytes([0, 0, 0, 0, 17, *[0] * 11, *range(17)])
    restart = b"\xff\xdd" + struct.pack(">HH", 4, rows_an_interval * columns) if rows_an_interval else b""
    scan = b"\xff\xda" + struct.pack(">H6B", 8, 1, 1, 0, predictor, 0, shift)
    return b"\xff\xd8" + frame + table + restart + scan + bytes(bits.done) + END


def _huffman_table(lengths: Sequence[int], symbols: Sequence[int]) -> tuple[bytes, dict[int, str]]:
    """Return a Huffman table and its codes; ``lengths`` are those of the codes, in ascending order."""
    codes, code = {}, 0
    for i, (length, symbol) in enumerate(zip(lengths, symbols, strict=True)):
        code = (code + 1) << (length - lengths[i - 1]) if i else 0
        codes[symbol] = format(code, f"0{length}b")
    return bytes(lengths.count(n) for n in range(1, 17)) + bytes(symbols), codes


def sequential_jpeg(
    levels: np.ndarray,
    down: int,
    across: int,
    precision: int,
    interval: int,
    left_out: Mapping[int, int] | None = None,
) -> bytes:
    """Encode blocks with one level each by their quantised DC coefficients; a block like the one before has two bits.

    Args:
        levels: DC coefficients of all blocks.
        down: Blocks below each other.
        across: Blocks side by side.
        precision: Bits per sample.
        interval: Blocks per restart interval, 0 for none.
        left_out: Number of an interval -> number of blocks that are missing at its end.
    """
    dc, dc_codes = _huffman_table([1, *range(2, 9)], range(8))
    ac, ac_codes = _huffman_table([1], [0])
    size = interval or len(levels)
    data = b""
    for number, start in enumerate(range(0, len(levels), size)):
        part = levels[start : start + size]
        bits, last = "", 0
        for level in part[: len(part) - (left_out or {}).get(number, 0)]:
            difference = int(level) - last
            category, last = abs(difference).bit_length(), int(level)
            value = difference if difference >= 0 else difference + (1 << category) - 1
            bits += dc_codes[category] + (format(value, f"0{category}b") if category else "") + ac_codes[0]
        bits += "1" * (-len(bits) % 8)
        if number:
            data += bytes([0xFF, 0xD0 + (number - 1) % 8])
        data += int("1" + bits, 2).to_bytes(len(bits) // 8 + 1, "big")[1:].replace(b"\xff", b"\xff\0")
    frame = struct.pack(">BHHB3B", precision, 8 * down, 8 * across, 1, 1, 0x11, 0)
    segments = {
        b"\xff\xdb": bytes([0]) + bytes([16]) * 64,
        b"\xff\xc0" if precision == 8 else b"\xff\xc1": frame,
        b"\xff\xc4": bytes([0]) + dc + bytes([0x10]) + ac,
        b"\xff\xdd": struct.pack(">H", interval),
        b"\xff\xda": bytes([1, 1, 0, 0, 63, 0]),
    }
    head = b"".join(marker + struct.pack(">H", len(content) + 2) + content for marker, content in segments.items())
    return b"\xff\xd8" + head + data + b"\xff\xd9"


def item(content: bytes) -> bytes:
    """Return an item of encapsulated pixel data, PS3.5 section A.4."""
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content


def even(content: bytes) -> bytes:
    return content + b"\0" * (len(content) % 2)


DELIMITER = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def write_encapsulated(
    path: Path,
    pixels: np.ndarray,
    bits: int,
    fragments: Sequence[bytes],
    syntax: UID = JPEGLosslessSV1,
    table: bytes | None = b"",
    delimiter: bytes = DELIMITER,
    has_length: bool = False,
    **changes: Any,
) -> Path:
    """Write a mammogram with these fragments as pixel data, byte by byte."""
    data = (b"" if table is None else item(table)) + b"".join(map(item, fragments)) + delimiter
    dataset = mammogram(np.zeros_like(pixels, np.uint8 if bits == 8 else np.uint16), bits, **changes)
    head = file_bytes(dataset)
    head = head[: head.rindex(b"\xe0\x7f\x10\0OW")]
    length = len(data) if has_length else 0xFFFFFFFF
    old, new = even(b"1.2.840.10008.1.2.1"), even(str(syntax).encode())
    size = head.index(b"\x02\0\0\0UL") + 8
    group = struct.unpack_from("<L", head, size)[0] + len(new) - len(old)
    head = head[:size] + struct.pack("<L", group) + head[size + 4 :]
    head = head.replace(struct.pack("<H", len(old)) + old, struct.pack("<H", len(new)) + new, 1)
    path.write_bytes(head + b"\xe0\x7f\x10\0OB\0\0" + struct.pack("<L", length) + data)
    return path
