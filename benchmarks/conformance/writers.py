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
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_fragments

from benchmarks.conformance import truth
from benchmarks.conformance.cases import LOSSY, Case
from benchmarks.conformance.headers import header
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
    """Return the path of a program; None if it is absent. GDCM's is that of python-gdcm, the decoder under test."""
    if name.startswith("gdcm"):
        found = importlib.util.find_spec("_gdcm")
        own = None if found is None or found.origin is None else Path(found.origin).with_name(name)
        if own is not None and own.exists():
            return str(own)
    return shutil.which(name)


def run(name: str, *arguments: str | Path, environment: dict[str, str] | None = None) -> None:
    """Run a program.

    Raises:
        UnwritableError: It is absent or fails.
    """
    path = program(name)
    if path is None:
        raise UnwritableError(f"{name} is absent")
    done = subprocess.run([path, *arguments], capture_output=True, timeout=_SECONDS, env=environment)
    if done.returncode:
        raise UnwritableError(f"{name}: {done.stderr.decode(errors='replace').strip()[:200]}")


def file_bytes(dataset: FileDataset, syntax: str, as_implicit: bool = False) -> bytes:
    """Write a data set in a transfer syntax whose pixels it has already."""
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
    """Cut a frame into items, behind a Basic Offset Table of the kind that the case names (PS3.5 section A.4)."""
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
    """Return the code stream of a file's only frame."""
    return b"".join(list(generate_fragments(pydicom.dcmread(io.BytesIO(data)).PixelData))[1:])


def _refragmented(data: bytes, case: Case) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(data))
    dataset.PixelData = fragmented(_stream(data), case)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return file_bytes(dataset, case.syntax)


def write(case: Case, folder: Path) -> Path:
    """Write a case.

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
