"""Bytes of a DICOM file with bounds on what parsing them may cost.

A parser in Python takes some 15 microseconds for an element and 80 for an item, and both may be 8 bytes small: a
hostile header of two megabytes would keep it busy for half a minute. It also looks up each value of Specific Character
Set (0008,0005) where it meets one, in 35 microseconds. And deflated data (PS3.5 section A.5) may be a
thousand times as large as the file.

Nothing else reads DICOM files: the linter forbids ``pydicom.dcmread`` elsewhere (``pyproject.toml``, TID251).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Final

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from components.dicom.encoding import FIRST_BYTES, Encoding, encoding_of
from components.dicom.headers import tags

# Real headers take up to some 5,000 reads; 50,000 take about a second.
_MAX_READS: Final = 50_000
_MAX_SEQUENCE_BYTES: Final = 1 << 20
_MAX_SEQUENCE_ITEMS: Final = 5_000
_ITEM_TAGS: Final = (b"\xfe\xff\x00\xe0", b"\xff\xfe\xe0\x00")
_CHARACTER_SET_TAGS: Final = (b"\x08\x00\x05\x00", b"\x00\x08\x00\x05")
_MAX_CHARACTER_SETS: Final = 1 << 14  # bytes of all Specific Character Set (0008,0005); real ones have up to 100
# Pixel data of floats, doubles or integers; offset tables come before them.
_PIXEL_GROUP: Final = 0x7FE0
_FIRST_PIXELS: Final = 0x0008
_MAX_BEGINNING: Final = 1 << 16  # deflated bytes that give the first element
_PREAMBLE: Final = 132  # bytes, with the letters DICM
_HEADER_BYTES: Final = 1 << 24  # of a deflated data set that are inflated for its header
_OBJECT_BYTES: Final = 1 << 28  # of a deflated data set that is read as a whole


class TooMuchError(ValueError):
    """A file asks for more work or memory than any real one."""


class BoundedStream:
    """A stream that can be read only so many times, and no further than it goes.

    Attributes:
        stream: The stream itself, for reading without a bound.
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
        """Reads up to ``size`` bytes.

        Raises:
            TooMuchError: It was read too often, or there are too many character sets.
        """
        self._left -= 1
        if self._left < 0:
            raise TooMuchError(f"a header is read in up to {_MAX_READS} steps")
        # A file allocates what is asked for before it looks how much there is, and lengths may say four gigabytes.
        rest = max(0, self._end - self.stream.tell())
        data = self.stream.read(rest if size is None or size < 0 else min(size, rest))
        # A tag is read with 4 bytes more, of some VRs the length in 4 others, and then the value.
        self._character_sets += len(data) * self._in_character_set
        if self._character_sets > _MAX_CHARACTER_SETS:
            raise TooMuchError(f"character sets may have up to {_MAX_CHARACTER_SETS} bytes")
        self._in_character_set = data.startswith(_CHARACTER_SET_TAGS) or (self._in_character_set and len(data) == 4)
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Moves to a position."""
        return self.stream.seek(offset, whence)

    def tell(self) -> int:
        """Returns the position."""
        return self.stream.tell()


def inflate(data: bytes, limit: int) -> bytes:
    """Inflates a raw deflate stream.

    Args:
        data: Deflated bytes.
        limit: Most bytes that may come out.

    Returns:
        The inflated bytes.

    Raises:
        TooMuchError: There are more.
        EOFError: The stream is cut short.
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
    """Tells whether the bytes inflate to the beginning of a data set."""
    try:
        beginning = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, FIRST_BYTES)
    except zlib.error:
        return False
    return encoding_of(beginning) is not None


def read_header(stream: BinaryIO, inflated_limit: int) -> tuple[FileDataset, BinaryIO]:
    """Parses a DICOM file up to Pixel Data (7FE0,0010), in the encoding that the data set has, whatever file meta says.

    Args:
        stream: The file, at its beginning.
        inflated_limit: Most bytes that a deflated data set may have.

    Returns:
        The header, whose ``original_encoding`` is as found, and the stream where parsing stopped: the one given, or the
        inflated data set.

    Raises:
        TooMuchError: Parsing would take too much time or memory.
        Exception: Whatever pydicom raises on junk.
    """
    return _read(stream, lambda data: inflate(data, _declared_size(data, inflated_limit)), header_only=True)


def read_file_header(path: Path) -> FileDataset:
    """Parses a file's header, whatever is behind it; errors as :func:`read_header`."""
    with path.open("rb") as stream:
        return _read(stream, _beginning, header_only=True)[0]


def read_object(path: Path) -> FileDataset:
    """Parses a whole file, pixels included; errors as :func:`read_header`."""
    with path.open("rb") as stream:
        return _read(stream, lambda data: inflate(data, _OBJECT_BYTES), header_only=False)[0]


def _beginning(data: bytes) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, _HEADER_BYTES)


def _declared_size(data: bytes, limit: int) -> int:
    """Returns how many bytes a deflated data set may have by the image that its header declares."""
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
    bounded: Any = BoundedStream(stream)  # pydicom needs no more of a stream than this has
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
    if found is None:  # a damaged data set: say what its file meta makes of it
        found = Encoding(declared == ImplicitVRLittleEndian, declared != ExplicitVRBigEndian)
    stream.seek(start)
    stop = _at_pixel_data if header_only else None
    content = read_dataset(bounded, found.implicit, found.little, stop_when=stop)
    dataset = FileDataset(bounded, content, None, FileMetaDataset(meta), found.implicit, found.little)
    dataset.set_original_encoding(found.implicit, found.little, content._character_set)
    _require_small_sequences(dataset)
    return dataset, stream


def _require_small_sequences(dataset: Dataset) -> None:
    """Sequences of known length are parsed when they are asked for, out of reach of the stream's bound."""
    for element in map(dataset.get_item, list(dataset.keys())):  # raw, as long as nobody has read its value
        value = getattr(element, "value", None)
        if not isinstance(value, bytes) or not value.startswith(_ITEM_TAGS):
            continue
        if len(value) > _MAX_SEQUENCE_BYTES or sum(map(value.count, _ITEM_TAGS)) > _MAX_SEQUENCE_ITEMS:
            limits = f"{_MAX_SEQUENCE_ITEMS} items and {_MAX_SEQUENCE_BYTES} bytes"
            raise TooMuchError(f"a sequence may have up to {limits}. Received: {element.tag}, {len(value)} bytes")
        # Values of character sets are counted by what separates them; of other bytes one in 256 looks so.
        if any(tag in value for tag in _CHARACTER_SET_TAGS) and value.count(b"\\") > _MAX_CHARACTER_SETS:
            raise TooMuchError(f"a sequence may name up to {_MAX_CHARACTER_SETS} character sets")
