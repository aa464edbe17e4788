"""Archives of small DICOM files with the headers of a test, and their plan of ingest."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    generate_uid,
)

from components.common.location import Location
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.ingest_plan import IngestPlan
from components.dicom_example_gen.plan.planning import InspectedFile, files_to_hash, inspect, inspect_pixels, plan
from components.sources.candidates import Candidate, Label
from components.sources.tables import RowProblem

KEY = b"key"


def write_image(path: Path, view: str, seed: int = 0, implicit: bool = False, /, **tags: Any) -> Path:
    """Write an image of 12 x 10 pixels that depend on ``seed``; an attribute with value None is omitted."""
    projection, side = view.split("_")
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    data = FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    defaults = {
        "SOPClassUID": DigitalMammographyXRayImageStorageForPresentation,
        "SOPInstanceUID": generate_uid(),
        "Modality": "MG",
        "PresentationIntentType": "FOR PRESENTATION",
        "ViewPosition": projection,
        "ImageLaterality": side,
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "Rows": 12,
        "Columns": 10,
        "SamplesPerPixel": 1,
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 0,
        "PhotometricInterpretation": "MONOCHROME2",
        "PixelData": np.random.default_rng(seed).integers(0, 4096, (12, 10)).astype("<u2").tobytes(),
    }
    for keyword, value in (defaults | tags).items():
        if value is not None:
            setattr(data, keyword, value)
    meta.MediaStorageSOPInstanceUID = data.SOPInstanceUID
    path.parent.mkdir(parents=True, exist_ok=True)
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


def local(place: Location) -> Path:
    """Return the path of a place that a test made on this machine."""
    assert isinstance(place, Path), place
    return place


def read_archive(folder: Path) -> list[InspectedFile]:
    """Read the headers of a folder's files, and hash the pixel data of those that share a SOP Instance UID."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.dcm"))
    outcomes = [inspect(Candidate(file), folder, 64_000_000) for file in files]
    for position in files_to_hash(outcomes):
        outcomes[position] = inspect_pixels(outcomes[position], folder, 64_000_000)
    return outcomes


def planned(folder: Path, densities: Mapping[str, str], **config: Any) -> IngestPlan:
    """Return the plan of a folder whose labels name the exams' densities."""
    labels: dict[str, Label | RowProblem] = {exam: Label(exam, density) for exam, density in densities.items()}
    return plan(read_archive(folder), labels, IngestConfig(**config), KEY)


def fates(result: IngestPlan) -> dict[str, str]:
    """Return file -> its density, or the reason of its rejection."""
    return {v.file: v.density for v in result.accepted} | {r.file: r.reason.value for r in result.rejected}
