"""Mammograms in every transfer syntax, for the registry of decoders, their benchmark and the fuzzing.

Encoders: pylibjpeg (RLE), CharLS (JPEG-LS), OpenJPEG (JPEG 2000), OpenCV (JPEG baseline), and the ``gdcmconv`` of
python-gdcm for lossless JPEG. It runs as a process, because GDCM can end the one it is in. HTJ2K, 12-bit lossy JPEG
(GDCM writes streams of 16 bits there, which the standard has not), and lossless JPEG with other predictors than the
first come from ``reference_streams.zip`` (see ``make_reference_streams.py``).
"""

from __future__ import annotations

import importlib.util
import io
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEGTransferSyntaxes,
    RLELossless,
)

from components.dicom.streams.codestream import declared_frame, repair_scan_header

# Options of pydicom's encoders: largest error of near-lossless JPEG-LS, compression ratio of lossy JPEG 2000.
_PYDICOM_ENCODERS: dict[UID, dict[str, Any]] = {
    RLELossless: {"encoding_plugin": "pylibjpeg"},
    JPEGLSLossless: {},
    JPEGLSNearLossless: {"jls_error": 2},
    JPEG2000Lossless: {},
    JPEG2000: {"j2k_cr": [8]},
}
_GDCM_OPTIONS = {
    JPEGLosslessSV1: ("--jpeg",),
    JPEGLSLossless: ("--jpegls",),
    JPEG2000Lossless: ("--j2k",),
    RLELossless: ("--rle",),
}


def mammogram(pixels: NDArray[Any], bits: int, syntax: UID = ExplicitVRLittleEndian, **changes: Any) -> FileDataset:
    """Make an uncompressed right CC view.

    Args:
        pixels: (u)int8 or (u)int16 [H, W], an even number of bytes.
        bits: Bits Stored.
        syntax: An uncompressed or deflated transfer syntax.
        changes: Elements to set besides, by keyword.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    big = syntax == ExplicitVRBigEndian
    dataset = FileDataset("", {}, preamble=b"\0" * 128, file_meta=meta, is_little_endian=not big)
    tags: dict[str, Any] = {
        "SOPClassUID": DigitalMammographyXRayImageStorageForPresentation,
        "SOPInstanceUID": "2.25.1",
        "StudyInstanceUID": "2.25.2",
        "Modality": "MG",
        "PresentationIntentType": "FOR PRESENTATION",
        "ViewPosition": "CC",
        "ImageLaterality": "R",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": pixels.itemsize * 8,
        "BitsStored": bits,
        "HighBit": bits - 1,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        # Words, of which big endian swaps the bytes even if they hold two samples of 8 bits (PS3.5 section D.3).
        "PixelData": np.frombuffer(pixels.tobytes(), np.uint16).astype(">u2" if big else "<u2").tobytes(),
    }
    for keyword, value in (tags | changes).items():
        setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW"
    return dataset


def with_stream(pixels: NDArray[Any], bits: int, syntax: UID, stream: bytes) -> FileDataset:
    """Make the mammogram of ``pixels`` with a stream in place of them."""
    dataset = mammogram(pixels, bits)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def compressed(pixels: NDArray[Any], bits: int, syntax: UID) -> FileDataset:
    """Make a mammogram in a transfer syntax that can be encoded here.

    Raises:
        KeyError: There is no encoder for the syntax.
    """
    if not syntax.is_encapsulated:
        return mammogram(pixels, bits, syntax)
    if syntax == JPEGBaseline8Bit:
        stream = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
        return with_stream(pixels, bits, syntax, stream)
    if syntax not in _PYDICOM_ENCODERS:
        return by_gdcm(pixels, bits, syntax)
    dataset = mammogram(pixels, bits)
    dataset.compress(syntax, generate_instance_uid=False, **_PYDICOM_ENCODERS[syntax])
    return dataset


def by_gdcm(pixels: NDArray[Any], bits: int, syntax: UID) -> FileDataset:
    """Make a mammogram with GDCM's encoder.

    Raises:
        KeyError: GDCM is not asked for this syntax.
    """
    options = _GDCM_OPTIONS[syntax]
    found = importlib.util.find_spec("_gdcm")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("python-gdcm is needed")
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "source.dcm"), Path(folder, "target.dcm")
        source.write_bytes(file_bytes(mammogram(pixels, bits)))
        program = Path(found.origin).with_name("gdcmconv")
        subprocess.run([program, *options, source, target], check=True, capture_output=True)
        return pydicom.dcmread(io.BytesIO(target.read_bytes()))


def decoded_by(dataset: FileDataset, plugin: str) -> NDArray[Any]:
    """Decode a compressed mammogram with a decoder that pydicom knows.

    Args:
        dataset: Mammogram of one frame.
        plugin: Decoding plugin of pydicom.

    Returns:
        (u)int8 or (u)int16 [Rows, Columns], bits beyond the stored ones as found.
    """
    stream = repair_scan_header(get_frame(dataset.PixelData, 0, number_of_frames=1))
    syntax = dataset.file_meta.TransferSyntaxUID
    frame = declared_frame(stream)
    # Decoders of JPEG answer in bytes where the stream has up to 8 bits, whatever the header allocates.
    narrow = syntax in JPEGTransferSyntaxes and frame is not None and frame.precision <= 8
    options: dict[str, Any] = {
        "rows": dataset.Rows,
        "columns": dataset.Columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": dataset.PhotometricInterpretation,
        "bits_allocated": 8 if narrow else dataset.BitsAllocated,
        "bits_stored": min(8, dataset.BitsStored) if narrow else dataset.BitsStored,
        "pixel_representation": dataset.PixelRepresentation,
        "pixel_keyword": "PixelData",
        "correct_unused_bits": False,
        "decoding_plugin": plugin,
    }
    return get_decoder(syntax).as_array(encapsulate([stream]), index=0, raw=True, validate=False, **options)[0]


def reference_streams() -> dict[str, bytes]:
    """Read ``reference_streams.zip``."""
    with zipfile.ZipFile(Path(__file__).with_name("reference_streams.zip")) as file:
        return {name: file.read(name) for name in file.namelist()}


def file_bytes(dataset: FileDataset) -> bytes:
    """Write a data set as a DICOM Part 10 file."""
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
