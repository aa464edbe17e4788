"""Parse DICOM files with limits on time and memory, in the encoding that the data set really has.

A parser in Python takes some 15 microseconds per element and 80 per item, and either can have 8 bytes: a hostile header
of two megabytes would take half a minute. The parser also looks up each value of Specific Character Set (0008,0005), in
35 microseconds per value. And deflated data (PS3.5 section A.5) can inflate to a thousand times their size.

File meta information is wrong if a proxy converts only one of it and the data set, so the first element of the data set
decides. Its group is small (usually 0008), so the position of its zero byte shows the byte order. After the tag come
two capital letters if VRs are explicit. If VRs are implicit, a length comes there; these letters as a length would mean
more than 16,000 bytes in a first element.

Nothing else parses DICOM files: the linter forbids ``pydicom.dcmread`` elsewhere (``pyproject.toml``, TID251).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian
from pydicom.valuerep import VR

from components.dicom.headers import tags

# Real headers need up to some 5,000 reads; 50,000 reads take about a second.
_MAX_READS: Final = 50_000
_MAX_SEQUENCE_BYTES: Final = 1 << 20
_MAX_SEQUENCE_ITEMS: Final = 5_000
_ITEM_TAGS: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_CHARACTER_SET_TAGS: Final = (b"\x08\x00\x05\x00", b"\x00\x08\x00\x05")
_MAX_CHARACTER_SETS: Final = 1 << 14  # bytes of all Specific Character Set (0008,0005); real files have up to 100
# Pixel data of floats, doubles or integers; offset tables come before them.
_PIXEL_GROUP: Final = 0x7FE0
_FIRST_PIXELS: Final = 0x0008
_MAX_BEGINNING: Final = 1 << 16  # deflated bytes that contain the first element
_SMALL: Final = 1 << 16  # bytes that one read may allocate, whatever follows
_PREAMBLE: Final = 132  # bytes, with the letters DICM
_HEADER_BYTES: Final = 1 << 24  # inflated to read the header of a deflated data set
_OBJECT_BYTES: Final = 1 << 28  # inflated to read a whole deflated data set


class TooMuchError(ValueError):
    """A file needs more work or memory than any real file."""


FIRST_BYTES: Final = 8
_VRS: Final = frozenset(str(vr.value).encode() for vr in VR if len(vr.value) == 2)
# Possible groups of a first element: 0004 (media directories) to 0088. None of them is valid in both byte orders.
_GROUPS: Final = range(0x0004, 0x0100)


@dataclass(frozen=True)
class Encoding:
    """Encoding of a data set.

    Attributes:
        implicit: VRs are implicit.
        little: The byte order is little endian.
    """

    implicit: bool
    little: bool


def encoding_of(first: bytes) -> Encoding | None:
    """Find the encoding of a data set.

    Args:
        first: First 8 bytes of the data set.

    Returns:
        The encoding; None if the bytes are not the first element of a data set, for example if it is deflated or
        damaged.
    """
    if len(first) < FIRST_BYTES:
        return None
    orders: tuple[Literal["little", "big"], ...] = ("little", "big")
    for order in orders:
        little = order == "little"
        if int.from_bytes(first[:2], order) not in _GROUPS:
            continue
        if first[4:6] in _VRS:
            return Encoding(False, little)
        if int.from_bytes(first[4:8], order) <= 0xFFFF:
            return Encoding(True, little)
    return None


class BoundedStream:
    """A stream with a limit on the number of reads, and on their length to the end of the stream.

    Attributes:
        stream: The stream itself, for reading without a limit.
    """

    def __init__(self, stream: BinaryIO) -> None:
        position = stream.tell()
        self._end = stream.seek(0, io.SEEK_END)
        stream.seek(position)
        self.stream = stream
        self._left = _MAX_READS
        self._in_character_set = False
        self._character_sets = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Read up to ``size`` bytes.

        Raises:
            TooMuchError: There are too many reads, or too many character sets.
        """
        self._left -= 1
        if self._left < 0:
            raise TooMuchError(f"a header is read in up to {_MAX_READS} steps")
        if size is None or not 0 <= size <= _SMALL:
            # File objects allocate the requested size before they check how much data there is, and a length can say
            # 4 GB.
            rest = max(0, self._end - self.stream.tell())
            size = rest if size is None or size < 0 else min(size, rest)
        data = self.stream.read(size)
        # The parser reads a tag together with 4 more bytes, then for some VRs 4 bytes of length, and then the value.
        self._character_sets += len(data) * self._in_character_set
        if self._character_sets > _MAX_CHARACTER_SETS:
            raise TooMuchError(f"character sets may have up to {_MAX_CHARACTER_SETS} bytes")
        self._in_character_set = data.startswith(_CHARACTER_SET_TAGS) or (self._in_character_set and len(data) == 4)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to a position."""
        return self.stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self.stream.tell()


def inflate(data: bytes, limit: int) -> bytes:
    """Inflate a raw deflate stream.

    Args:
        data: Deflated bytes.
        limit: Largest number of inflated bytes.

    Returns:
        The inflated bytes.

    Raises:
        TooMuchError: There are more bytes than ``limit``.
        EOFError: The stream is truncated.
        zlib.error: The stream is damaged.
    """
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    result = inflater.decompress(data, limit)
    if not inflater.eof:
        if len(result) >= limit:
            raise TooMuchError(f"up to {limit} bytes are inflated")
        raise EOFError("the deflated data set is cut short")
    return result


def _at_pixel_data(tag: int, vr: str | None, length: int) -> bool:
    return tag >> 16 == _PIXEL_GROUP and tag & 0xFFFF >= _FIRST_PIXELS


def _is_deflated(data: bytes) -> bool:
    """Return True if the bytes inflate to the beginning of a data set."""
    try:
        beginning = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, FIRST_BYTES)
    except zlib.error:
        return False
    return encoding_of(beginning) is not None


def parse_header(stream: BinaryIO, inflated_limit: int) -> tuple[FileDataset, BinaryIO]:
    """Parse a DICOM file up to Pixel Data (7FE0,0010), in the encoding that the data set has.

    Args:
        stream: The file, at its beginning.
        inflated_limit: Largest size of an inflated data set, bytes.

    Returns:
        The header, whose ``original_encoding`` is the encoding found, and the stream at the position where parsing
        stopped: the given stream, or the inflated data set.

    Raises:
        TooMuchError: Parsing would need too much time or memory.
        Exception: Any exception that pydicom raises on damaged data.
    """
    return _read(stream, lambda data: inflate(data, _declared_size(data, inflated_limit)), header_only=True)


def parse_file_header(path: Path) -> FileDataset:
    """Parse the header of a file, whatever follows it; raise the errors of :func:`parse_header`."""
    with path.open("rb") as stream:
        return _read(stream, _beginning, header_only=True)[0]


def parse_object(path: Path) -> FileDataset:
    """Parse a whole file with its pixels; raise the errors of :func:`parse_header`."""
    with path.open("rb") as stream:
        return _read(stream, lambda data: inflate(data, _OBJECT_BYTES), header_only=False)[0]


def _beginning(data: bytes) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _HEADER_BYTES)


def _declared_size(data: bytes, limit: int) -> int:
    """Return the largest plausible size of an inflated data set, bytes, for the image that its header declares."""
    beginning = _beginning(data)
    found = encoding_of(beginning[:FIRST_BYTES])
    if len(beginning) < _HEADER_BYTES or found is None:
        return limit
    bounded: Any = BoundedStream(io.BytesIO(beginning))
    header = read_dataset(bounded, found.implicit, found.little, stop_when=_at_pixel_data)
    rows, columns, bits = (tags.integer(header, keyword) or 0 for keyword in ("Rows", "Columns", "BitsAllocated"))
    frames = tags.integer(header, "NumberOfFrames") or 1
    return min(limit, _HEADER_BYTES + max(0, rows * columns * frames * bits // 8))


def _read(stream: BinaryIO, inflated: Callable[[bytes], bytes], *, header_only: bool) -> tuple[FileDataset, BinaryIO]:
    if stream.read(_PREAMBLE)[-4:] != b"DICM":
        raise InvalidDicomError("the letters DICM are missing behind the preamble")
    bounded: Any = BoundedStream(stream)  # has all methods of a stream that pydicom calls
    meta = read_dataset(bounded, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    declared = UID(tags.text(meta, "TransferSyntaxUID"))
    start = stream.tell()
    found = encoding_of(stream.read(FIRST_BYTES))
    stream.seek(start)
    if found is None and (_is_deflated(stream.read(_MAX_BEGINNING)) or declared == DeflatedExplicitVRLittleEndian):
        stream.seek(start)
        stream, start = io.BytesIO(inflated(stream.read())), 0
        bounded = BoundedStream(stream)
        found = encoding_of(stream.read(FIRST_BYTES))
    if found is None:  # a damaged data set: report the fault that its declared encoding leads to
        found = Encoding(declared == ImplicitVRLittleEndian, declared != ExplicitVRBigEndian)
    stream.seek(start)
    stop = _at_pixel_data if header_only else None
    content = read_dataset(bounded, found.implicit, found.little, stop_when=stop)
    dataset = FileDataset(bounded, content, None, FileMetaDataset(meta), found.implicit, found.little)
    dataset.set_original_encoding(found.implicit, found.little, content._character_set)
    _require_small_sequences(dataset)
    return dataset, stream


def _require_small_sequences(dataset: Dataset) -> None:
    """Reject large sequences: pydicom parses those of known length later, without the limits of the stream."""
    for element in dataset.values():  # raw until somebody reads its value
        value = getattr(element, "value", None)
        if not isinstance(value, bytes) or not value.startswith(_ITEM_TAGS):
            continue
        if len(value) > _MAX_SEQUENCE_BYTES or sum(map(value.count, _ITEM_TAGS)) > _MAX_SEQUENCE_ITEMS:
            limits = f"{_MAX_SEQUENCE_ITEMS} items and {_MAX_SEQUENCE_BYTES} bytes"
            raise TooMuchError(f"a sequence may have up to {limits}. Received: {element.tag}, {len(value)} bytes")
        # Backslashes separate the values of character sets. In other data one byte in 256 is a backslash.
        if any(tag in value for tag in _CHARACTER_SET_TAGS) and value.count(b"\\") > _MAX_CHARACTER_SETS:
            raise TooMuchError(f"a sequence may name up to {_MAX_CHARACTER_SETS} character sets")
