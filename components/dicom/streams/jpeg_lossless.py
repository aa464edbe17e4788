"""Decode lossless JPEG (ITU-T T.81 process 14) and prove that the stream has every sample.

A byte pattern is appended to the data, and one more row than the image has is decoded. After a complete image, this row
is the meaning of the pattern, after the bits that fill up the last byte. In a truncated image, the pattern is used up
earlier. Excess data, such as zeros that pad a truncated stream, shift it. Restart intervals are treated as separate
images.

libjpeg adds differences modulo 2^16, as T.81 H.1.2.1 requires. Some encoders use modulo 2^precision. Then the high bits
have no meaning. If a predictor halves a sum of samples with such bits, it is computed again without them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from components.dicom.streams.codestream import Frame, StreamError
from components.dicom.streams.jpeg_parts import ZEROS, Jpeg, possible_data

_PATTERN: Final = bytes.fromhex("5a31c78e064db259e3128f74a90b6dd83627f1459c50e8bb")
_EXCESS_BITS: Final = 8  # fewer fill up the last byte
_COMPARED: Final = 64  # samples of the row after the last
_HALVING: Final = (5, 6, 7)  # predictors that halve


def _predicted(left: NDArray[Any], above: NDArray[Any], corner: NDArray[Any], predictor: int) -> NDArray[Any]:
    """Predict samples from their neighbours, T.81 table H.1, integers."""
    predicted: NDArray[Any]
    if predictor == 4:
        predicted = left + above - corner
    elif predictor == 5:
        predicted = left + ((above - corner) >> 1)
    elif predictor == 6:
        predicted = above + ((left - corner) >> 1)
    elif predictor == 7:
        predicted = (left + above) >> 1
    else:
        predicted = (left, above, corner)[predictor - 1]
    return predicted


def _differences(found: NDArray[Any], predictor: int) -> NDArray[np.int64]:
    """Return the differences between all rows but the first and their predictions, int64 [H - 1, W]."""
    wide = found.astype(np.int64)
    inner = _predicted(wide[1:, :-1], wide[:-1, 1:], wide[:-1, :-1], predictor)
    differences: NDArray[np.int64] = wide[1:] - np.concatenate([wide[:-1, :1], inner], axis=1)
    return differences


class _Lossless:
    """Decodes the restart intervals of a lossless JPEG, or the whole image."""

    def __init__(self, jpeg: Jpeg, frame: Frame) -> None:
        self._jpeg, self._columns = jpeg, frame.columns
        self._predictor, self._shift = jpeg.header[jpeg.scan + 3], jpeg.header[jpeg.scan + 5] & 15
        self._bits = frame.precision - self._shift
        if not 1 <= self._predictor <= 7 or self._bits < 1:
            raise StreamError("JPEG lossless with an impossible predictor", "export the image again")
        # The row after the last does not fit into 8 bits. With 16 bits all samples are higher by a constant.
        precision = self._bits if self._bits > 8 else 16
        self._middle = 1 << (precision - 1)
        self._offset = self._middle - (1 << (self._bits - 1))
        self._changes = {jpeg.frame: precision, jpeg.scan + 5: 0}
        if jpeg.restart is not None:
            self._changes |= {jpeg.restart: 0, jpeg.restart + 1: 0}

    def _row(self, content: bytes) -> NDArray[Any]:
        """Return the meaning of some data: differences, uint16."""
        row = self._jpeg.decode(1, min(_COMPARED, self._columns), [content], self._changes)[0]
        return np.diff(row, prepend=np.uint16(self._middle))

    def _meanings(self, data: memoryview) -> Iterator[NDArray[Any]]:
        """Yield the meaning of the pattern for each number of bits that can remain after the last sample."""
        tail = bytes(data[-2:]).replace(b"\xff\0", b"\xff")[-1:]
        pattern, size = int.from_bytes(_PATTERN, "big"), 8 * len(_PATTERN)
        for left in range(_EXCESS_BITS if tail else 1):
            value = (tail[0] & ((1 << left) - 1)) << size | pattern if left else pattern
            whole = -(-(size + left) // 8)
            content = (value << (8 * whole - size - left)).to_bytes(whole, "big")
            yield self._row(content.replace(b"\xff", b"\xff\0"))

    def _whole(self, rows: int, data: memoryview) -> NDArray[Any] | None:
        """Decode an interval; return None if the data are not those of this number of rows."""
        found = self._jpeg.decode(rows + 1, self._columns, [data, _PATTERN], self._changes)
        behind = _differences(found[-2:, :_COMPARED], self._predictor)[0].astype(np.uint16)
        is_whole = any(np.array_equal(behind, meaning) for meaning in self._meanings(data))
        return found[:rows] if is_whole else None

    def decode(self, rows: int, data: memoryview) -> NDArray[Any]:
        """Decode an interval of this number of rows: uint8 or uint16 [rows, columns]."""
        zeros_are_data = data[-len(ZEROS) :] != ZEROS or not self._row(bytes(_COMPARED)).any()
        for content in possible_data(data, zeros_are_data):
            found = self._whole(rows, content)
            if found is not None:
                return self._samples(found)
        raise EOFError("the entropy-coded data must account for all samples")

    def _samples(self, found: NDArray[Any]) -> NDArray[Any]:
        if self._offset:
            found -= np.uint16(self._offset)
        if self._bits < 16 and int(found.max()) >> self._bits:
            if self._predictor in _HALVING:
                found = _added_up(found, self._predictor, self._bits)
            found &= np.uint16((1 << self._bits) - 1)
        if self._bits + self._shift <= 8:
            found = found.astype(np.uint8)
        return found << self._shift if self._shift else found


def _added_up(found: NDArray[Any], predictor: int, bits: int) -> NDArray[Any]:
    """Predict again, from samples without their high bits.

    Args:
        found: Samples modulo 2^16, uint16 [H, W].
        predictor: 5, 6 or 7.
        bits: Bits per sample.

    Returns:
        Samples modulo 2^bits, uint16 [H, W].
    """
    rows, columns = found.shape
    mask = (1 << bits) - 1
    differences = np.concatenate([np.diff(found[:1].astype(np.int64), prepend=0), _differences(found, predictor)])
    result = np.zeros((rows, columns), np.int64)
    result[0] = np.cumsum(differences[0]) & mask
    result[:, 0] = np.cumsum(differences[:, 0]) & mask
    # Samples of a diagonal depend only on those of the two diagonals before it.
    for diagonal in range(2, rows + columns - 1):
        row = np.arange(max(1, diagonal - columns + 1), min(rows, diagonal))
        column = diagonal - row
        predicted = _predicted(result[row, column - 1], result[row - 1, column], result[row - 1, column - 1], predictor)
        result[row, column] = (predicted + differences[row, column]) & mask
    return result.astype(np.uint16)


def decode_lossless(jpeg: Jpeg, frame: Frame) -> NDArray[Any]:
    """Decode a lossless JPEG; arguments and errors as in ``decoders.decode_jpeg``."""
    lossless = _Lossless(jpeg, frame)
    rows, rest = divmod(jpeg.interval, frame.columns) if jpeg.interval else (frame.rows, 0)
    if rest or len(jpeg.pieces) != -(-frame.rows // rows):
        raise EOFError("each restart interval must be there, with whole rows")
    last = frame.rows - rows * (len(jpeg.pieces) - 1)
    decoded = [lossless.decode(rows, piece) for piece in jpeg.pieces[:-1]]
    decoded.append(lossless.decode(last, jpeg.pieces[-1]))
    return decoded[0] if len(decoded) == 1 else np.concatenate(decoded)
