"""LUT sequences from files: every VR and transfer syntax, compared with pydicom's own readers of the same file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import UID, ExplicitVRBigEndian

from components.dicom.reading import read_header, read_pixels
from components.dicom.rejections import IngestError, RejectionReason
from tests.components.dicom.dicom_files import BOTH, NATIVE, mammogram, names, part10

CURVE: Final = np.round(4095 / (1 + np.exp(-4 * (np.arange(4096) - 1500) / 2500))).astype(int)


def lut(values: Any, first: int, bits: int, vr: str, syntax: UID, descriptor_vr: str = "US") -> Dataset:
    """Return an item of a LUT sequence whose data have this VR."""
    item = Dataset()
    item.add_new("LUTDescriptor", descriptor_vr, [len(values) % 65536, first, bits])
    words = np.asarray(values, ">u2" if syntax == ExplicitVRBigEndian else "<u2")
    if vr == "SS":  # the same bits with a signed VR, as some systems write them
        words = words.view(words.dtype.str.replace("u", "i"))
    item.add_new("LUTData", vr, words.tobytes() if vr == "OW" else [int(v) for v in words])
    return item


def image(signed: bool, syntax: UID, **changes: Any) -> Dataset:
    stored = np.linspace(-2048 if signed else 0, 2047 if signed else 4095, 64 * 64).round().reshape(64, 64)
    kind = ("i2" if signed else "u2") if syntax != ExplicitVRBigEndian else (">i2" if signed else ">u2")
    return mammogram(
        stored.astype(kind), PixelRepresentation=int(signed), PixelData=stored.astype(kind).tobytes(), **changes
    )


def written(folder: Path, dataset: Dataset, syntax: UID) -> Path:
    path = folder / "a.dcm"
    path.write_bytes(part10(dataset, syntax))
    return path


@pytest.mark.parametrize("syntax", NATIVE, ids=names(NATIVE))
@pytest.mark.parametrize("vr", ["US", "OW", "SS"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
def test_a_lut_of_a_file_gives_pydicoms_grey(sequence: str, signed: bool, vr: str, syntax: UID, tmp_path: Path) -> None:
    bits = 12 if sequence == "VOILUTSequence" else 16  # pydicom has no modality LUT of 12 bits
    item = lut(CURVE << (bits - 12), -2048 if signed else 0, bits, vr, syntax, "SS" if signed else "US")
    path = written(tmp_path, image(signed, syntax, **{sequence: [item]}), syntax)
    read = dcmread(path)
    if vr == "SS":
        data = getattr(read, sequence)[0]["LUTData"]
        data.VR, data.value = "US", [int(v) << (bits - 12) for v in CURVE]
    expected = apply_voi_lut(apply_modality_lut(read.pixel_array, read), read) / ((1 << bits) - 1) * 65535
    read_header(path)
    np.testing.assert_array_equal(read_pixels(path), np.rint(expected).astype(np.uint16))


@pytest.mark.parametrize("syntax", BOTH, ids=names(BOTH))
@pytest.mark.parametrize("entries", [1, 3])
def test_tables_of_one_and_of_an_odd_number_of_entries(entries: int, syntax: UID, tmp_path: Path) -> None:
    values = [1000, 2000, 3000][:entries]
    path = written(tmp_path, image(False, syntax, VOILUTSequence=[lut(values, 7, 12, "US", syntax)]), syntax)
    if entries == 1:  # every value is mapped to the same entry, so the picture is uniform
        assert set(read_pixels(path).ravel()) == {round(1000 / 4095 * 65535)}
    else:
        read = dcmread(path)
        expected = np.rint(apply_voi_lut(read.pixel_array, read) / 4095 * 65535)
        np.testing.assert_array_equal(read_pixels(path), expected)


@pytest.mark.parametrize("syntax", BOTH, ids=names(BOTH))
@pytest.mark.parametrize("sequence", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("damage", ["short", "no data", "no descriptor", "two numbers", "17 bits"])
def test_a_lut_that_cannot_be_used_is_refused_by_its_header(
    damage: str, sequence: str, syntax: UID, tmp_path: Path
) -> None:
    item = lut(CURVE, 0, 12, "US", syntax)
    if damage == "short":
        item.LUTData = [int(v) for v in CURVE[:-1]]
    elif damage == "no data":
        del item.LUTData
    elif damage == "no descriptor":
        del item.LUTDescriptor
    else:
        item["LUTDescriptor"].value = [4096, 0] if damage == "two numbers" else [4096, 0, 17]
    path = written(tmp_path, image(False, syntax, **{sequence: [item]}), syntax)
    for read in (read_header, read_pixels):
        with pytest.raises(IngestError) as error:
            read(path)
        assert error.value.reason is RejectionReason.MALFORMED_HEADER
