"""Headers and images as they come out of a file: written as DICOM Part 10, and read back.

A data set built in memory has other types of values than one that was read: tests of headers go through bytes.
"""

from __future__ import annotations

import copy
import io
from typing import Final

from pydicom import dcmread
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
)

# Every way to write an uncompressed data set, and the two that matter for headers.
NATIVE: Final = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
BOTH: Final = (ImplicitVRLittleEndian, ExplicitVRLittleEndian)


def names(syntaxes: tuple[UID, ...]) -> list[str]:
    """Names transfer syntaxes for the ids of parameters."""
    return [syntax.name.replace(" ", "_") for syntax in syntaxes]


def as_written(dataset: Dataset, vr: str = "DS", **values: str) -> Dataset:
    """Puts elements into a data set byte for byte, so that they may hold what pydicom does not write."""
    for keyword, text in values.items():
        value = text.encode() + b" " * (len(text) % 2)
        tag = Tag(tag_for_keyword(keyword) or 0)
        dataset[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)
    return dataset


def part10(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """Writes a data set as a file.

    Args:
        dataset: Header, with or without pixels. Of multi-byte elements that are bytes already (OW), the caller sees to
            the byte order.
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
    """Writes a data set as a file and reads it back."""
    return dcmread(io.BytesIO(part10(dataset, syntax)))
