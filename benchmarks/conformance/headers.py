"""The data set of a grey-scale case, uncompressed: image pixel module, grey scale, padding, overlays, cells."""

from __future__ import annotations

from typing import Any

import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.sequence import Sequence

from benchmarks.conformance import truth
from benchmarks.conformance.cases import Case, Lut, Padding


def _pixel_order(case: Case) -> str:
    return ">" if case.syntax == "ExplicitVRBigEndian" and case.encoder == "pydicom" else "<"


def _words(data: bytes, order: str) -> bytes:
    """Put bytes that lie as little endian into the byte order of OW."""
    return np.frombuffer(data, "<u2").astype(f"{order}u2").tobytes()


def _lut_item(lut: Lut, order: str) -> Dataset:
    item, entries = Dataset(), truth.entries_of(lut)
    # pydicom writes the first value as an unsigned number under either VR, as PS3.3 C.11.1.1 wants it.
    item.add_new("LUTDescriptor", lut.descriptor_vr, [lut.entries % 65536, lut.first, lut.bits])
    if lut.packed:
        item.add_new("LUTData", "OW", _words(entries.astype(np.uint8).tobytes(), order))
    elif lut.data_vr == "OW":
        item.add_new("LUTData", "OW", entries.astype(f"{order}u2").tobytes())
    else:
        item.add_new("LUTData", "US", entries.tolist())
    return item


def _raw_decimal(keyword: str, text: str) -> pydicom.dataelem.RawDataElement:
    """Make a DS element of any text, without a check."""
    data = text.encode()
    tag = pydicom.tag.Tag(keyword)
    return pydicom.dataelem.RawDataElement(tag, "DS", len(data), data + b" " * (len(data) % 2), 0, False, True)


def _grey_scale(case: Case, dataset: Dataset) -> None:
    """Add the grey scale, at the root or in functional groups."""
    order = _pixel_order(case)
    modality, voi = dataset, dataset
    if case.groups != "root":
        group, modality, voi = Dataset(), Dataset(), Dataset()
        if case.modality is not None:
            group.PixelValueTransformationSequence = Sequence([modality])
        if case.windows is not None or case.voi_luts:
            group.FrameVOILUTSequence = Sequence([voi])
        shared, frame = (group, Dataset()) if case.groups == "shared" else (Dataset(), group)
        dataset.SharedFunctionalGroupsSequence = Sequence([shared])
        dataset.PerFrameFunctionalGroupsSequence = Sequence([frame])
    if isinstance(case.modality, Lut):
        item = _lut_item(case.modality, order)
        item.ModalityLUTType = "US"
        modality.ModalityLUTSequence = Sequence([item])
    elif case.modality is not None:
        modality[pydicom.tag.Tag("RescaleIntercept")] = _raw_decimal("RescaleIntercept", case.modality.intercept)
        modality[pydicom.tag.Tag("RescaleSlope")] = _raw_decimal("RescaleSlope", case.modality.slope)
        modality.RescaleType = "US"
    if case.voi_luts:
        voi.VOILUTSequence = Sequence([_lut_item(lut, order) for lut in case.voi_luts])
    if case.windows is not None:
        voi[pydicom.tag.Tag("WindowCenter")] = _raw_decimal("WindowCenter", case.windows.centres)
        voi[pydicom.tag.Tag("WindowWidth")] = _raw_decimal("WindowWidth", case.windows.widths)
        if case.windows.function:
            voi.VOILUTFunction = case.windows.function


def _padding(padding: Padding, dataset: Dataset) -> None:
    dataset.add_new("PixelPaddingValue", padding.vr, padding.value)
    if padding.limit is not None:
        dataset.add_new("PixelPaddingRangeLimit", padding.vr, padding.limit)


def _overlay(case: Case, dataset: Dataset, shape: tuple[int, int]) -> None:
    dataset.add_new(0x60000010, "US", shape[0])
    dataset.add_new(0x60000011, "US", shape[1])
    dataset.add_new(0x60000040, "CS", "G")
    dataset.add_new(0x60000050, "SS", [1, 1])
    if case.overlay == "embedded":
        dataset.add_new(0x60000100, "US", case.allocated)
        dataset.add_new(0x60000102, "US", case.allocated - 1)
    else:
        dataset.add_new(0x60000100, "US", 1)
        dataset.add_new(0x60000102, "US", 0)
        bits = np.packbits(np.random.default_rng(case.seed).integers(0, 2, shape[0] * shape[1]).astype(np.uint8))
        dataset.add_new(0x60003000, "OW", _words(bits.tobytes() + b"\0" * (bits.size % 2), _pixel_order(case)))


def header(case: Case) -> FileDataset:
    """Make the data set of a case, uncompressed, with its pixels."""
    found = truth.cells(case)
    grouped = case.groups != "root"
    sop_class = (
        uid.BreastProjectionXRayImageStorageForPresentation
        if grouped
        else uid.DigitalMammographyXRayImageStorageForPresentation
    )
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, uid.UID("2.25.1")
    dataset = FileDataset("", {}, preamble=b"\0" * 128, file_meta=meta)
    elements: dict[str, Any] = {
        "SOPClassUID": sop_class,
        "SOPInstanceUID": "2.25.1",
        "StudyInstanceUID": "2.25.2",
        "SeriesInstanceUID": "2.25.3",
        "Modality": "MG",
        "PatientName": "Conformance",
        "PatientID": "C1",
        "PatientBirthDate": "",
        "PatientSex": "F",
        "StudyDate": "",
        "StudyTime": "",
        "StudyID": "",
        "ReferringPhysicianName": "",
        "AccessionNumber": "",
        "Manufacturer": "",
        "SeriesNumber": 1,
        "InstanceNumber": 1,
        "PatientOrientation": ["P", "L"],
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "PresentationIntentType": "FOR PRESENTATION",
        "ViewPosition": "CC",
        "ImageLaterality": "R",
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME1" if case.inverse else "MONOCHROME2",
        "Rows": found.shape[0],
        "Columns": found.shape[1],
        "BitsAllocated": case.allocated,
        "BitsStored": case.stored,
        "HighBit": case.high_bit,
        "PixelRepresentation": int(case.signed),
    }
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    if grouped:
        dataset.NumberOfFrames = 1
    _grey_scale(case, dataset)
    if case.padding is not None:
        _padding(case.padding, dataset)
    if case.overlay in ("embedded", "own"):
        _overlay(case, dataset, (found.shape[0], found.shape[1]))
    data = found.astype(found.dtype.newbyteorder("<")).tobytes()
    vr = case.pixel_vr if case.encoder == "pydicom" and not case.is_encapsulated else "OW"
    # Words, of which big endian swaps the bytes even if they hold two samples of 8 bits (PS3.5 section D.3).
    dataset.add_new("PixelData", vr, _words(data, _pixel_order(case)) if vr == "OW" else data)
    return dataset
