"""Which decoder reads which transfer syntax, and stored values out of pixel data.

Each syntax has one fixed decoder, so that ingest, preprocessing and serving read the very same pixels on every
machine. It is the fastest of those that are right for every bit depth and sign and that survive damaged streams
(``benchmarks/decoders.py`` measures, ``tests/.../test_decoder_registry.py`` checks the pixels,
``benchmarks/fuzz.py`` the survival):

* GDCM is right wherever it decodes, and nowhere much faster, but it ends the process on damaged streams (C++
  exceptions that nothing catches). An archive must not be able to do that.
* Pillow reads 8-bit JPEG three times as fast as the others; it has no 12-bit JPEG, no JPEG-LS and no lossless JPEG,
  and takes twice as long as OpenJPEG for JPEG 2000.
* OpenCV has no signed JPEG 2000.
* libjpeg is the only safe one with lossless JPEG and 12-bit JPEG, and takes four times as long as CharLS for JPEG-LS.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder
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

from components.dicom_example_gen.bounded_stream import TooMuchError
from components.dicom_example_gen.codestream import (
    END_OF_IMAGE,
    JPEG_2000_PROCESS,
    JPEG_LS_PROCESS,
    declared_frame,
    has_too_many_scans,
    repair_scan_header,
    without_jp2,
)

# OpenJPEG keeps some 6 kB for a tile; a mammogram in tiles of 64 x 64 has 3,500.
_MAX_TILES: Final = 16_384

# Decoding plugin of pydicom by transfer syntax; the empty one is pydicom's own for uncompressed pixels.
DECODERS: Final[Mapping[UID, str]] = MappingProxyType(
    {
        ImplicitVRLittleEndian: "",
        ExplicitVRLittleEndian: "",
        ExplicitVRBigEndian: "",
        DeflatedExplicitVRLittleEndian: "",
        RLELossless: "pylibjpeg",
        JPEGBaseline8Bit: "pillow",
        JPEGExtended12Bit: "pylibjpeg",
        JPEGLossless: "pylibjpeg",
        JPEGLosslessSV1: "pylibjpeg",
        JPEGLSLossless: "pyjpegls",
        JPEGLSNearLossless: "pyjpegls",
        JPEG2000Lossless: "pylibjpeg",
        JPEG2000: "pylibjpeg",
        HTJ2KLossless: "pylibjpeg",
        HTJ2KLosslessRPCL: "pylibjpeg",
        HTJ2K: "pylibjpeg",
    }
)

# Decoders work through all the pixels that a header declares, whatever the stream holds. Lossy mammograms of the worst
# quality have 50 pixels a byte, and JPEG cannot pack more than some 100; a black image of JPEG 2000 may have more, and
# would be left out anyway.
_MAX_PIXELS_A_BYTE: Final = 400
_JPEG: Final = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)
_SEQUENTIAL: Final = (0xC0, 0xC1)
# Frames that a stream of the syntax may have, PS3.5 section 8.2; decoders would take others too.
_PROCESSES: Final[Mapping[UID, tuple[int, ...]]] = MappingProxyType(
    {
        JPEGBaseline8Bit: _SEQUENTIAL,
        JPEGExtended12Bit: _SEQUENTIAL,
        JPEGLossless: (0xC3,),
        JPEGLosslessSV1: (0xC3,),
        JPEGLSLossless: (JPEG_LS_PROCESS,),
        JPEGLSNearLossless: (JPEG_LS_PROCESS,),
    }
)


def _require_fitting_frame(stream: bytes, dataset: Dataset, syntax: UID) -> int:
    """Compares a stream with the header; returns the precision of the stream."""
    frame = declared_frame(stream)
    if frame is None:
        raise ValueError("the stream must declare its size. Received: none")
    declared, expected = (frame.rows, frame.columns), (dataset.Rows, dataset.Columns)
    if declared != expected or frame.components != 1 or not 2 <= frame.precision <= 16:
        raise ValueError(f"the stream must hold the image of the header, {expected}. Received: {frame}")
    if frame.rows * frame.columns > _MAX_PIXELS_A_BYTE * len(stream):
        raise TooMuchError(f"a byte may hold up to {_MAX_PIXELS_A_BYTE} pixels. Received: {frame}, {len(stream)} bytes")
    if frame.process not in _PROCESSES.get(syntax, (JPEG_2000_PROCESS,)):
        raise ValueError(f"the stream must be {syntax.name}. Received: {frame}")
    if frame.process == JPEG_LS_PROCESS and not stream.rstrip(b"\0").endswith(END_OF_IMAGE):
        raise EOFError("the stream must end with its marker, or CharLS reads on without end")
    if syntax in _JPEG and has_too_many_scans(stream, frame.rows * frame.columns):
        raise TooMuchError(f"the stream has more scans than any real one. Received: {frame}")
    if not 1 <= frame.tiles <= _MAX_TILES:
        raise ValueError(f"the stream must have up to {_MAX_TILES} tiles. Received: {frame}")
    return frame.precision


def decode_stored(dataset: Dataset, syntax: UID, pixel_data: bytes, vr: str, plugin: str | None = None) -> np.ndarray:
    """Decodes the pixels of a single grey image.

    Args:
        dataset: Header, whose Image Pixel module was found to be sound.
        syntax: Transfer syntax, one of ``DECODERS``.
        pixel_data: Value of Pixel Data (7FE0,0010).
        vr: Its value representation; it tells how 8-bit samples lie in big endian files (PS3.5 section 7.3).
        plugin: Decoding plugin of pydicom; None for that of ``DECODERS``.

    Returns:
        (u)int8 or (u)int16 [Rows, Columns], as signed as the header says; read-only where nothing had to be decoded.
        Bits beyond the stored ones are as found.

    Raises:
        EOFError: The stream is cut short.
        TooMuchError: The stream is far too small for the image.
        ValueError: The stream does not hold the image of the header.
        Exception: Whatever the decoder raises on damaged streams.
    """
    options: dict[str, Any] = {
        "rows": dataset.Rows,
        "columns": dataset.Columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": dataset.PhotometricInterpretation,
        "bits_allocated": dataset.BitsAllocated,
        "bits_stored": dataset.BitsStored,
        "pixel_representation": dataset.PixelRepresentation,
        "pixel_keyword": "PixelData",
        "pixel_vr": vr,
        "correct_unused_bits": False,  # overlays and excess are for ``greyscale`` to judge
    }
    if syntax.is_encapsulated:
        options["decoding_plugin"] = DECODERS[syntax] if plugin is None else plugin
        if syntax != RLELossless:
            found = get_frame(pixel_data, 0, number_of_frames=1)
            frame = repair_scan_header(without_jp2(found))
            precision = _require_fitting_frame(frame, dataset, syntax)
            if syntax in _JPEG and precision <= 8:
                # Decoders of JPEG answer in bytes then, whatever the header allocates.
                options |= {"bits_allocated": 8, "bits_stored": min(8, dataset.BitsStored)}
            if frame is not found:
                pixel_data = encapsulate([frame])
    else:
        options["view_only"] = True
    array, _ = get_decoder(syntax).as_array(pixel_data, index=0, raw=True, validate=False, **options)
    return array
