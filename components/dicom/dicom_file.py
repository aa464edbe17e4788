"""DICOM files: check the header before anything is decoded, then decode; every fault is a typed error."""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from struct import error as StructError
from typing import Any, BinaryIO, Final

from numpy.typing import NDArray
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from components.dicom.bounded_stream import TooMuchError, parse_header
from components.dicom.grey.greyscale import GreyScale, grey_scale_of, to_grey
from components.dicom.grey.stored_values import cells_of
from components.dicom.headers import tags
from components.dicom.headers.functional_groups import effective_header
from components.dicom.headers.header import ViewHeader, header_of
from components.dicom.rejections import STANDARD_ONLY, AcceptanceConfig, IngestError, RejectionReason, printable
from components.dicom.remarks import Remark, joined
from components.dicom.streams.codestream import SecondImageError, StreamError
from components.dicom.streams.decoders import CODINGS, StoredPixels, check_frame, decode_frame, decode_native
from components.dicom.streams.pixel_element import (
    PIXEL_DATA,
    UNDEFINED_LENGTH,
    PixelElement,
    find_pixels,
    require_pixel_data,
)

# Uncompressed transfer syntaxes by the encoding of their data sets: VRs implicit, little endian.
_WRITTEN: Final = {
    (True, True): ImplicitVRLittleEndian,
    (False, True): ExplicitVRLittleEndian,
    (False, False): ExplicitVRBigEndian,
}
_MAX_SIDE: Final = 32_767  # pixels; the limit of OpenCV for look-up and resize
_STREAM_HEADER: Final = 1 << 14  # bytes of a code stream that are checked before decoding
_HEADER_ROOM: Final = 1 << 24  # bytes of an inflated data set without its pixels


def is_dicom(first_bytes: bytes) -> bool:
    """Return True for a DICOM Part 10 file: ``DICM`` follows the 128 bytes of the preamble (PS3.10 section 7.1)."""
    return first_bytes[128:132] == b"DICM"


def _fail(reason: RejectionReason, file: str, tag: str, value: object, remedy: str) -> IngestError:
    return IngestError(reason, file, tag, printable(value), remedy)


@contextmanager
def _typed_errors(reason: RejectionReason, file: str, tag: str, remedy: str) -> Iterator[None]:
    """Turn any exception of pydicom or a decoder into an IngestError; one bad file must never end a run.

    The text of the original error is not repeated, because it can quote identifying values. For the same reason
    pydicom's warnings about malformed values are switched off for this process.
    """
    config.settings.reading_validation_mode = config.IGNORE
    try:
        yield
    except IngestError:
        raise
    except InvalidDicomError as error:
        remedy = "store it as a DICOM Part 10 file"
        raise _fail(RejectionReason.NOT_DICOM, file, "File Preamble", "without DICM", remedy) from error
    except StreamError as error:
        is_second = isinstance(error, SecondImageError)
        raise _fail(
            RejectionReason.MULTI_FRAME if is_second else reason, file, tag, error.found, error.remedy
        ) from error
    except TooMuchError as error:
        remedy = "no real image is that large, export it again"
        raise _fail(RejectionReason.TOO_LARGE, file, tag, "out of bounds", remedy) from error
    except (EOFError, StructError, zlib.error) as error:
        raise _fail(RejectionReason.TRUNCATED, file, tag, "cut short", "transfer the file again") from error
    except Exception as error:
        raise _fail(reason, file, tag, f"unreadable ({type(error).__name__})", remedy) from error


def _require_complete_header(stream: BinaryIO, dataset: Dataset, file: str, size: int) -> None:
    """Reject a header that is truncated inside an element; pydicom does not report this."""
    for tag in list(dataset.keys())[-1:]:
        element = dataset.get_item(tag)  # raw, with its length, until somebody reads its value
        length, start = getattr(element, "length", 0), getattr(element, "value_tell", 0)
        if length == UNDEFINED_LENGTH or not start:
            return
        cut_in_value = start + length > size
        cut_in_next_tag = start + length < size and stream.tell() >= size
        if cut_in_value or cut_in_next_tag:
            found = f"{length} bytes at {start} of {size}"
            remedy = "transfer the file again"
            raise _fail(RejectionReason.TRUNCATED, file, f"last element {tag}", found, remedy)


def _require_sound_image(dataset: Dataset, file: str, max_pixels: int) -> None:
    """Check the Image Pixel module (PS3.3 C.7.6.3): single grey images are supported."""
    expected: dict[str, tuple[tuple[int, ...], str]] = {
        "SamplesPerPixel": ((1,), "grey images with one sample per pixel are supported"),
        "BitsAllocated": ((8, 16), "8 and 16 are supported"),
        "BitsStored": (tuple(range(8, 17)), "8 to 16 are supported"),
        "PixelRepresentation": ((0, 1), "0 (unsigned) and 1 (signed) are supported"),
    }
    for keyword, (allowed, remedy) in expected.items():
        value = tags.integer(dataset, keyword)
        if value not in allowed:
            found = tags.text(dataset, keyword)
            raise _fail(RejectionReason.UNSUPPORTED_IMAGE, file, tags.tag_name(keyword), found, remedy)
    stored, allocated = tags.integer(dataset, "BitsStored"), tags.integer(dataset, "BitsAllocated")
    if stored is not None and allocated is not None and stored > allocated:
        tag = tags.tag_name("BitsStored")
        remedy = f"it must not exceed Bits Allocated, {allocated}"
        raise _fail(RejectionReason.UNSUPPORTED_IMAGE, file, tag, stored, remedy)
    high_bit = tags.integer(dataset, "HighBit")
    if not (stored is None or allocated is None or high_bit is None or stored - 1 <= high_bit < allocated):
        tag = tags.tag_name("HighBit")
        remedy = f"it must be from Bits Stored - 1 = {stored - 1} to Bits Allocated - 1 = {allocated - 1}"
        raise _fail(RejectionReason.UNSUPPORTED_IMAGE, file, tag, high_bit, remedy)
    photometric = tags.code(dataset, "PhotometricInterpretation")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise _fail(
            RejectionReason.UNSUPPORTED_IMAGE,
            file,
            tags.tag_name("PhotometricInterpretation"),
            photometric,
            "MONOCHROME1 and MONOCHROME2 are supported",
        )
    for keyword in ("Rows", "Columns"):
        value = tags.integer(dataset, keyword)
        if value is None or value < 1:
            found = tags.text(dataset, keyword)
            remedy = "a positive number is required"
            raise _fail(RejectionReason.MALFORMED_HEADER, file, tags.tag_name(keyword), found, remedy)
    rows, columns = tags.integer(dataset, "Rows") or 0, tags.integer(dataset, "Columns") or 0
    if max(rows, columns) > _MAX_SIDE or rows * columns > max_pixels:
        raise _fail(
            RejectionReason.TOO_LARGE,
            file,
            f"{tags.tag_name('Rows')} x {tags.tag_name('Columns')}",
            f"{rows} x {columns}",
            f"up to {max_pixels} pixels are decoded, raise max_pixels if the size is right",
        )


def _transfer_syntax(dataset: Dataset, inflated: bool, file: str) -> tuple[UID, tuple[Remark, ...]]:
    """Return the transfer syntax, from the file meta information and from the encoding found in the data set.

    Args:
        dataset: Header, with the encoding that was found.
        inflated: The data set was deflated.
        file: File name for error messages.

    Returns:
        The transfer syntax: the compression of the pixels if the file meta information names one, otherwise the
        encoding of the data set; and remarks. ``pixel_element`` finds out whether the pixels are compressed in fact.
    """
    declared = UID(tags.text(dataset.file_meta, "TransferSyntaxUID") if hasattr(dataset, "file_meta") else "")
    implicit, little = map(bool, dataset.original_encoding)
    written = DeflatedExplicitVRLittleEndian if inflated else _WRITTEN.get((implicit, little))
    if (declared and declared not in CODINGS) or written is None:
        raise _fail(
            RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX,
            file,
            "Transfer Syntax UID (0002,0010)",
            declared.name if written is not None else "not that of the data set, Implicit VR Big Endian",
            "uncompressed, deflated, RLE, JPEG, JPEG-LS, JPEG 2000 and HTJ2K are supported",
        )
    compressed = bool(declared) and declared.is_encapsulated
    expected = ExplicitVRLittleEndian if compressed else declared
    return declared if compressed else written, () if written == expected else (Remark.OTHER_VR_ENCODING,)


@dataclass(frozen=True)
class DicomImage:
    """A DICOM file with a checked header; nothing is decoded yet.

    Attributes:
        dataset: Header without pixels.
        header: Its interpretation.
        syntax: Transfer syntax, one of ``decoders.CODINGS``.
        stream: The file, or the inflated data set.
        pixels: Position of the pixel data in the stream.
        scale: Grey scale.
    """

    dataset: Dataset
    header: ViewHeader
    syntax: UID
    stream: BinaryIO
    pixels: PixelElement
    scale: GreyScale


def open_dicom(
    stream: BinaryIO,
    file: str,
    view: str | None,
    max_pixels: int,
    acceptance: AcceptanceConfig = STANDARD_ONLY,
) -> DicomImage:
    """Read and check a DICOM header; pixels are neither read nor decoded (but a deflated file is inflated).

    Args:
        stream: The file, at its beginning; it must stay open until the image is decoded.
        file: File name for error messages.
        view: View from a manifest (``headers.views`` says what it overrides); None to use the header.
        max_pixels: Largest matrix to decode, pixels.
        acceptance: Accepted special cases.

    Returns:
        The image, ready for decoding.

    Raises:
        IngestError: The file cannot be read as a view; ``reason`` says why.
    """
    with _typed_errors(RejectionReason.MALFORMED_HEADER, file, "Data Set", "export the file again"):
        parsed, content = parse_header(stream, 2 * max_pixels + _HEADER_ROOM)
        position = content.tell()
        size = content.seek(0, io.SEEK_END)
        content.seek(position)
        _require_complete_header(content, parsed, file, size)
        effective = effective_header(parsed)
        dataset = effective.dataset
        header = header_of(dataset, file, view, acceptance)
        require_pixel_data(content, dataset, file)
        _require_sound_image(dataset, file, max_pixels)
        syntax, syntax_remarks = _transfer_syntax(dataset, content is not stream, file)
        scale = grey_scale_of(dataset, file)
    with _typed_errors(RejectionReason.UNDECODABLE_PIXELS, file, PIXEL_DATA, "export the file again"):
        content.seek(position)
        pixels = find_pixels(content, dataset, syntax, file)
        stream_remarks: tuple[Remark, ...] = ()
        if pixels.is_encapsulated:
            stream_remarks = check_frame(dataset, syntax, pixels.read(content, _STREAM_HEADER), pixels.size)
    remarks = joined(header.remarks, effective.remarks, syntax_remarks, scale.remarks, pixels.remarks, stream_remarks)
    return DicomImage(dataset, replace(header, remarks=remarks), syntax, content, pixels, scale)


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A DICOM image in grey.

    Attributes:
        grey: uint16 [Rows, Columns], bright = dense, scaled by the range of the stored bits (see ``grey.greyscale``).
        remarks: Remarks of decoding, without those of the header.
    """

    grey: NDArray[Any]
    remarks: tuple[Remark, ...] = ()


def decode_dicom(image: DicomImage, file: str, voi_index: int = 0) -> DecodedImage:
    """Decode a DICOM image.

    Args:
        image: Result of ``open_dicom``; its stream is still open.
        file: File name for error messages.
        voi_index: Index of the VOI LUT or window if there are several, from 0 (see ``grey.greyscale``).

    Returns:
        The image.

    Raises:
        IngestError: ``undecodable_pixels``, ``truncated``, or ``malformed_header`` if Bits Stored is too small.
    """
    dataset = image.dataset
    with _typed_errors(RejectionReason.UNDECODABLE_PIXELS, file, PIXEL_DATA, "transfer or export the file again"):
        value = image.pixels.read(image.stream)
        if image.pixels.is_encapsulated:
            stored = decode_frame(dataset, image.syntax, value)
        else:
            stored = StoredPixels(decode_native(dataset, value, image.pixels.vr))
    high_bit = tags.integer(dataset, "HighBit")
    shift = 0 if stored.are_samples or high_bit is None else high_bit + 1 - dataset.BitsStored
    cells = cells_of(stored.cells, dataset, shift, file)
    return DecodedImage(to_grey(stored.cells, cells, image.scale, voi_index), joined(stored.remarks, cells.remarks))
