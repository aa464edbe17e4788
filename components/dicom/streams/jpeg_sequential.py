"""Decode sequential JPEG (baseline, extended) and prove that the stream has every block.

libjpeg leaves all blocks mid-grey that begin after the end of the data. It notices the end in the block that needs
missing bits. So some blocks after the last one are decoded. The first of them must not be mid-grey, and at most three
others: the bits that fill up the last byte can contain a few blocks of two bits. This shows for each restart interval
whether a block is missing.

In a picture that is nearly mid-grey, the block in which the data end can be mid-grey too. Then the data are decoded
once more, without quantisation, after some blocks that make all others brighter, so that none is mid-grey.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from components.dicom.streams.codestream import Frame, marker_segments
from components.dicom.streams.jpeg_parts import Jpeg, possible_data

_HUFFMAN_TABLES, _QUANTISATION_TABLE = 0xC4, 0xDB
_CODE_LENGTHS: Final = 16
_END_OF_BLOCK: Final = 0
_ZERO_BYTES: Final = 64  # number of zeros that are decoded to find their meaning
_EXTRA_BLOCKS: Final = 32  # after the last one
_EXTRA_OF_INTERVALS: Final = 8
_EXCESS_BLOCKS: Final = 4  # the bits that fill up the last byte are at most three blocks of two bits and a part of one
_STRIP: Final = 1024  # blocks side by side
_MOST_DOWN: Final = 8000  # blocks below each other, of the 65,500 rows that libjpeg decodes
_LONGEST_INTERVAL: Final = 0xFFFF
_BRIGHTENING: Final = 8  # equal blocks, as many as a byte has bits, so that they fill whole bytes
# Bits per sample -> difference of each of these blocks. Their sum exceeds the largest distance of a picture below
# mid-grey, 2^(bits + 2). There are two differences, because the block in which the data end can cancel one of them.
_BRIGHTER: Final = {8: (138, 160), 12: (2073, 2400)}


def _huffman_tables(header: bytes) -> dict[int, bytes]:
    """Read Huffman tables, T.81 B.2.4.2: class and number -> numbers of codes of each length, and the symbols."""
    tables = {}
    for marker, position, end in marker_segments(header):
        while marker == _HUFFMAN_TABLES and position + 1 + _CODE_LENGTHS <= end:
            size = _CODE_LENGTHS + sum(header[position + 1 : position + 1 + _CODE_LENGTHS])
            tables[header[position]] = header[position + 1 : position + 1 + size]
            position += 1 + size
    return tables


def _with_symbol(table: bytes, symbol: int) -> tuple[bytes, str]:
    """Return a table with this symbol, and the symbol's code; a new code can always begin with only ones."""
    counts, symbols = bytearray(table[:_CODE_LENGTHS]), table[_CODE_LENGTHS:]
    if symbol not in symbols:
        longest = max((length for length, count in enumerate(counts) if count), default=0)
        counts[min(longest + 1, _CODE_LENGTHS - 1)] += 1
        symbols += bytes([symbol])
    code = position = 0
    for length, count in enumerate(counts, 1):
        here = symbols[position : position + count]
        if symbol in here:
            return bytes(counts) + symbols, format(code + here.index(symbol), f"0{length}b")
        code, position = (code + count) << 1, position + count
    raise EOFError("a Huffman table needs a symbol for each of its codes")


def _segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + (len(content) + 2).to_bytes(2, "big") + content


def _brightened(jpeg: Jpeg, difference: int) -> tuple[Jpeg, bytes]:
    """Return a header without quantisation, and data of blocks that make all later ones brighter by 8 x difference."""
    selectors = jpeg.header[jpeg.scan + 2]
    of_dc, of_ac = selectors >> 4, 0x10 | selectors & 15
    tables = _huffman_tables(jpeg.header)
    if of_dc not in tables or of_ac not in tables:
        raise EOFError("a JPEG needs its Huffman tables")
    category = difference.bit_length()
    dc_table, dc_code = _with_symbol(tables[of_dc], category)
    ac_table, ac_code = _with_symbol(tables[of_ac], _END_OF_BLOCK)
    block = dc_code + format(difference, "b") + ac_code
    data = int(_BRIGHTENING * block, 2).to_bytes(len(block), "big").replace(b"\xff", b"\xff\0")
    scan = jpeg.scan - 4
    ones = b"".join(_segment(_QUANTISATION_TABLE, bytes([number]) + bytes([1]) * 64) for number in range(4))
    huffman = _segment(_HUFFMAN_TABLES, bytes([of_dc]) + dc_table + bytes([of_ac]) + ac_table)
    return replace(jpeg, header=jpeg.header[:scan] + ones + huffman + jpeg.header[scan:]), data


def _decoded(jpeg: Jpeg, intervals: list[list[bytes | memoryview]], high: int, columns: int) -> NDArray[Any]:
    """Decode intervals below each other, each with this number of blocks, as one image if restart markers allow it."""
    size = high * -(-columns // 8)
    together = max(1, _MOST_DOWN // high) if size <= _LONGEST_INTERVAL else 1
    parts = []
    for first in range(0, len(intervals), together):
        group = intervals[first : first + together]
        length = size if len(group) > 1 else 0
        changes = {} if jpeg.restart is None else {jpeg.restart: length >> 8, jpeg.restart + 1: length & 255}
        data = list(group[0])
        for number, interval in enumerate(group[1:]):
            data += [bytes([0xFF, 0xD0 + number % 8]), *interval]
        parts.append(jpeg.decode(8 * high * len(group), columns, data, changes))
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _behind(found: NDArray[Any], number: int, blocks: int, middle: int) -> NDArray[Any]:
    """Count the blocks after this number of blocks of each interval that are not mid-grey, integer [number]."""
    columns = found.shape[1]
    wide, rows = -(-columns // 8), blocks // -(-columns // 8)
    tails = found.reshape(number, -1, columns)[:, 8 * rows :] != middle
    padded = np.zeros((*tails.shape[:2], 8 * wide), bool)
    padded[..., :columns] = tails
    filled = padded.reshape(number, -1, 8, wide, 8).any(axis=(2, 4)).reshape(number, -1)
    return np.asarray(filled[:, blocks - rows * wide :].sum(axis=1))


class _Sequential:
    """Decodes the restart intervals of a sequential JPEG, or the whole image."""

    def __init__(self, jpeg: Jpeg, frame: Frame) -> None:
        self._jpeg, self._precision = jpeg, frame.precision
        self._middle = 1 << (frame.precision - 1)

    def zeros_are_data(self) -> bool:
        """Return True if zeros mean that nothing changes."""
        changes = {} if self._jpeg.restart is None else {self._jpeg.restart: 0, self._jpeg.restart + 1: 0}
        meant = self._jpeg.decode(8, _ZERO_BYTES, [bytes(_ZERO_BYTES)], changes)
        return bool(meant.min() == meant.max())

    def whole(self, intervals: list[memoryview], blocks: int, columns: int, extra: int) -> NDArray[Any] | None:
        """Decode intervals with this number of blocks each.

        Args:
            intervals: Their data.
            blocks: Number of blocks per interval.
            columns: Width of their layout, pixels.
            extra: Smallest number of blocks to check after them.

        Returns:
            uint8 or uint16, the intervals below each other in equal heights; None if an interval is not complete.
        """
        wide = -(-columns // 8)
        high = -(-(blocks + extra) // wide)
        found = _decoded(self._jpeg, [[interval] for interval in intervals], high, columns)
        behind = _behind(found, len(intervals), blocks, self._middle)
        for difference in _BRIGHTER[self._precision]:
            doubtful = np.flatnonzero(behind == 0)
            if not doubtful.size:
                break
            jpeg, data = _brightened(self._jpeg, difference)
            more = blocks + _BRIGHTENING
            brighter = _decoded(jpeg, [[data, intervals[i]] for i in doubtful], -(-(more + extra) // wide), columns)
            behind[doubtful] = _behind(brighter, doubtful.size, more, self._middle)
        return found if bool(((behind >= 1) & (behind <= _EXCESS_BLOCKS)).all()) else None

    def blocks_of(self, intervals: list[memoryview], blocks: int, extra: int) -> NDArray[Any] | None:
        """Decode intervals as in ``whole`` and return the blocks in sequence: [intervals x blocks, 8, 8]."""
        high = -(-(blocks + extra) // _STRIP)
        wide = -(-(blocks + extra) // high)
        found = self.whole(intervals, blocks, 8 * wide, extra)
        if found is None:
            return None
        laid_out = found.reshape(len(intervals), -1, 8, wide, 8).swapaxes(2, 3)
        return laid_out.reshape(len(intervals), -1, 8, 8)[:, :blocks].reshape(-1, 8, 8)


def decode_sequential(jpeg: Jpeg, frame: Frame) -> NDArray[Any]:
    """Decode a sequential JPEG; arguments and errors as in ``decoders.decode_jpeg``."""
    down, across = -(-frame.rows // 8), -(-frame.columns // 8)
    if jpeg.interval and len(jpeg.pieces) != -(-down * across // jpeg.interval):
        raise EOFError("each restart interval must be there")
    sequential = _Sequential(jpeg, frame)
    *others, last = jpeg.pieces
    contents = possible_data(last, sequential.zeros_are_data())
    if not others:
        for content in contents:
            found = sequential.whole([content], down * across, frame.columns, _EXTRA_BLOCKS)
            if found is not None:
                return found[: frame.rows]
    else:
        first = sequential.blocks_of(others, jpeg.interval, _EXTRA_OF_INTERVALS)
        for content in contents if first is not None else ():
            end = sequential.blocks_of([content], down * across - jpeg.interval * len(others), _EXTRA_BLOCKS)
            if first is not None and end is not None:
                blocks = np.concatenate([first, end]).reshape(down, across, 8, 8)
                found = blocks.swapaxes(1, 2).reshape(8 * down, 8 * across)
                return np.ascontiguousarray(found[: frame.rows, : frame.columns])
    raise EOFError("the entropy-coded data must account for all blocks")
