"""Writes cases to disk as DICOM Part 10 files, with programs that others wrote wherever they can.

The header and the cells come from pydicom. The transfer syntax comes from pydicom, dcmtk (``dcmconv``, ``dcmcrle``,
``dcmcjpeg``, ``dcmcjpls``), GDCM (``gdcmconv``), OpenCV, or from a kept stream of another encoder; ``dump2dcm`` makes
whole files from text. Only what no program writes on purpose is made by hand: fragments and strange offset tables.
"""

from __future__ import annotations

import importlib.util
import io
import shutil
import struct
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pydicom
from pydicom import uid
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_fragments
from pydicom.sequence import Sequence

from benchmarks.conformance import truth
from benchmarks.conformance.cases import LOSSY, Case, Lut, Padding
from benchmarks.reference_images import reference_streams

_STREAMS: Final = {
    "JPEGExtended12Bit": "jpeg-extended-12u",
    "JPEGLossless": "jpeg-lossless-6-12u",
    "HTJ2KLossless": "htj2k-lossless-12u",
    "HTJ2K": "htj2k-lossy-12u",
}
_PYDICOM_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "JPEGLSNearLossless": {"jls_error": 2},
    "JPEG2000": {"j2k_cr": [4]},
}
_DCMTK: Final[dict[str, tuple[str, ...]]] = {
    "ImplicitVRLittleEndian": ("dcmconv", "+ti"),
    "ExplicitVRLittleEndian": ("dcmconv", "+te"),
    "ExplicitVRBigEndian": ("dcmconv", "+tb"),
    "DeflatedExplicitVRLittleEndian": ("dcmconv", "+td"),
    "RLELossless": ("dcmcrle",),
    "JPEGBaseline8Bit": ("dcmcjpeg", "+eb", "+ud"),
    "JPEGExtended12Bit": ("dcmcjpeg", "+ee", "+ud"),
    "JPEGLossless": ("dcmcjpeg", "+el"),
    "JPEGLosslessSV1": ("dcmcjpeg", "+e1"),
    "JPEGLSLossless": ("dcmcjpls", "+el"),
    "JPEGLSNearLossless": ("dcmcjpls", "+en"),
}
_GDCM: Final = {
    "ImplicitVRLittleEndian": "--implicit",
    "ExplicitVRLittleEndian": "--explicit",
    "DeflatedExplicitVRLittleEndian": "--deflated",
    "RLELossless": "--rle",
    "JPEGLosslessSV1": "--jpeg",
    "JPEGLSLossless": "--jpegls",
    "JPEG2000Lossless": "--j2k",
}
_SECONDS: Final = 60


class UnwritableError(Exception):
    """A program refuses to write a case; the message says which."""


@lru_cache
def program(name: str) -> str | None:
    """Finds a program: of GDCM that of python-gdcm, whose decoder reads too; None where it is absent."""
    if name.startswith("gdcm"):
        found = importlib.util.find_spec("_gdcm")
        own = None if found is None or found.origin is None else Path(found.origin).with_name(name)
        if own is not None and own.exists():
            return str(own)
    return shutil.which(name)


def run(name: str, *arguments: str | Path, environment: dict[str, str] | None = None) -> None:
    """Runs a program.

    Raises:
        UnwritableError: It is absent or fails.
    """
    path = program(name)
    if path is None:
        raise UnwritableError(f"{name} is absent")
    done = subprocess.run([path, *arguments], capture_output=True, timeout=_SECONDS, env=environment)
    if done.returncode:
        raise UnwritableError(f"{name}: {done.stderr.decode(errors='replace').strip()[:200]}")


# ---- Header


def _pixel_order(case: Case) -> str:
    return ">" if case.syntax == "ExplicitVRBigEndian" and case.encoder == "pydicom" else "<"


def _words(data: bytes, order: str) -> bytes:
    """Puts bytes that lie as little endian into the byte order of OW."""
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
    """Makes a DS element of any text, without a check."""
    data = text.encode()
    tag = pydicom.tag.Tag(keyword)
    return pydicom.dataelem.RawDataElement(tag, "DS", len(data), data + b" " * (len(data) % 2), 0, False, True)


def _grey_scale(case: Case, dataset: Dataset) -> None:
    """Adds the grey scale, at the root or in functional groups."""
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
    """Makes the data set of a case, uncompressed, with its pixels."""
    found = truth.cells(case)
    grouped = case.groups != "root"
    sop_class = (
        uid.BreastProjectionXRayImageStorageForPresentation
        if grouped
        else uid.DigitalMammographyXRayImageStorageForPresentation
    )
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = sop_class, "2.25.1"
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


# ---- Transfer syntaxes


def file_bytes(dataset: FileDataset, syntax: str, as_implicit: bool = False) -> bytes:
    """Writes a data set in a transfer syntax whose pixels it has already."""
    target = uid.UID(getattr(uid, syntax))
    dataset.file_meta.TransferSyntaxUID = target
    little = target != uid.ExplicitVRBigEndian
    buffer = io.BytesIO()
    options = {"implicit_vr": True, "little_endian": True} if as_implicit else {}
    if not options:
        options = {"implicit_vr": target.is_implicit_VR, "little_endian": little}
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True, **options)
    return buffer.getvalue()


def _by_pydicom(case: Case) -> bytes:
    dataset = header(case)
    if case.is_encapsulated:
        target = uid.UID(getattr(uid, case.syntax))
        options = _PYDICOM_OPTIONS.get(case.syntax, {})
        try:
            dataset.compress(target, generate_instance_uid=False, **options)
        except (ValueError, RuntimeError, NotImplementedError) as error:
            raise UnwritableError(f"pydicom: {error}"[:200]) from error
    return file_bytes(dataset, case.syntax)


def _by_opencv(case: Case) -> bytes:
    stream = cv2.imencode(".jpg", truth.cells(case), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    return _with_stream(case, stream)


def _with_stream(case: Case, stream: bytes) -> bytes:
    dataset = header(case)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return file_bytes(dataset, case.syntax)


def _by_program(case: Case, folder: Path) -> bytes:
    source, target = folder / "source.dcm", folder / "target.dcm"
    source.write_bytes(file_bytes(header(case), "ExplicitVRLittleEndian"))
    target.unlink(missing_ok=True)
    if case.encoder == "dcmtk":
        name, *options = _DCMTK[case.syntax]
        if case.syntax == "JPEGLossless":
            options += ["+sv", str(2 + case.seed % 6)]
        run(name, *options, source, target)
    elif case.encoder == "gdcm":
        run("gdcmconv", _GDCM[case.syntax], source, target)
    else:
        text = folder / "source.txt"
        dump, done = program("dcmdump"), None
        if dump is not None:
            done = subprocess.run([dump, "+L", "+Qn", "-dc", source], capture_output=True, timeout=_SECONDS)
        if done is None or done.returncode:
            raise UnwritableError("dcmdump is absent or fails")
        text.write_bytes(done.stdout)
        run("dump2dcm", "+l", "1048576", "+te", text, target)
    if not target.exists():
        raise UnwritableError(f"{case.encoder} wrote nothing")
    data = target.read_bytes()
    # dcmcjpeg renders a lossy image anew and drops the LUTs that it thinks it has applied: we take its stream alone.
    return _with_stream(case, _stream(data)) if case.encoder == "dcmtk" and case.syntax in LOSSY else data


# ---- Fragments


def _item(data: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, len(data)) + data


def fragmented(stream: bytes, case: Case) -> bytes:
    """Cuts a frame into items, behind a Basic Offset Table of the kind that the case names (PS3.5 section A.4)."""
    stream += b"\0" * (len(stream) % 2)
    step = -(-len(stream) // case.fragments // 2) * 2
    parts = [stream[i : i + step] for i in range(0, len(stream), step)]
    starts = np.cumsum([0, *(len(part) + 8 for part in parts[:-1])])
    offsets = {
        "empty": [],
        "one": [0],
        "each": starts.tolist(),
        "junk": [7, 0xFFFFFFF0, 3][: 1 + case.seed % 3],
    }[case.offsets]
    table = _item(struct.pack(f"<{len(offsets)}L", *offsets))
    return table + b"".join(map(_item, parts)) + struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def _stream(data: bytes) -> bytes:
    """Returns the code stream of a file's only frame."""
    return b"".join(list(generate_fragments(pydicom.dcmread(io.BytesIO(data)).PixelData))[1:])


def _refragmented(data: bytes, case: Case) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.PixelData = fragmented(_stream(data), case)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return file_bytes(dataset, case.syntax)


def write(case: Case, folder: Path) -> Path:
    """Writes a case.

    Args:
        case: What to write.
        folder: Folder for the file and what is made on the way.

    Returns:
        The file.

    Raises:
        UnwritableError: The encoder cannot write it, or is absent.
    """
    if case.encoder == "pydicom":
        data = _by_pydicom(case)
    elif case.encoder == "opencv":
        data = _by_opencv(case)
    elif case.encoder == "stream":
        data = _with_stream(case, reference_streams()[_STREAMS[case.syntax]])
    else:
        data = _by_program(case, folder)
    if case.fragments > 1 or case.offsets != "empty":
        data = _refragmented(data, case)
    path = folder / "case.dcm"
    path.write_bytes(data)
    return path
