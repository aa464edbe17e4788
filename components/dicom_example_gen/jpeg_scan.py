"""Lossless and sequential JPEG of one component, decoded with proof that the stream holds every sample.

libjpeg fills up a stream that ends too early, and imagecodecs swallows its warnings. So a stream is decoded with some
rows more than it has, and what stands there tells where the entropy-coded data ended. That costs next to nothing.

* Lossless (ITU-T T.81 process 14): a pattern of bytes is put behind the data. Behind a whole image, the row after the
  last one is what the pattern means after the bits that fill the last byte up. Behind a part of an image, the pattern
  is used up before; and data in excess, such as zeros that pad a cut stream, move it.
* Sequential DCT: libjpeg leaves all blocks after that in which the data end mid-grey. So of the blocks after the last
  one the first must not be so, and hardly any other. Where it is, a pattern behind the data must change it.
* Zeros at the end are data where they mean that nothing changes. Where they mean anything else, they are padding.

Restart intervals of lossless JPEG are images of their own. Of sequential JPEG, all of them must be there, and those
before the last one must not lack more than a few blocks: then their last block is mid-grey, and a pattern changes them.

libjpeg adds differences modulo 2^16, as T.81 H.1.2.1 has it. Some encoders take them modulo 2^precision. Then the high
bits are of no meaning, and where a predictor halves a sum of samples with such bits, it is computed again without them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import imagecodecs
import numpy as np

from components.dicom_example_gen.bounded_stream import TooMuchError
from components.dicom_example_gen.codestream import END_OF_IMAGE, Coding, Frame, StreamError, end_of_scan, segments

_FRAMES: Final = (0xC0, 0xC1, 0xC3)
_START_OF_SCAN, _RESTART_INTERVAL = 0xDA, 0xDD
_SCAN_HEADER: Final = 6  # bytes for one component
_RESTART: Final = re.compile(rb"\xff+([\xd0-\xd7])")
_MAX_INTERVALS: Final = 16_384
_MAX_HEADERS: Final = 1 << 30  # bytes: the header is copied for each interval
_PATTERN: Final = bytes.fromhex("5a31c78e064db259e3128f74a90b6dd83627f1459c50e8bb")
_EXCESS_BITS: Final = 8  # fewer fill up the last byte
_COMPARED: Final = 64  # samples of the row after the last
_EXTRA_BLOCKS: Final = 32
_STRIP: Final = 1024  # blocks side by side
_EXCESS_BLOCKS: Final = 4  # the bits that fill the last byte up are at most three blocks of two bits, and a part of one
_ZEROS: Final = bytes(8)  # what means nothing by itself is shorter
_HALVING: Final = (5, 6, 7)  # predictors that halve


@dataclass(frozen=True)
class _Jpeg:
    """A stream of one scan.

    Attributes:
        header: Bytes before the entropy-coded data.
        frame: Position of the frame header's content in it.
        scan: Position of the scan header's content.
        restart: Position of the restart interval; None without.
        interval: Samples or blocks of a restart interval; 0 without.
        pieces: Entropy-coded data of each interval.
        is_closed: Whether an end marker follows.
    """

    header: bytes
    frame: int
    scan: int
    restart: int | None
    interval: int
    pieces: list[memoryview]
    is_closed: bool

    def decode(self, rows: int, columns: int, data: list[bytes | memoryview], changes: dict[int, int]) -> np.ndarray:
        """Decodes other data as an image of another size; ``changes`` are bytes of the header by position."""
        header = bytearray(self.header)
        header[self.frame + 1 : self.frame + 5] = rows.to_bytes(2, "big") + columns.to_bytes(2, "big")
        header[self.frame + 7] = 0x11  # sampling means nothing for a single component, but libjpeg heeds it
        for position, value in changes.items():
            header[position] = value
        return imagecodecs.jpeg8_decode(b"".join((header, *data, END_OF_IMAGE)))


def _parsed(stream: bytes) -> _Jpeg:
    frame = scan = start = interval = 0
    restart = None
    for marker, content, end in segments(stream):
        if marker in _FRAMES:
            frame = content
        elif marker == _RESTART_INTERVAL:
            restart, interval = content, int.from_bytes(stream[content : content + 2], "big")
        elif marker == _START_OF_SCAN:
            scan, start = content, end
    if not 0 < frame < scan or start - scan != _SCAN_HEADER or start >= len(stream):
        raise EOFError("a JPEG needs the header of a scan, and data")
    end, is_closed = end_of_scan(stream, start)
    if stream[end - 1] == 0xFF:  # fill bytes, T.81 B.1.1.2
        end = start + len(stream[start:end].rstrip(b"\xff"))
    data = memoryview(stream)[start:end]
    if not interval:
        return _Jpeg(stream[:start], frame, scan, restart, 0, [data], is_closed)
    markers = list(_RESTART.finditer(data))
    if len(markers) >= _MAX_INTERVALS:
        raise TooMuchError(f"up to {_MAX_INTERVALS} restart intervals are decoded")
    if len(markers) * start > _MAX_HEADERS:
        raise TooMuchError("a header of comments is not decoded for each restart interval")
    if any(marker[1][0] != 0xD0 + number % 8 for number, marker in enumerate(markers)):
        raise EOFError("restart markers must follow each other")
    starts, ends = [0, *(marker.end() for marker in markers)], [*(marker.start() for marker in markers), len(data)]
    pieces = [data[first:last] for first, last in zip(starts, ends, strict=True)]
    return _Jpeg(stream[:start], frame, scan, restart, interval, pieces, is_closed)


def _without_zeros(data: memoryview) -> memoryview:
    """Takes zeros at the end away, but for one that belongs to the byte before it."""
    size = len(bytes(data).rstrip(b"\0"))
    return data[: size + 1] if size and data[size - 1] == 0xFF else data[:size]


def _candidates(data: memoryview, zeros_are_data: bool) -> list[memoryview]:
    """Lists what the data of the last interval may be: all, or all but padding."""
    if not data or data[-1]:
        return [data]
    bare = _without_zeros(data)
    return [data, bare] if zeros_are_data or len(data) - len(bare) < len(_ZEROS) else [bare]


def _predicted(left: np.ndarray, above: np.ndarray, corner: np.ndarray, predictor: int) -> np.ndarray:
    """Predicts samples from their neighbours, T.81 table H.1, integers."""
    if predictor == 4:
        return left + above - corner
    if predictor == 5:
        return left + ((above - corner) >> 1)
    if predictor == 6:
        return above + ((left - corner) >> 1)
    if predictor == 7:
        return (left + above) >> 1
    return (left, above, corner)[predictor - 1]


def _differences(found: np.ndarray, predictor: int) -> np.ndarray:
    """Differences of all rows but the first to what is predicted for them, int64 [H - 1, W]."""
    wide = found.astype(np.int64)
    inner = _predicted(wide[1:, :-1], wide[:-1, 1:], wide[:-1, :-1], predictor)
    return wide[1:] - np.concatenate([wide[:-1, :1], inner], axis=1)


class _Lossless:
    """Decodes the restart intervals of a lossless JPEG, or all of it."""

    def __init__(self, jpeg: _Jpeg, frame: Frame) -> None:
        self._jpeg, self._columns = jpeg, frame.columns
        self._predictor, self._shift = jpeg.header[jpeg.scan + 3], jpeg.header[jpeg.scan + 5] & 15
        self._bits = frame.precision - self._shift
        if not 1 <= self._predictor <= 7 or self._bits < 1:
            raise StreamError("JPEG lossless with an impossible predictor", "export the image again")
        # Bytes do not hold what the row after the last may be. With 16 bits all samples are higher by a constant.
        precision = self._bits if self._bits > 8 else 16
        self._middle = 1 << (precision - 1)
        self._offset = self._middle - (1 << (self._bits - 1))
        self._changes = {jpeg.frame: precision, jpeg.scan + 5: 0}
        if jpeg.restart is not None:
            self._changes |= {jpeg.restart: 0, jpeg.restart + 1: 0}

    def _row(self, content: bytes) -> np.ndarray:
        """What some data mean: differences, uint16."""
        row = self._jpeg.decode(1, min(_COMPARED, self._columns), [content], self._changes)[0]
        return np.diff(row, prepend=np.uint16(self._middle))

    def _meanings(self, data: memoryview) -> Iterator[np.ndarray]:
        """What the pattern means, for each number of bits that the last sample may leave over."""
        tail = bytes(data[-2:]).replace(b"\xff\0", b"\xff")[-1:]
        pattern, size = int.from_bytes(_PATTERN, "big"), 8 * len(_PATTERN)
        for left in range(_EXCESS_BITS if tail else 1):
            value = (tail[0] & ((1 << left) - 1)) << size | pattern if left else pattern
            whole = -(-(size + left) // 8)
            content = (value << (8 * whole - size - left)).to_bytes(whole, "big")
            yield self._row(content.replace(b"\xff", b"\xff\0"))

    def _whole(self, rows: int, data: memoryview) -> np.ndarray | None:
        """Decodes an interval; None if the data are not those of so many rows."""
        found = self._jpeg.decode(rows + 1, self._columns, [data, _PATTERN], self._changes)
        behind = _differences(found[-2:, :_COMPARED], self._predictor)[0].astype(np.uint16)
        is_whole = any(np.array_equal(behind, meaning) for meaning in self._meanings(data))
        return found[:rows] if is_whole else None

    def decode(self, rows: int, data: memoryview) -> np.ndarray:
        """Decodes an interval of so many rows: uint8 or uint16 [rows, columns]."""
        zeros_are_data = data[-len(_ZEROS) :] != _ZEROS or not self._row(bytes(_COMPARED)).any()
        for content in _candidates(data, zeros_are_data):
            found = self._whole(rows, content)
            if found is not None:
                return self._samples(found)
        raise EOFError("the entropy-coded data must account for all samples")

    def _samples(self, found: np.ndarray) -> np.ndarray:
        if self._offset:
            found -= np.uint16(self._offset)
        if self._bits < 16 and int(found.max()) >> self._bits:
            if self._predictor in _HALVING:
                found = _added_up(found, self._predictor, self._bits)
            found &= np.uint16((1 << self._bits) - 1)
        if self._bits + self._shift <= 8:
            found = found.astype(np.uint8)
        return found << self._shift if self._shift else found


def _added_up(found: np.ndarray, predictor: int, bits: int) -> np.ndarray:
    """Predicts from samples without their high bits.

    Args:
        found: Samples modulo 2^16, uint16 [H, W].
        predictor: 5, 6 or 7.
        bits: Bits of a sample.

    Returns:
        Samples modulo 2^bits, uint16 [H, W].
    """
    rows, columns = found.shape
    mask = (1 << bits) - 1
    differences = np.concatenate([np.diff(found[:1].astype(np.int64), prepend=0), _differences(found, predictor)])
    result = np.zeros((rows, columns), np.int64)
    result[0] = np.cumsum(differences[0]) & mask
    result[:, 0] = np.cumsum(differences[:, 0]) & mask
    # Samples of a diagonal depend on those of the two diagonals before it alone.
    for diagonal in range(2, rows + columns - 1):
        row = np.arange(max(1, diagonal - columns + 1), min(rows, diagonal))
        column = diagonal - row
        predicted = _predicted(result[row, column - 1], result[row - 1, column], result[row - 1, column - 1], predictor)
        result[row, column] = (predicted + differences[row, column]) & mask
    return result.astype(np.uint16)


def _decode_lossless(jpeg: _Jpeg, frame: Frame) -> np.ndarray:
    lossless = _Lossless(jpeg, frame)
    rows, rest = divmod(jpeg.interval, frame.columns) if jpeg.interval else (frame.rows, 0)
    if rest or len(jpeg.pieces) != -(-frame.rows // rows):
        raise EOFError("each restart interval must be there, and hold whole rows")
    last = frame.rows - rows * (len(jpeg.pieces) - 1)
    decoded = [lossless.decode(rows, piece) for piece in jpeg.pieces[:-1]]
    decoded.append(lossless.decode(last, jpeg.pieces[-1]))
    return decoded[0] if len(decoded) == 1 else np.concatenate(decoded)


def _blocks(found: np.ndarray) -> np.ndarray:
    """Tells which blocks of 8 x 8 have anything in them, bool [h, w]."""
    rows, columns = found.shape
    padded = np.zeros((-(-rows // 8) * 8, -(-columns // 8) * 8), bool)
    padded[:rows, :columns] = found
    return padded.reshape(len(padded) // 8, 8, -1, 8).any(axis=(1, 3))


def _with_restarts(jpeg: _Jpeg, frame: Frame, last: memoryview) -> np.ndarray:
    data: list[bytes | memoryview] = []
    for number, piece in enumerate(jpeg.pieces[:-1]):
        data += [piece, bytes([0xFF, 0xD0 + number % 8])]
    return jpeg.decode(frame.rows, frame.columns, [*data, last], {})


def _is_short(jpeg: _Jpeg, piece: memoryview) -> bool:
    """Tells whether the blocks of an interval before the last one change with what is put behind its data."""
    wide = min(jpeg.interval, _STRIP)
    rows, changes = -(-jpeg.interval // wide), {} if jpeg.restart is None else {jpeg.restart: 0, jpeg.restart + 1: 0}
    bare, longer = (jpeg.decode(8 * rows, 8 * wide, [piece, behind], changes) for behind in (b"", _PATTERN))
    return bool(_blocks(bare != longer).ravel()[: jpeg.interval].any())


def _with_intervals(jpeg: _Jpeg, frame: Frame, last: memoryview) -> np.ndarray:
    """Decodes all intervals. Where one is short, its last block is mid-grey; such ones are few, and looked at."""
    found, across = _with_restarts(jpeg, frame, last), -(-frame.columns // 8)
    ends = jpeg.interval * np.arange(1, len(jpeg.pieces)) - 1
    middle, y, x = 1 << (frame.precision - 1), 8 * (ends // across), 8 * (ends % across)
    for number in np.flatnonzero(found[y, x] == middle):
        is_grey = (found[y[number] : y[number] + 8, x[number] : x[number] + 8] == middle).all()
        if is_grey and _is_short(jpeg, jpeg.pieces[number]):
            raise EOFError("the entropy-coded data must account for all blocks of an interval")
    return found


def _decode_sequential(jpeg: _Jpeg, frame: Frame) -> np.ndarray:
    down, across = -(-frame.rows // 8), -(-frame.columns // 8)
    if jpeg.interval and len(jpeg.pieces) != -(-down * across // jpeg.interval):
        raise EOFError("each restart interval must be there")
    # The last interval is proved by itself, as a strip; without intervals that is the picture.
    blocks = down * across - jpeg.interval * (len(jpeg.pieces) - 1)
    wide, columns = (min(blocks, _STRIP), 8 * _STRIP) if jpeg.interval else (across, frame.columns)
    columns = min(columns, 8 * wide)
    rows, whole_rows = -(-blocks // wide) + -(-_EXTRA_BLOCKS // wide), blocks // wide
    middle = 1 << (frame.precision - 1)
    changes = {} if jpeg.restart is None else {jpeg.restart: 0, jpeg.restart + 1: 0}

    def decoded(*data: bytes | memoryview) -> tuple[np.ndarray, int]:
        """Decodes the last interval; counts the blocks behind it that are not mid-grey."""
        found = jpeg.decode(8 * rows, columns, list(data), changes)
        return found, int(_blocks(found[8 * whole_rows :] != middle).ravel()[blocks - whole_rows * wide :].sum())

    meant = jpeg.decode(8, columns, [bytes(_COMPARED)], changes)
    zeros_are_data = bool(meant.min() == meant.max())
    for content in _candidates(jpeg.pieces[-1], zeros_are_data):
        found, behind = decoded(content)
        if zeros_are_data and not behind:  # mid-grey may be what is there
            behind = min(_EXCESS_BLOCKS, decoded(content, _PATTERN)[1])
        if 1 <= behind <= _EXCESS_BLOCKS:
            return _with_intervals(jpeg, frame, content) if jpeg.interval else found[: frame.rows]
    raise EOFError("the entropy-coded data must account for all blocks")


def decode_jpeg(stream: bytes, frame: Frame) -> tuple[np.ndarray, bool]:
    """Decodes a JPEG of one component.

    Args:
        stream: Lossless, baseline or extended sequential JPEG.
        frame: What it declares.

    Returns:
        uint8 (up to 8 bits) or uint16 [rows, columns], and whether the end marker is there.

    Raises:
        EOFError: The data are not those of all the samples.
        SecondImageError: There is another image behind it.
        Exception: Whatever libjpeg says of damaged streams.
    """
    decode = _decode_sequential if frame.coding in (Coding.BASELINE, Coding.EXTENDED) else _decode_lossless
    jpeg = _parsed(stream)
    return decode(jpeg, frame), jpeg.is_closed
