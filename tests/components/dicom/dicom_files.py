from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import (
    UID,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)

MakeDicom = Callable[..., Path]


def ramp(rows: int = 64, columns: int = 48, top: int = 4095) -> np.ndarray:
    """A picture in which every pixel tells where it is: uint16, from 0 to ``top``."""
    return np.linspace(0, top, rows * columns).round().astype(np.uint16).reshape(rows, columns)


def mammogram(pixels: np.ndarray | None = None, **changes: Any) -> FileDataset:
    """A right CC image of 12 bits. A change of None removes the element."""
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


def write(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path
