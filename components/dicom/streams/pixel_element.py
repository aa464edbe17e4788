"""Find the bytes of Pixel Data (7FE0,0010), native or in fragments (PS3.5 sections 8 and A.4).

A file has one image, so all fragments are its frame, whatever the offset tables say. Systems make other errors in the
encapsulation too, but nothing depends on them: no Basic Offset Table, no sequence delimiter, empty fragments, a length
where none is allowed. Decoding proves that the frame is complete and the only one.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from struct import unpack
from typing import BinaryIO, Final

from pydicom.dataset import Dataset
from pydicom.uid import UID

from components.dicom.bounded_stream import BoundedStream
from components.dicom.headers import tags
from components.dicom.rejections import IngestError, RejectionReason, printable
from components.dicom.remarks import Remark
from components.dicom.streams.codestream import is_stream

PIXEL_DATA: Final = tags.tag_name("PixelData")
UNDEFINED_LENGTH: Final = 0xFFFFFFFF
_ITEM: Final = b"\xfe\xff\x00\xe0"
_DELIMITER: Final = b"\xfe\xff\xdd\xe0"
_DELIMITER_ITEM: Final = _DELIMITER + bytes(4)
_NO_OFFSETS: Final = (b"", bytes(4), bytes(8))
_LONGEST_TABLE: Final = 8  # bytes that are read: one frame has one offset


@dataclass(frozen=True)
class PixelElement:
    """Position of the pixel data of one image.

    Attributes:
        vr: Value representation.
        parts: Position and length of each part in the stream, bytes: native pixels have one part, a compressed frame
            has one or more fragments.
        is_encapsulated: The parts are fragments.
        remarks: Irregularities of the parts.
    """

    vr: str
    parts: tuple[tuple[int, int], ...]
    is_encapsulated: bool
    remarks: tuple[Remark, ...] = ()

    @property
    def size(self) -> int:
        """Size of all parts, bytes."""
        return sum(length for _, length in self.parts)

    def read(self, stream: BinaryIO, limit: int | None = None) -> bytes:
        """Read the native pixels or the frame of all fragments, or up to ``limit`` bytes of them."""
        left = self.size if limit is None else limit
        pieces = []
        for start, length in self.parts:
            stream.seek(start)
            pieces.append(stream.read(min(length, left)))
            left -= len(pieces[-1])
        if self.is_encapsulated and pieces[-1].endswith(_DELIMITER_ITEM):  # some systems include it in the length
            pieces[-1] = pieces[-1][: -len(_DELIMITER_ITEM)]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _fail(reason: RejectionReason, file: str, value: object, remedy: str) -> IngestError:
    return IngestError(reason, file, PIXEL_DATA, printable(value), remedy)


def require_pixel_data(stream: BinaryIO, dataset: Dataset, file: str) -> tuple[str, int]:
    """Read the head of the element, which must be at the end of the header.

    Args:
        stream: The file, at the position where a parser stopped before pixels; afterwards it is at the element's value.
        dataset: Header.
        file: File name for error messages.

    Returns:
        Value representation, and length of the value in bytes.

    Raises:
        IngestError: ``no_pixel_data``.
    """
    implicit, little = dataset.original_encoding
    order, size = ("<" if little else ">"), (8 if implicit else 12)
    # Tag, then the VR with two reserved bytes if VRs are explicit, then a length of four bytes (PS3.5 section 7.1).
    head = stream.read(size)
    if len(head) < size or unpack(f"{order}HH", head[:4]) != (0x7FE0, 0x0010):
        raise _fail(RejectionReason.NO_PIXEL_DATA, file, "", "only image objects with integer pixel data are supported")
    length: int = unpack(f"{order}L", head[-4:])[0]
    if length == 0:
        raise _fail(RejectionReason.NO_PIXEL_DATA, file, "empty", "export the file again")
    return "OW" if implicit else head[4:6].decode("ascii", "replace"), length


def _items(stream: BinaryIO, start: int, end: int) -> tuple[list[tuple[int, int]], bool]:
    """List the items from ``start`` to ``end``, and return True if a delimiter ends them."""
    bounded = BoundedStream(stream)  # there could be millions of empty items
    items: list[tuple[int, int]] = []
    while start + 8 <= end:
        bounded.seek(start)
        head = bounded.read(8)
        if head[:4] != _ITEM:
            return items, head[:4] == _DELIMITER
        length = unpack("<L", head[4:])[0]
        items.append((start + 8, length))
        start += 8 + length
    return items, False


def _peek(stream: BinaryIO, part: tuple[int, int], size: int) -> bytes:
    stream.seek(part[0])
    return stream.read(min(size, part[1]))


def _fragments(
    stream: BinaryIO, vr: str, start: int, length: int, dataset: Dataset, file: str, size: int
) -> PixelElement:
    """Read all fragments as one frame; ``length`` is that of the element, ``size`` that of the file."""
    end = size if length == UNDEFINED_LENGTH else min(start + length, size)
    items, delimited = _items(stream, start, end)
    remarks = set()
    # Some systems omit the Basic Offset Table, which is always the first item.
    has_table = bool(items) and not is_stream(_peek(stream, items[0], 16))
    table = _peek(stream, items[0], _LONGEST_TABLE + 1) if has_table else b""
    if not has_table or table not in _NO_OFFSETS[:2] or dataset.get("ExtendedOffsetTable") not in (None, *_NO_OFFSETS):
        remarks.add(Remark.WRONG_OFFSET_TABLE)
    fragments = items[has_table:]
    parts = tuple(item for item in fragments if item[1])
    if not parts:
        raise _fail(RejectionReason.TRUNCATED, file, "without fragments", "transfer the file again")
    if not delimited or len(parts) < len(fragments) or length != UNDEFINED_LENGTH:
        remarks.add(Remark.IRREGULAR_FRAGMENTS)
    last = sum(parts[-1])
    if last > size:
        found = f"{size - start} bytes of {last - start}"
        raise _fail(RejectionReason.TRUNCATED, file, found, "transfer the file again")
    return PixelElement(vr, parts, True, tuple(remarks))


def find_pixels(stream: BinaryIO, dataset: Dataset, syntax: UID, file: str) -> PixelElement:
    """Find the pixel data of one image, and check that the file has all of them.

    Pixels in fragments under an uncompressed transfer syntax, and the reverse, are found too.

    Args:
        stream: The file, at the position where a parser stopped before pixels.
        dataset: Header with a checked Image Pixel module.
        syntax: Transfer syntax.
        file: File name for error messages.

    Raises:
        IngestError: ``no_pixel_data``, ``truncated`` or ``undecodable_pixels``.
        TooMuchError: There are more fragments than in any real file.
    """
    vr, length = require_pixel_data(stream, dataset, file)
    start = stream.tell()
    size = stream.seek(0, io.SEEK_END)
    if length == UNDEFINED_LENGTH:
        return _fragments(stream, vr, start, length, dataset, file, size)
    bits, rows, columns = (tags.integer(dataset, k) or 0 for k in ("BitsAllocated", "Rows", "Columns"))
    needed = rows * columns * bits // 8
    is_native_length = length in (needed, needed + needed % 2)
    if _peek(stream, (start, length), 4) == _ITEM and not (is_native_length and not syntax.is_encapsulated):
        return _fragments(stream, vr, start, length, dataset, file, size)
    if syntax.is_encapsulated and not is_native_length:
        remedy = "compressed pixel data must be in items and have an undefined length"
        raise _fail(RejectionReason.UNDECODABLE_PIXELS, file, f"{length} bytes long", remedy)
    if length < needed:
        remedy = "its length must be Rows x Columns x bytes per pixel"
        raise _fail(RejectionReason.TRUNCATED, file, f"{length} bytes of {needed}", remedy)
    if start + length > size:  # cut, even where the bytes of the image are there
        raise _fail(RejectionReason.TRUNCATED, file, f"{size - start} bytes of {length}", "transfer the file again")
    remarks = (Remark.OTHER_COMPRESSION,) if syntax.is_encapsulated else ()
    # Big endian samples of 8 bits can be in words, so the last of an odd number needs its neighbour.
    return PixelElement(vr, ((start, min(length, needed + needed % 2)),), False, remarks)
