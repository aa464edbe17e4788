"""Decode pixel data to stored values, according to what the stream is.

Each kind of stream has one fixed decoder, so ingest, preprocessing and serving read exactly the same pixels on every
machine. All are decoders of imagecodecs: the fastest of those that are right for every bit depth and sign, survive
damaged streams and release the interpreter lock. ``benchmarks/decoders.py`` measures the speed,
``tests/.../test_decoder_registry.py`` checks the pixels, ``benchmarks/fuzz.py`` checks the survival. These are not
used:

* GDCM ends the process on damaged streams (C++ exceptions that nothing catches), as do ``ljpeg_decode`` and
  ``jpegsof3_decode`` of imagecodecs. One file of an archive must not be able to do that.
* pylibjpeg is right, but needs five times as long for lossless JPEG, clamps differences modulo 2^16, and keeps the
  interpreter locked while it decodes, as pyjpegls does.
* Pillow has no 12-bit JPEG, no JPEG-LS and no lossless JPEG; OpenCV has no signed JPEG 2000.

imagecodecs fills up truncated JPEGs, so ``jpeg_parts``, ``jpeg_lossless``, ``jpeg_sequential`` and ``other_streams``
prove that streams are complete. A transfer syntax can be wrong about the stream. The stream decides, and the difference
becomes a remark.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from components.dicom.bounded_stream import TooMuchError
from components.dicom.grey.stored_values import stored_range
from components.dicom.headers import tags
from components.dicom.remarks import Remark
from components.dicom.streams.codestream import (
    END_OF_IMAGE,
    LOSSY,
    Coding,
    Frame,
    StreamError,
    begins_a_stream,
    declared_frame,
    ends_in_header,
    is_stream,
    repair_scan_header,
    without_jp2,
)
from components.dicom.streams.jpeg_lossless import decode_lossless
from components.dicom.streams.jpeg_parts import parse_jpeg
from components.dicom.streams.jpeg_sequential import decode_sequential
from components.dicom.streams.other_streams import decode_jpeg_2000, decode_jpeg_ls, decode_rle, is_rle, require_rle

# Allowed streams of each transfer syntax, PS3.5 sections 8.2 and 10 and annex A.4.
CODINGS: Final[Mapping[UID, tuple[Coding, ...]]] = MappingProxyType(
    {
        ImplicitVRLittleEndian: (),
        ExplicitVRLittleEndian: (),
        ExplicitVRBigEndian: (),
        DeflatedExplicitVRLittleEndian: (),
        RLELossless: (Coding.RLE,),
        JPEGBaseline8Bit: (Coding.BASELINE,),
        JPEGExtended12Bit: (Coding.BASELINE, Coding.EXTENDED),
        JPEGLossless: (Coding.LOSSLESS_SV1, Coding.LOSSLESS),
        JPEGLosslessSV1: (Coding.LOSSLESS_SV1,),
        JPEGLSLossless: (Coding.JPEG_LS,),
        JPEGLSNearLossless: (Coding.JPEG_LS, Coding.JPEG_LS_NEAR),
        JPEG2000Lossless: (Coding.JPEG_2000,),
        JPEG2000: (Coding.JPEG_2000, Coding.JPEG_2000_LOSSY),
        HTJ2KLossless: (Coding.HTJ2K,),
        HTJ2KLosslessRPCL: (Coding.HTJ2K,),
        HTJ2K: (Coding.HTJ2K, Coding.HTJ2K_LOSSY),
    }
)
_DCT: Final = (Coding.BASELINE, Coding.EXTENDED)
_JPEG: Final = (*_DCT, Coding.LOSSLESS_SV1, Coding.LOSSLESS)
_JPEG_LS: Final = (Coding.JPEG_LS, Coding.JPEG_LS_NEAR)
# OpenJPEG needs some 6 kB per tile; a mammogram in tiles of 64 x 64 has 3,500.
_MAX_TILES: Final = 16_384
# Decoders process all the pixels that a header declares, whatever the stream contains. Lossy mammograms of the worst
# quality have 50 pixels per byte, and JPEG cannot pack more than some 100. A black image in JPEG 2000 can have more,
# but would be rejected anyway.
_MAX_PIXELS_PER_BYTE: Final = 400
_NO_IMAGE: Final = "a stream that does not declare its image"


@dataclass(frozen=True, eq=False)
class StoredPixels:
    """The stored values.

    Attributes:
        cells: (u)int8 or (u)int16 [Rows, Columns], with the sign of the header; read-only if nothing had to be decoded.
            Unused bits are unchanged.
        are_samples: The sample is in the lowest bits of a cell, as in JPEG streams with fewer bits than a cell.
            Otherwise it is where High Bit (0028,0102) says.
        remarks: Remarks on the stream.
    """

    cells: NDArray[Any]
    are_samples: bool = False
    remarks: tuple[Remark, ...] = ()


def _require_fitting_frame(frame: Frame, dataset: Dataset, syntax: UID, size: int, is_cut: bool) -> None:
    """Compare the frame that a stream of ``size`` bytes declares with the header; ``is_cut`` = it is truncated."""
    found = f"{frame.coding.value}, {frame.rows} x {frame.columns}, {frame.precision} bits"
    if frame.components != 1:
        raise StreamError(f"{found}, {frame.components} components", "grey images of one component are supported")
    if (frame.rows, frame.columns) != (dataset.Rows, dataset.Columns) or not 2 <= frame.precision <= 16:
        expected = f"{dataset.Rows} x {dataset.Columns}, up to 16 bits"
        raise StreamError(found, f"the header declares an image of {expected}, export it again")
    if frame.rows * frame.columns > _MAX_PIXELS_PER_BYTE * size:
        if is_cut:
            raise EOFError("most of the stream is missing")
        raise TooMuchError(f"up to {_MAX_PIXELS_PER_BYTE} pixels per byte are decoded")
    if frame.coding is Coding.OTHER:
        raise StreamError(f"{found} under {syntax.name}", "sequential and lossless JPEG are supported")
    if frame.coding in _DCT and frame.precision not in (8, 12):
        raise StreamError(found, "8 and 12 bits are supported")
    if frame.coding in _DCT and frame.precision < dataset.BitsStored:
        remedy = f"Bits Stored is {dataset.BitsStored}, and lossy samples with fewer bits have another scale"
        raise StreamError(f"{found} under {syntax.name}", remedy)
    if not 1 <= frame.tiles <= _MAX_TILES:
        raise TooMuchError(f"up to {_MAX_TILES} tiles are decoded")


def decode_jpeg(stream: bytes, frame: Frame) -> tuple[NDArray[Any], bool]:
    """Decode a JPEG of one component.

    Args:
        stream: Lossless, baseline or extended sequential JPEG.
        frame: Its declared image.

    Returns:
        uint8 (up to 8 bits) or uint16 [rows, columns], and True if the end marker is there.

    Raises:
        EOFError: The data are not those of all samples.
        SecondImageError: Another image follows.
        Exception: Any exception of libjpeg on damaged streams.
    """
    decode = decode_sequential if frame.coding in (Coding.BASELINE, Coding.EXTENDED) else decode_lossless
    jpeg = parse_jpeg(stream)
    return decode(jpeg, frame), jpeg.is_closed


def _decode_stream(stream: bytes, frame: Frame) -> tuple[NDArray[Any], bool]:
    """Decode a stream; also return True if its end marker is there."""
    if frame.coding in _JPEG:
        return decode_jpeg(repair_scan_header(stream), frame)
    return decode_jpeg_ls(stream, frame) if frame.coding in _JPEG_LS else decode_jpeg_2000(stream, frame)


def _as_declared(pixels: NDArray[Any], frame: Frame, dataset: Dataset) -> NDArray[Any]:
    """Give samples the sign of the header and at least its number of bits."""
    bits, signed = dataset.BitsStored, dataset.PixelRepresentation == 1
    is_signed_alike = (pixels.dtype.kind == "i") == signed
    in_low_bits = tags.integer(dataset, "HighBit") in (None, bits - 1)
    if frame.coding in LOSSY and frame.precision > bits and is_signed_alike and in_low_bits:
        # Rounding can exceed the stored bits, and cutting higher bits off would turn white into black.
        pixels = np.clip(pixels, *stored_range(bits, signed))
    if bits > 8 and pixels.itemsize == 1:
        pixels = pixels.astype("i2" if pixels.dtype.kind == "i" else "u2")
    unused = 8 * pixels.itemsize - frame.precision
    if signed and unused > 0 and pixels.dtype.kind == "u":
        # JPEG and JPEG-LS have no sign: the highest bit of the stream's samples is the sign.
        pixels = (pixels << unused).view(f"i{pixels.itemsize}") >> unused
    return pixels.view(f"{'i' if signed else 'u'}{pixels.itemsize}")


def _remarks(coding: Coding, syntax: UID) -> tuple[Remark, ...]:
    allowed = CODINGS[syntax]
    found = []
    if coding not in allowed:
        found.append(Remark.OTHER_COMPRESSION)
    if coding in LOSSY and not LOSSY.intersection(allowed):
        found.append(Remark.UNDECLARED_LOSS)
    return tuple(found)


def decode_native(dataset: Dataset, pixel_data: bytes, vr: str) -> NDArray[Any]:
    """Read uncompressed pixels, PS3.5 sections 7.3 and 8.1.1.

    Args:
        dataset: Header with a checked Image Pixel module.
        pixel_data: Value of Pixel Data (7FE0,0010), not shorter than the image.
        vr: Its value representation, which decides the order of 8-bit samples in big endian files.

    Returns:
        As ``StoredPixels.cells``.
    """
    rows, columns, kind = dataset.Rows, dataset.Columns, "i" if dataset.PixelRepresentation == 1 else "u"
    order = "<" if dataset.original_encoding[1] else ">"
    size = dataset.BitsAllocated // 8
    if order == ">" and vr == "OW" and size == 1:  # words of two samples
        pixel_data = np.frombuffer(pixel_data, "u2", len(pixel_data) // 2).byteswap().tobytes()
    return np.frombuffer(pixel_data, f"{order}{kind}{size}", rows * columns).reshape(rows, columns)


def check_frame(dataset: Dataset, syntax: UID, first_bytes: bytes, size: int) -> tuple[Remark, ...]:
    """Check what the first bytes of a compressed frame declare, without decoding.

    Args:
        dataset: Header with a checked Image Pixel module.
        syntax: Transfer syntax, one of ``CODINGS``.
        first_bytes: Beginning of the frame, or all of it.
        size: Size of the frame, bytes.

    Returns:
        Remarks on the stream.

    Raises:
        EOFError: The stream is truncated.
        TooMuchError: The stream is far too small for the image.
        StreamError: The stream does not fit the header, or is not supported.
    """
    if _is_rle(first_bytes, syntax):
        require_rle(first_bytes, dataset.BitsAllocated)
        return _remarks(Coding.RLE, syntax)
    if not is_stream(first_bytes):
        if begins_a_stream(first_bytes):
            raise EOFError("the stream ends in its signature")
        raise StreamError(f"not a stream of a known kind, under {syntax.name}", "export the image again")
    missing = size - len(first_bytes)
    first_bytes = without_jp2(first_bytes)
    if ends_in_header(first_bytes, len(first_bytes) + missing):
        raise EOFError("the stream ends in its header")
    frame = declared_frame(first_bytes)
    if frame is not None:
        is_cut = not missing and not first_bytes.rstrip(b"\0").endswith(END_OF_IMAGE)
        _require_fitting_frame(frame, dataset, syntax, size, is_cut)
        return _remarks(frame.coding, syntax)
    if missing:
        return ()
    raise StreamError(_NO_IMAGE, "transfer or export the file again")


def _is_rle(stream: bytes, syntax: UID) -> bool:
    return not is_stream(stream) and (is_rle(stream) or syntax == RLELossless)


def decode_frame(dataset: Dataset, syntax: UID, stream: bytes) -> StoredPixels:
    """Decode the compressed frame of a single grey image.

    Args:
        dataset: Header with a checked Image Pixel module.
        syntax: Transfer syntax, one of ``CODINGS``.
        stream: All fragments of the frame.

    Raises:
        EOFError: The stream is truncated.
        TooMuchError: The stream is far too small for the image, or needs too much work.
        SecondImageError: The frame has more than one image.
        StreamError: The stream does not fit the header, or is not supported.
        Exception: Any exception of the decoder on damaged streams.
    """
    remarks = check_frame(dataset, syntax, stream, len(stream))
    signed = dataset.PixelRepresentation == 1
    if _is_rle(stream, syntax):
        cells = decode_rle(stream, dataset.Rows, dataset.Columns, dataset.BitsAllocated)
        return StoredPixels(cells.view(f"{'i' if signed else 'u'}{cells.itemsize}"), False, remarks)
    stream = without_jp2(stream)
    frame = declared_frame(stream)
    if frame is None:
        raise StreamError(_NO_IMAGE, "transfer or export the file again")
    pixels, is_closed = _decode_stream(stream, frame)
    are_samples = frame.precision <= (tags.integer(dataset, "HighBit") or 0)
    if not is_closed:
        remarks = (*remarks, Remark.NO_END_MARKER)
    return StoredPixels(_as_declared(pixels, frame, dataset), are_samples, remarks)
