"""A sequential JPEG encoder written after ITU-T T.81 annex F alone, of blocks that have one level each."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence

import numpy as np


def _table(lengths: Sequence[int], symbols: Sequence[int]) -> tuple[bytes, dict[int, str]]:
    """Gives a Huffman table and its codes; ``lengths`` are those of the codes, in rising order."""
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
    """Encodes blocks by their quantised DC coefficients, in as few bits as may be: two for one that is as the last.

    Args:
        levels: DC coefficients of all blocks.
        down: Blocks below each other.
        across: Blocks side by side.
        precision: Bits of a sample.
        interval: Blocks of a restart interval, 0 for none.
        left_out: Number of an interval -> blocks that are left out at its end.
    """
    dc, dc_codes = _table([1, *range(2, 9)], range(8))
    ac, ac_codes = _table([1], [0])
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
