"""Mammograms for tests: as data sets, as bytes of DICOM Part 10, and read back from these bytes.

A data set in memory has other types of values than one from a file, so tests of headers go through bytes.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.tag import Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

MakeDicom = Callable[..., Path]


def ramp(rows: int = 64, columns: int = 48, top: int = 4095) -> np.ndarray:
    """Return a picture whose grey shows the position of each pixel: uint16, from 0 to ``top``."""
    return np.linspace(0, top, rows * columns).round().astype(np.uint16).reshape(rows, columns)


def mammogram(pixels: np.ndarray | None = None, /, **changes: Any) -> FileDataset:
    """Return a right CC image of 12 bits. A change of None removes the element."""
    pixels = ramp() if pixels is None else pixels
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = UID(changes.pop("TransferSyntaxUID", ExplicitVRLittleEndian))
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    syntax = meta.TransferSyntaxUID
    little = syntax.is_encapsulated or syntax.is_little_endian
    dataset = FileDataset("", {}, preamble=b"\0" * 128, file_meta=meta, is_little_endian=little)
    tags: dict[str, Any] = {
        "SOPClassUID": DigitalMammographyXRayImageStorageForPresentation,
        "SOPInstanceUID": generate_uid(),
        "StudyInstanceUID": "1.2.3.4",
        "AccessionNumber": "ACC7",
        "StudyID": "S1",
        "StudyDate": "20190304",
        "AcquisitionTime": "101112",
        "Modality": "MG",
        "PresentationIntentType": "FOR PRESENTATION",
        "Manufacturer": "GE MEDICAL SYSTEMS",
        "ManufacturerModelName": "Senographe DS VERSION ADS_53.40",
        "SoftwareVersions": "ADS Application Package VERSION ADS_53.40",
        "PatientName": "Rossi^Maria",
        "PatientID": "PAT-4711",
        "PatientBirthDate": "19601231",
        "PatientAge": "058Y",
        "ViewPosition": "CC",
        "ImageLaterality": "R",
        "ImagerPixelSpacing": [0.1, 0.1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "BitsAllocated": pixels.dtype.itemsize * 8,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PixelData": pixels.tobytes(),
    }
    for keyword, value in (tags | changes).items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def pydicom_file(name: str) -> Path:
    """Return a file that pydicom brings for tests."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str), f"pydicom has no file {name}"
    return Path(path)


def write(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


# All uncompressed transfer syntaxes, and the two that matter for headers.
NATIVE: Final = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
BOTH: Final = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)


def names(syntaxes: tuple[UID, ...]) -> list[str]:
    """Return names of transfer syntaxes for parameter ids."""
    return [syntax.name.replace(" ", "_") for syntax in syntaxes]


def as_written(dataset: Dataset, vr: str = "DS", **values: str) -> Dataset:
    """Put elements into a data set byte for byte, so that they can have values that pydicom does not write."""
    for keyword, text in values.items():
        value = text.encode() + b" " * (len(text) % 2)
        tag = Tag(tag_for_keyword(keyword) or 0)
        dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return dataset


def part10(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """Return a data set as the content of a file.

    Args:
        dataset: Header, with or without pixels. The caller must set the byte order of multi-byte elements that are
            bytes (OW).
        syntax: Uncompressed transfer syntax.

    Returns:
        DICOM Part 10.
    """
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = syntax
    meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID", DigitalMammographyXRayImageStorageForPresentation)
    meta.MediaStorageSOPInstanceUID = dataset.get("SOPInstanceUID", "1.2.3")
    encoding = {"is_implicit_VR": syntax.is_implicit_VR, "is_little_endian": syntax.is_little_endian}
    file = FileDataset("", copy.deepcopy(dataset), preamble=b"\0" * 128, file_meta=meta, **encoding)
    stream = io.BytesIO()
    file.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def reread(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> FileDataset:
    """Write a data set as a file and read it back."""
    return dcmread(io.BytesIO(part10(dataset, syntax)))
