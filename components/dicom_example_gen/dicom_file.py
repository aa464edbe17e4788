"""DICOM files: header checks before anything is decoded, then decoding, with typed errors throughout.

Transfer syntaxes are decoded by one fixed decoder each, so that ingest, preprocessing and serving read the
very same pixels on every machine: pyjpegls (CharLS) for JPEG-LS, pylibjpeg for the other compressed ones,
pydicom for native.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from struct import error as StructError
from struct import unpack
from typing import BinaryIO, Final

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame, parse_fragments
from pydicom.errors import InvalidDicomError
from pydicom.pixels import get_decoder
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSNearLossless,
)

from components.dicom_example_gen import tags
from components.dicom_example_gen.codestream import declared_size, repair_scan_header
from components.dicom_example_gen.greyscale import to_grey
from components.dicom_example_gen.header import ViewHeader, header_of
from components.dicom_example_gen.rejections import IngestError, RejectionReason, shown

_PIXEL_DATA: Final = tags.tag_name("PixelData")
_UNDEFINED_LENGTH: Final = 0xFFFFFFFF


def is_dicom(first_bytes: bytes) -> bool:
    """Tells DICOM Part 10 by content: ``DICM`` after the 128 bytes of the preamble (PS3.10 section 7.1)."""
    return first_bytes[128:132] == b"DICM"


def _fail(reason: RejectionReason, file: str, tag: str, value: object, remedy: str) -> IngestError:
    return IngestError(reason, file, tag, shown(value), remedy)


@contextmanager
def _typed(reason: RejectionReason, file: str, tag: str, remedy: str) -> Iterator[None]:
    """Turns whatever pydicom or a decoder raises on junk into an IngestError; one bad file must never end a run.

    The text of the original error is not repeated, because it may quote identifying values.
    """
    try:
        yield
    except IngestError:
        raise
    except InvalidDicomError as error:
        remedy = "store it as a DICOM Part 10 file"
        raise _fail(RejectionReason.NOT_DICOM, file, "File Preamble", "without DICM", remedy) from error
    except (EOFError, StructError, zlib.error) as error:
        raise _fail(RejectionReason.TRUNCATED, file, tag, "cut short", "transfer the file again") from error
    except BaseException as error:
        # A Rust panic of pylibjpeg-rle derives from BaseException, and its class cannot be imported.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise _fail(reason, file, tag, f"unreadable ({type(error).__name__})", remedy) from error


def _require_complete_header(stream: BinaryIO, dataset: Dataset, file: str, size: int) -> None:
    """Rejects a header that is cut inside an element; pydicom keeps silent about it."""
    for tag in list(dataset.keys())[-1:]:
        element = dataset.get_item(tag)  # raw, with its length, as long as nobody has read its value
        length, start = getattr(element, "length", 0), getattr(element, "value_tell", 0)
        if length == _UNDEFINED_LENGTH or not start:
            return
        cut_in_value = start + length > size
        cut_in_next_tag = start + length < size and stream.tell() >= size
        if cut_in_value or cut_in_next_tag:
            found = f"{length} bytes at {start} of {size}"
            remedy = "transfer the file again"
            raise _fail(RejectionReason.TRUNCATED, file, f"last element {tag}", found, remedy)


def _require_sound_image(dataset: Dataset, file: str, max_pixels: int) -> None:
    """Checks the Image Pixel module (PS3.3 C.7.6.3) for what single grey images need."""
    expected: dict[str, tuple[tuple[int, ...], str]] = {
        "SamplesPerPixel": ((1,), "grey images with one sample a pixel are supported"),
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
        remedy = f"it may not exceed Bits Allocated, {allocated}"
        raise _fail(RejectionReason.UNSUPPORTED_IMAGE, file, tag, stored, remedy)
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
            remedy = "a matrix needs a positive size"
            raise _fail(RejectionReason.MALFORMED_HEADER, file, tags.tag_name(keyword), found, remedy)
    rows, columns = tags.integer(dataset, "Rows") or 0, tags.integer(dataset, "Columns") or 0
    if rows * columns > max_pixels:
        raise _fail(
            RejectionReason.TOO_LARGE,
            file,
            f"{tags.tag_name('Rows')} x {tags.tag_name('Columns')}",
            f"{rows} x {columns}",
            f"up to {max_pixels} pixels are decoded, raise max_pixels if the size is right",
        )


def _transfer_syntax(dataset: Dataset, file: str) -> UID:
    found = tags.text(dataset.file_meta, "TransferSyntaxUID") if hasattr(dataset, "file_meta") else ""
    syntax = UID(found)
    try:
        supported = bool(found) and get_decoder(syntax).is_available
    except (NotImplementedError, ValueError):
        supported = False
    if not supported:
        raise _fail(
            RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX,
            file,
            "Transfer Syntax UID (0002,0010)",
            syntax.name if found else "",
            "uncompressed, RLE, JPEG, JPEG-LS, JPEG 2000 and HTJ2K are supported",
        )
    return syntax


def _pixel_data_length(stream: BinaryIO, dataset: Dataset, file: str) -> int:
    """Reads the length of the pixel data element, which must begin where the header ended.

    Args:
        stream: The file, where a parser that stops before pixels stopped; left at the element's value.
        dataset: Header.
        file: File name for error messages.
    """
    implicit, little = dataset.original_encoding
    order, size = ("<" if little else ">"), (8 if implicit else 12)
    # Tag, then VR with two reserved bytes where VRs are explicit, then a length of four bytes (PS3.5 section
    # 7.1).
    head = stream.read(size)
    if len(head) < size or unpack(f"{order}HH", head[:4]) != (0x7FE0, 0x0010):
        remedy = "only image objects with integer pixel data are supported"
        raise _fail(RejectionReason.NO_PIXEL_DATA, file, _PIXEL_DATA, "", remedy)
    length: int = unpack(f"{order}L", head[-4:])[0]
    if length == 0:
        raise _fail(RejectionReason.NO_PIXEL_DATA, file, _PIXEL_DATA, "empty", "export the file again")
    return length


def _require_whole_pixel_data(
    stream: BinaryIO, length: int, dataset: Dataset, syntax: UID, file: str, size: int
) -> None:
    """Checks that the file (``size`` bytes) holds all the pixel data (``length`` bytes from here on)."""
    start = stream.tell()
    if syntax.is_encapsulated:  # always little endian, PS3.5 section A.4
        _, offsets = parse_fragments(stream)
        if len(offsets) < 2:  # the first item is the Basic Offset Table
            raise _fail(RejectionReason.TRUNCATED, file, _PIXEL_DATA, "without fragments", "transfer the file again")
        stream.seek(offsets[-1] + 4)
        end = offsets[-1] + 8 + unpack("<L", stream.read(4))[0]
    else:
        bits, rows, columns = (tags.integer(dataset, k) or 0 for k in ("BitsAllocated", "Rows", "Columns"))
        needed = rows * columns * bits // 8
        if length < needed:
            found = f"{length} bytes of {needed}"
            remedy = "its length must be Rows x Columns x bytes a pixel"
            raise _fail(RejectionReason.TRUNCATED, file, _PIXEL_DATA, found, remedy)
        end = start + needed
    if end > size:
        found = f"{size - start} bytes of {end - start}"
        raise _fail(RejectionReason.TRUNCATED, file, _PIXEL_DATA, found, "transfer the file again")


def read_dicom_header(
    stream: BinaryIO, file: str, size: int, view: str | None, max_pixels: int
) -> tuple[Dataset, ViewHeader]:
    """Reads and checks a DICOM header; pixels are not decoded.

    Args:
        stream: The file, at its beginning.
        file: File name for error messages.
        size: Bytes in the file.
        view: View named by a manifest, which overrides the header's; None to ask the header.
        max_pixels: Largest matrix that will be decoded.

    Returns:
        The data set without pixels, and its interpretation.

    Raises:
        IngestError: Typed by what is wrong.
    """
    with _typed(RejectionReason.MALFORMED_HEADER, file, "Data Set", "export the file again"):
        dataset = pydicom.dcmread(stream, stop_before_pixels=True)
        # Offsets of a deflated data set are offsets in memory: it is checked when it is decoded.
        deflated = tags.text(dataset.file_meta, "TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
        if not deflated:
            _require_complete_header(stream, dataset, file, size)
        header = header_of(dataset, file, view)
        length = None if deflated else _pixel_data_length(stream, dataset, file)
        _require_sound_image(dataset, file, max_pixels)
        syntax = _transfer_syntax(dataset, file)
    if length is not None:
        with _typed(RejectionReason.UNDECODABLE_PIXELS, file, _PIXEL_DATA, "export the file again"):
            _require_whole_pixel_data(stream, length, dataset, syntax, file, size)
    return dataset, header


def _decode(dataset: Dataset, syntax: UID) -> np.ndarray:
    if not syntax.is_encapsulated:
        return pixel_array(dataset, index=0, raw=True)
    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    declared, expected = declared_size(frame), (dataset.Rows, dataset.Columns)
    if declared is not None and declared != expected:
        raise ValueError(f"the stream must hold the matrix of the header. Received: {declared}, {expected}")
    if syntax in (JPEGBaseline8Bit, JPEGExtended12Bit):
        dataset.PixelData = encapsulate([repair_scan_header(frame)])
    plugin = "pyjpegls" if syntax in (JPEGLSLossless, JPEGLSNearLossless) else "pylibjpeg"
    return pixel_array(dataset, index=0, raw=True, decoding_plugin=plugin)


def decode_dicom(stream: BinaryIO, file: str) -> np.ndarray:
    """Decodes a DICOM file whose header was found to be sound.

    Args:
        stream: The file, at its beginning.
        file: File name for error messages.

    Returns:
        uint16 [Rows, Columns], bright = dense, scaled by the range of the stored bits (see ``greyscale``).

    Raises:
        IngestError: ``undecodable_pixels``, ``truncated``, ``no_pixel_data``, or ``malformed_header`` for an
            unusable grey scale.
    """
    with _typed(RejectionReason.UNDECODABLE_PIXELS, file, _PIXEL_DATA, "transfer or export the file again"):
        dataset = pydicom.dcmread(stream)
        if "PixelData" not in dataset:
            raise _fail(RejectionReason.NO_PIXEL_DATA, file, _PIXEL_DATA, "", "export the file again")
        stored = _decode(dataset, _transfer_syntax(dataset, file))
    if stored.ndim != 2:
        remedy = "single grey images are supported"
        raise _fail(RejectionReason.UNSUPPORTED_IMAGE, file, _PIXEL_DATA, f"{stored.ndim}-dimensional", remedy)
    bits = tags.integer(dataset, "BitsStored") or 16
    signed = tags.integer(dataset, "PixelRepresentation") == 1
    grey_tags = ", ".join(map(tags.tag_name, ("RescaleSlope", "ModalityLUTSequence", "VOILUTSequence")))
    with _typed(RejectionReason.MALFORMED_HEADER, file, grey_tags, "export the image again"):
        return to_grey(stored, dataset, bits, signed)
