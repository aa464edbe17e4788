"""Compressed streams that hold whole cells: an overlay in the unused bits, or samples in the high ones."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from components.dicom.reading import load_view, read_pixels
from components.dicom.remarks import Remark
from tests.components.dicom.dicom_files import mammogram
from tests.components.dicom.grey.test_stored_values import annotation, breast

ENCODERS = {
    JPEG2000Lossless: lambda cells: imagecodecs.jpeg2k_encode(cells, level=0, codecformat="j2k"),
    JPEGLosslessSV1: lambda cells: imagecodecs.ljpeg_encode(cells, bitspersample=16),
    JPEGLSLossless: imagecodecs.jpegls_encode,
}


def written(folder: Path, cells: np.ndarray, syntax: UID, high_bit: int) -> Path:
    dataset = mammogram(cells, HighBit=high_bit)
    if syntax == RLELossless:
        dataset.compress(syntax, generate_instance_uid=False)
    else:
        dataset.PixelData = encapsulate([bytes(ENCODERS[syntax](cells))])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
    path = folder / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", [*ENCODERS, RLELossless], ids=lambda syntax: syntax.keyword)
def test_an_overlay_in_a_bit_of_the_stream_is_cut_off(syntax: UID, tmp_path: Path) -> None:
    stored = breast(4095)
    cells = (stored | annotation(stored.shape) << 15).astype(np.uint16)
    path = written(tmp_path, cells, syntax, 11)
    np.testing.assert_array_equal(read_pixels(path), np.rint(stored / 4095 * 65535))
    assert Remark.UNUSED_BITS_SET in load_view(path, None, 1024).remarks


@pytest.mark.parametrize("syntax", [*ENCODERS, RLELossless], ids=lambda syntax: syntax.keyword)
def test_samples_in_the_high_bits_of_a_stream(syntax: UID, tmp_path: Path) -> None:
    stored = breast(4095)
    path = written(tmp_path, (stored << 4).astype(np.uint16), syntax, 15)
    np.testing.assert_array_equal(read_pixels(path), np.rint(stored / 4095 * 65535))
