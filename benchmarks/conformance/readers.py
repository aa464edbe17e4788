"""Readers of grey, ours and those that others wrote, each with the interval that its rounding leaves open.

A reader answers two images, lowest and highest grey (0..65535, bright = dense), between which the true grey lies:

* ``pydicom`` 3: ``pixel_array``, ``apply_modality_lut``, ``apply_voi_lut`` or ``apply_windowing``. Floats; we round to
  whole greys, so the interval is +-1.
* ``gdcm``: stored values by GDCM's own parser and decoders, then the same functions. +-1.
* ``highdicom``: ``Image.get_frame`` with all its transforms; the only one that knows functional groups. +-1.
* ``dcmtk``: ``dcmj2pnm`` with 16-bit output. It maps n input values to ``floor(k * 65536 / n)`` where the standard's
  last value is white: the true grey ``k * 65535 / (n - 1)`` lies up to ``65536 / n`` above (one step of the input, by
  which k is still told apart from its neighbours). Windows are mapped to the full output: +-2; SIGMOID: +-4, for dcmtk
  rounds its curve in a table.

* ``the standard``: the letter of its text, see ``truth``.

Lossy decoders may differ by one stored value (two for the float transforms of JPEG 2000), which a steep window makes
many greys; so intervals are then wider by the greys of the values beside each.
"""

from __future__ import annotations

import subprocess
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing

from benchmarks.conformance import truth
from benchmarks.conformance.cases import NATIVE, Case, Lut, output_range
from benchmarks.conformance.truth import WHITE
from benchmarks.conformance.writers import UnwritableError, program, run
from components.dicom.dicom_file import decode_dicom, open_dicom
from components.dicom.reading import read_pixels
from components.dicom.rejections import ANY_IMAGE, DEFAULT_MAX_PIXELS

Interval = tuple[NDArray[Any], NDArray[Any]]

_SECONDS: Final = 60
_OF_DCMJ2PNM: Final = ("RLELossless", "JPEGBaseline8Bit", "JPEGExtended12Bit", "JPEGLossless", "JPEGLosslessSV1")
_SPREAD: Final = {"JPEG2000": 2, "HTJ2K": 2}


class NoAnswerError(Exception):
    """A reader refuses a file, or is not for it."""


def ours(path: Path, case: Case) -> NDArray[Any]:
    """Read a file as ingest does, uint16 [H, W].

    Raises:
        IngestError: It is refused.
    """
    if case.voi_index == 0:
        return read_pixels(path)
    with path.open("rb") as stream:
        image = open_dicom(stream, path.name, None, DEFAULT_MAX_PIXELS, ANY_IMAGE)
        return decode_dicom(image, path.name, case.voi_index).grey


def _grey_by_pydicom(stored: NDArray[Any], dataset: Dataset, index: int) -> NDArray[Any]:
    """Turn stored values into grey with pydicom's functions, float64 in 0..65535."""
    # In more bits: pydicom would subtract the first input value of a LUT in the type of the pixels, and overflow.
    values = apply_modality_lut(stored.astype(np.int32), dataset)
    bits = dataset.BitsStored
    low = -(1 << (bits - 1)) if dataset.PixelRepresentation else 0
    if "ModalityLUTSequence" in dataset:
        first, last = 0.0, float((1 << dataset.ModalityLUTSequence[0].LUTDescriptor[2]) - 1)
    else:
        slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
        first, last = sorted(end * slope + intercept for end in (low, low + (1 << bits) - 1))
    if "VOILUTSequence" in dataset:
        index = index if index < len(dataset.VOILUTSequence) else 0
        top = (1 << dataset.VOILUTSequence[index].LUTDescriptor[2]) - 1
        fraction = apply_voi_lut(values, dataset, index) / top
    elif "WindowCenter" in dataset:
        several = dataset["WindowCenter"].VM
        windowed = apply_windowing(values, dataset, index if index < several else 0)
        fraction = (windowed - first) / (last - first)
    else:
        fraction = (values - first) / (last - first)
    fraction = np.clip(fraction, 0, 1)
    result: NDArray[Any] = (1 - fraction if dataset.PhotometricInterpretation == "MONOCHROME1" else fraction) * WHITE
    return result


def _around(stored: NDArray[Any], dataset: Dataset, case: Case) -> Interval:
    spread = _lossy_spread(stored, case)
    grey = _grey_by_pydicom(stored, dataset, case.voi_index)
    return grey - 1 - spread, grey + 1 + spread


def _lossy_spread(stored: NDArray[Any], case: Case) -> NDArray[Any] | float:
    """Return how far apart, in grey, the neighbours of stored values lie where an image is lossy."""
    if not case.is_lossy:
        return 0.0
    low, high = truth.grey_around(case, stored, _SPREAD.get(case.syntax, 1))
    result: NDArray[Any] | float = high - low
    return result


def by_standard(path: Path, case: Case) -> Interval:
    """Compute the grey by the letter of the standard; of lossy images from what pydicom decodes."""
    if not case.is_lossy:
        return truth.grey(case)
    stored = pydicom.dcmread(path).pixel_array
    return truth.grey_around(case, stored, _SPREAD.get(case.syntax, 1))


def by_pydicom(path: Path, case: Case) -> Interval:
    """Read with pydicom only."""
    dataset = pydicom.dcmread(path)
    return _around(dataset.pixel_array, dataset, case)


def by_gdcm(path: Path, case: Case) -> Interval:
    """Read the stored values with GDCM, and their grey with pydicom."""
    # In a process of its own: an exception of GDCM ends the process that it is thrown in.
    target = path.with_name("gdcm.dcm")
    target.unlink(missing_ok=True)
    try:
        run("gdcmconv", "--raw", path, target)
    except UnwritableError as error:
        raise NoAnswerError(str(error)) from error
    stored = pydicom.dcmread(target)
    return _around(stored.pixel_array, pydicom.dcmread(path, stop_before_pixels=True), case)


def by_highdicom(path: Path, case: Case) -> Interval:
    """Read with highdicom."""
    import highdicom

    image = highdicom.imread(path)
    frame = image.get_frame(
        1,
        apply_real_world_transform=False,
        apply_modality_transform=None,
        apply_voi_transform=None,
        voi_transform_selector=case.voi_index,
        voi_output_range=(0.0, 1.0),
        apply_presentation_lut=True,
    )
    if not case.voi_luts and case.windows is None:
        first, last = output_range(case)
        # Without a VOI transform highdicom inverts by turning the range of the image itself round.
        if case.inverse:
            raise NoAnswerError("highdicom inverts over the image's own range where there is no VOI transform")
        frame = (frame - first) / (last - first)
    spread = 1 + (_lossy_spread(pydicom.dcmread(path).pixel_array, case) if case.is_lossy else 0.0)
    return frame * WHITE - spread, frame * WHITE + spread


def _uncompressed(path: Path, case: Case) -> Path:
    """Decode with dcmtk's own program where ``dcmj2pnm`` does not."""
    if case.syntax in NATIVE or case.syntax in _OF_DCMJ2PNM:
        return path
    if not case.syntax.startswith("JPEGLS"):
        raise NoAnswerError("dcmtk has no JPEG 2000")
    target, name = path.with_name("dcmtk.dcm"), program("dcmdjpls")
    if name is None:
        raise NoAnswerError("dcmdjpls is absent")
    if subprocess.run([name, path, target], capture_output=True, timeout=_SECONDS).returncode:
        raise NoAnswerError("dcmdjpls refuses it")
    return target


def by_dcmtk(path: Path, case: Case) -> Interval:
    """Read with dcmtk."""
    name = program("dcmj2pnm")
    if name is None:
        raise NoAnswerError("dcmj2pnm is absent")
    output, source = path.with_name("dcmtk.png"), _uncompressed(path, case)
    output.unlink(missing_ok=True)
    number = str(case.voi_index + 1)
    option: tuple[str, ...] = ("-W",)
    steps = float(1 << (case.modality.bits if isinstance(case.modality, Lut) else case.stored))
    spread: NDArray[Any] | float = 1.0
    if case.voi_luts:
        chosen = case.voi_index if case.voi_index < len(case.voi_luts) else 0
        option, steps = ("+Wl", str(chosen + 1)), float(1 << case.voi_luts[chosen].bits)
    elif case.windows is not None:
        several = len(case.windows.centres.split("\\"))
        option, steps = ("+Wi", number if case.voi_index < several else "1"), 65536.0
        spread = 4.0 if case.windows.function == "SIGMOID" else 2.0
    done = subprocess.run([name, "-q", *option, "-O", "+on2", source, output], capture_output=True, timeout=_SECONDS)
    if done.returncode or not output.exists():
        raise NoAnswerError("dcmj2pnm refuses it")
    picture = cv2.imread(str(output), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise NoAnswerError("dcmj2pnm writes no picture")
    grey = picture.astype(np.float64)
    if case.is_lossy:
        spread = spread + _lossy_spread(pydicom.dcmread(path).pixel_array, case)
    room = 65536 / steps - 1
    return (grey - spread - room, grey + spread) if case.inverse else (grey - spread, grey + spread + room)


STANDARD: Final = "the standard"
READERS: Final[dict[str, Callable[[Path, Case], Interval]]] = {
    STANDARD: by_standard,
    "pydicom": by_pydicom,
    "gdcm": by_gdcm,
    "highdicom": by_highdicom,
    "dcmtk": by_dcmtk,
}


def read(name: str, path: Path, case: Case) -> Interval:
    """Read with one of ``READERS``.

    Raises:
        NoAnswerError: The reader refuses the file, is absent, or is not for it.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return READERS[name](path, case)
        except NoAnswerError:
            raise
        except Exception as error:  # whatever a reader raises, it gave no answer
            raise NoAnswerError(f"{type(error).__name__}: {error}"[:160]) from error
