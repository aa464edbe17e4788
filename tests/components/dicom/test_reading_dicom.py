from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import (
    MPEG2MPML,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from components.dicom.reading import (
    load_view,
    read_header,
    read_image_file,
    read_pixels,
)
from components.dicom.rejections import ANY_IMAGE, IngestError, RejectionReason
from tests.components.dicom.dicom_files import (
    BOTH,
    MakeDicom,
    as_written,
    mammogram,
    names,
    part10,
    pydicom_file,
    ramp,
    write,
)

NEMA = Path("../shared/data/nema_mg1")
REASON = RejectionReason


def reason_of(path: Path, view: str | None = None) -> RejectionReason:
    with pytest.raises(IngestError) as caught:
        load_view(path, view, 1024)
    assert str(path) in str(caught.value)
    return caught.value.reason


def test_header_reads_what_the_contract_needs(make_dicom: MakeDicom) -> None:
    header = read_header(make_dicom())
    assert (header.view, header.laterality) == ("CC_R", "R")
    assert (header.rows, header.columns, header.pixel_spacing_mm) == (64, 48, 0.1)
    assert header.system.key == "GE Senograph DS ADS 53.40"
    assert (header.patient_age, header.acquisition_year) == (58, 2019)
    assert header.acquired_at == "20190304101112"


@pytest.mark.parametrize("syntax", BOTH, ids=names(BOTH))
@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("0.1\\0.1", 0.1),
        ("0,1\\0,1", 0.1),
        ("0.1\\", 0.1),
        ("0.1", 0.1),
        (" 1E-1 \\ 1E-1 ", 0.1),
        ("0.1\\NaN", 0.1),
        ("NaN\\0.1", 0.1),
        ("\\0.1", 0.1),
        ("0\\0", 0.07),
        ("-0.1\\-0.1", 0.07),
        ("NaN\\x", 0.07),
        ("1e400", 0.07),
        ("", 0.07),
    ],
)
def test_spacing_is_that_of_the_first_element_with_a_number(
    written: str, expected: float, syntax: UID, tmp_path: Path
) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(part10(as_written(mammogram(PixelSpacing=[0.07, 0.07]), ImagerPixelSpacing=written), syntax))
    assert read_header(path).pixel_spacing_mm == expected
    assert load_view(path, None, 1024).pixel_spacing_mm == expected


def test_age_from_birth_date_where_age_is_absent(make_dicom: MakeDicom) -> None:
    assert read_header(make_dicom(PatientAge=None)).patient_age == 58
    assert read_header(make_dicom(PatientAge=None, PatientBirthDate="20500101")).patient_age == -1
    assert read_header(make_dicom(PatientAge="018M", PatientBirthDate=None)).patient_age == 1


def test_pixels_span_the_stored_bits_and_not_the_image(make_dicom: MakeDicom) -> None:
    image = ramp(top=2047)  # half of what 12 bits can hold
    grey = read_pixels(make_dicom(pixels=image))
    assert grey.dtype == np.uint16
    np.testing.assert_array_equal(grey, np.rint(image / 4095 * 65535))
    assert grey.max() == 32759


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_every_bit_depth_reaches_black_and_white(make_dicom: MakeDicom, bits: int) -> None:
    image = ramp(top=2**bits - 1)
    grey = read_pixels(make_dicom(pixels=image, BitsStored=bits, HighBit=bits - 1))
    assert (grey.min(), grey.max()) == (0, 65535)


def test_eight_bits_allocated(make_dicom: MakeDicom) -> None:
    image = ramp(top=255).astype(np.uint8)
    grey = read_pixels(make_dicom(pixels=image, BitsStored=8, HighBit=7))
    np.testing.assert_array_equal(grey, image.astype(np.uint16) * 257)


def test_monochrome1_is_inverted_over_the_full_range(make_dicom: MakeDicom) -> None:
    image = ramp(top=2047)
    upright = read_pixels(make_dicom("a.dcm", image))
    inverted = read_pixels(make_dicom("b.dcm", image, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_allclose(inverted.astype(int), 65535 - upright.astype(int), atol=1)


def test_reduction_averages_areas_and_keeps_means_and_spacing(make_dicom: MakeDicom) -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 4096, (400, 200), dtype=np.uint16)
    path = make_dicom(pixels=image)
    full, view = read_pixels(path), load_view(path, None, 100, acceptance=ANY_IMAGE)  # noise without background
    assert view.pixels.shape == (100, 50)
    assert view.pixel_spacing_mm == pytest.approx(0.4)
    blocks = full.reshape(100, 4, 50, 4).mean((1, 3))
    assert np.abs(view.pixels - blocks).max() <= 1
    assert load_view(path, None, 4096, acceptance=ANY_IMAGE).pixels.shape == (400, 200)


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=["implicit", "big endian", "deflated"],
)
def test_native_syntaxes_read_the_same_pixels(make_dicom: MakeDicom, syntax: str) -> None:
    image = ramp()
    stored = image.byteswap() if syntax == ExplicitVRBigEndian else image
    expected = read_pixels(make_dicom("a.dcm", image))
    np.testing.assert_array_equal(read_pixels(make_dicom("b.dcm", stored, TransferSyntaxUID=syntax)), expected)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_lossless_syntaxes_read_the_same_pixels(tmp_path: Path, syntax: str) -> None:
    dataset = mammogram()
    expected = read_pixels(write(dataset, tmp_path / "native.dcm"))
    dataset.compress(syntax, generate_instance_uid=False)
    np.testing.assert_array_equal(read_pixels(write(dataset, tmp_path / "small.dcm")), expected)


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_jp2klossless.dcm"])
def test_files_of_pydicom_as_mammograms(tmp_path: Path, name: str) -> None:
    """Signed 16-bit images of other makers' encoders, read as their uncompressed twin."""

    def as_mammogram(source: str) -> Path:
        dataset = pydicom.dcmread(pydicom_file(source))
        dataset.Modality, dataset.ViewPosition, dataset.Laterality = "MG", "MLO", "L"
        return write(dataset, tmp_path / source)

    assert load_view(as_mammogram(name), None, 1024).header.view == "MLO_L"
    np.testing.assert_array_equal(read_pixels(tmp_path / name), read_pixels(as_mammogram("MR_small.dcm")))


@pytest.mark.skipif(not NEMA.is_dir(), reason="needs ../shared/data")
def test_film_in_lossy_jpeg_2000_and_in_faulty_jpeg_extended() -> None:
    """One film in two lossy syntaxes; the JPEG's scan header is at fault and repaired."""
    first, second = (load_view(NEMA / f"{n}.dcm", None, 512) for n in ("MG1_J2KI", "MG1_JPLY"))
    assert first.header.view == second.header.view == "MLO_L"
    assert first.header.patient_age == 75
    difference = np.abs(first.pixels.astype(int) - second.pixels.astype(int))
    assert difference.mean() < 0.002 * 65535


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, REASON.NOT_MAMMOGRAPHY),
        ({"Modality": "CT"}, REASON.NOT_MAMMOGRAPHY),  # under a mammography SOP class
        ({"PixelData": None}, REASON.NO_PIXEL_DATA),
        ({"PixelData": None, "Rows": None, "Columns": None}, REASON.NO_PIXEL_DATA),
        ({"PixelData": b""}, REASON.NO_PIXEL_DATA),
        ({"PixelData": b"\0" * 100}, REASON.TRUNCATED),
        ({"ViewPosition": "ML"}, REASON.UNSUPPORTED_VIEW),
        ({"ViewPosition": "WONDERFUL"}, REASON.UNKNOWN_VIEW),
        ({"ViewPosition": None}, REASON.UNKNOWN_VIEW),
        ({"ImageLaterality": "B"}, REASON.UNKNOWN_VIEW),
        ({"PresentationIntentType": "FOR PROCESSING"}, REASON.FOR_PROCESSING),
        ({"NumberOfFrames": "40"}, REASON.MULTI_FRAME),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, REASON.UNSUPPORTED_IMAGE),
        ({"PhotometricInterpretation": None}, REASON.UNSUPPORTED_IMAGE),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, REASON.UNSUPPORTED_IMAGE),
        ({"BitsAllocated": 32}, REASON.UNSUPPORTED_IMAGE),
        ({"BitsStored": 0}, REASON.UNSUPPORTED_IMAGE),
        ({"HighBit": 10}, REASON.UNSUPPORTED_IMAGE),
        ({"HighBit": 16}, REASON.UNSUPPORTED_IMAGE),
        ({"Rows": 40_000, "Columns": 1}, REASON.TOO_LARGE),
        ({"Rows": 65535, "Columns": 65535}, REASON.TOO_LARGE),
        ({"Rows": 0}, REASON.MALFORMED_HEADER),
        ({"Columns": None}, REASON.MALFORMED_HEADER),
        ({"TransferSyntaxUID": MPEG2MPML, "PixelData": b"\0" * 8}, REASON.UNSUPPORTED_TRANSFER_SYNTAX),
    ],
)
def test_each_fault_has_its_own_reason(tmp_path: Path, changes: dict[str, Any], reason: RejectionReason) -> None:
    dataset = mammogram(**changes)
    if dataset.file_meta.TransferSyntaxUID == MPEG2MPML:
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
        dataset.PixelData = pydicom.encaps.encapsulate([b"movie.."])
    assert reason_of(write(dataset, tmp_path / "fault.dcm")) is reason


def test_constant_pixels_are_implausible(make_dicom: MakeDicom) -> None:
    assert reason_of(make_dicom(pixels=np.full((64, 48), 7, np.uint16))) is REASON.IMPLAUSIBLE_PIXELS


def test_files_that_are_no_dicom(tmp_path: Path) -> None:
    text = tmp_path / "letter.dcm"
    text.write_text("Dear colleague, " * 40)
    assert reason_of(text) is REASON.NOT_DICOM
    empty = tmp_path / "empty.dcm"
    empty.touch()
    assert reason_of(empty) is REASON.TRUNCATED
    assert reason_of(tmp_path / "gone.dcm") is REASON.MISSING_FILE
    assert reason_of(tmp_path) is REASON.UNREADABLE
    assert reason_of(pydicom_file("CT_small.dcm")) is REASON.NOT_MAMMOGRAPHY


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEG2000Lossless])
def test_truncated_files(tmp_path: Path, syntax: str | None) -> None:
    noise = np.random.default_rng(0).integers(0, 4096, (64, 64), dtype=np.uint16)
    dataset = mammogram(noise)
    if syntax:
        dataset.compress(syntax, generate_instance_uid=False)
    data = write(dataset, tmp_path / "whole.dcm").read_bytes()
    cut = tmp_path / "cut.dcm"
    for share in (0.5, 0.9):
        cut.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(IngestError) as caught:
            read_header(cut)  # known before any pixel is decoded
        assert caught.value.reason is REASON.TRUNCATED
    model = data.index(b"Senographe")
    for end in (model + 4, model - 5):  # inside the value of an element, inside its tag
        cut.write_bytes(data[:end])
        assert reason_of(cut) is REASON.TRUNCATED


def test_damaged_stream_is_undecodable(tmp_path: Path) -> None:
    dataset = mammogram()
    dataset.compress(JPEG2000Lossless, generate_instance_uid=False)
    dataset.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51" + bytes(range(60))])
    assert reason_of(write(dataset, tmp_path / "bad.dcm")) is REASON.UNDECODABLE_PIXELS


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_stream_of_another_size_than_the_header_is_not_decoded(tmp_path: Path, syntax: str) -> None:
    dataset = mammogram()
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.Rows = 32
    assert reason_of(write(dataset, tmp_path / "bomb.dcm")) is REASON.UNDECODABLE_PIXELS


def test_error_names_all_and_survives_pickling(make_dicom: MakeDicom) -> None:
    path = make_dicom(Modality="CT", SOPClassUID="1.2.840.10008.5.1.4.1.1.2")
    with pytest.raises(IngestError) as caught:
        read_header(path)
    error = pickle.loads(pickle.dumps(caught.value))
    assert (error.reason, error.tag, error.value) == (REASON.NOT_MAMMOGRAPHY, "Modality (0008,0060)", "CT")
    assert str(error).startswith(f"{path}: not_mammography, Modality (0008,0060) is CT; Modality MG, ")
    assert error.rejection("a/b.dcm").message.startswith("a/b.dcm: ")


def test_no_error_echoes_an_identity(tmp_path: Path) -> None:
    identifying = {"PatientID": "PAT-4711", "StudyInstanceUID": "1.2.3.4"}
    for changes in ({"Modality": "CT", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2"}, {"ViewPosition": None}):
        path = write(mammogram(**changes, **identifying), tmp_path / "x.dcm")
        with pytest.raises(IngestError) as caught:
            read_header(path)
        message = str(caught.value).replace(str(path), "")
        assert not any(text in message for text in ("4711", "Rossi", "1.2.3.4", "ACC7", "19601231"))


def test_a_view_named_by_a_manifest_overrides_the_header(make_dicom: MakeDicom) -> None:
    assert load_view(make_dicom(ViewPosition="ML"), "MLO_L", 1024).header.view == "MLO_L"
    with pytest.raises(ValueError, match="view must be one of"):
        read_header(make_dicom(), "LCC")


def test_png_and_jpeg_by_content(tmp_path: Path) -> None:
    image = ramp(top=65535)
    path = tmp_path / "grey.dcm"  # a wrong suffix does not matter
    path.write_bytes(cv2.imencode(".png", image)[1].tobytes())
    view = load_view(path, "MLO_R", 1024)
    np.testing.assert_array_equal(view.pixels, image)
    assert (view.header.view, view.header.rows, view.pixel_spacing_mm) == ("MLO_R", 64, 0.0)
    assert reason_of(path) is REASON.UNKNOWN_VIEW

    eight = (image >> 8).astype(np.uint8)
    path.write_bytes(cv2.imencode(".png", cv2.merge([eight] * 3))[1].tobytes())
    np.testing.assert_array_equal(read_image_file(path), eight.astype(np.uint16) * 257)

    jpeg = cv2.imencode(".jpg", eight)[1].tobytes()
    # EXIF: orientation 6 (rotated by 90 degrees), which must not turn the matrix
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    path.write_bytes(jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + jpeg[2:])
    assert read_image_file(path).shape == (64, 48)
    path.write_bytes(jpeg[:-100])
    assert reason_of(path, "CC_L") is REASON.TRUNCATED
    path.write_bytes(b"\xff\xd8\xff" + bytes(100))
    assert reason_of(path, "CC_L") is REASON.UNDECODABLE_PIXELS


def test_samples_in_the_high_bits_of_a_file(make_dicom: MakeDicom) -> None:
    image = ramp()
    shifted = make_dicom("high.dcm", image << 4 | 3, HighBit=15)
    np.testing.assert_array_equal(read_pixels(shifted), read_pixels(make_dicom("low.dcm", image)))


def test_the_window_that_is_asked_for(make_dicom: MakeDicom) -> None:
    path = make_dicom(WindowCenter=["1000", "3000"], WindowWidth=["500", "200"])
    one = make_dicom("one.dcm", WindowCenter="3000", WindowWidth="200")
    found = load_view(path, None, 1024, voi_index=1).pixels
    np.testing.assert_array_equal(found, load_view(one, None, 1024).pixels)
    assert (found != load_view(path, None, 1024).pixels).any()


def tiff(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path, "TIFF", **options)
    return path


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_tiff_by_content(tmp_path: Path, compression: str) -> None:
    image = ramp(top=65535)
    np.testing.assert_array_equal(read_image_file(tiff(tmp_path / "16", image, compression=compression)), image)
    eight = (image >> 8).astype(np.uint8)
    path = tiff(tmp_path / "8", eight, compression=compression)
    np.testing.assert_array_equal(load_view(path, "MLO_L", 1024).pixels, eight.astype(np.uint16) * 257)
    assert reason_of(path) is REASON.UNKNOWN_VIEW
    path.write_bytes(path.read_bytes()[:-900])
    assert reason_of(path, "CC_L") in (REASON.TRUNCATED, REASON.UNDECODABLE_PIXELS)


def test_tiff_of_either_byte_order_colour_and_white_zero(tmp_path: Path) -> None:
    image = ramp(top=65535)
    big = tiff(tmp_path / "big", image.astype(">u2"))
    assert big.read_bytes().startswith(b"MM")
    np.testing.assert_array_equal(read_image_file(big), image)
    eight = (image >> 8).astype(np.uint8)
    grey = eight.astype(np.uint16) * 257
    np.testing.assert_array_equal(read_image_file(tiff(tmp_path / "rgb", np.dstack([eight] * 3))), grey)
    white_is_zero = {262: 0}
    found = read_image_file(tiff(tmp_path / "white 16", image, tiffinfo=white_is_zero))
    np.testing.assert_array_equal(found, 65535 - image)
    inverted = read_image_file(tiff(tmp_path / "white 8", eight))
    data = bytearray((tmp_path / "white 8").read_bytes())
    at = data.index(b"\x06\x01\x03\0\x01\0\0\0")
    assert data[at + 8] == 1  # black is zero
    data[at + 8] = 0
    (tmp_path / "white 8").write_bytes(data)
    np.testing.assert_array_equal(read_image_file(tmp_path / "white 8"), 65535 - inverted)


def test_tiffs_that_are_refused(tmp_path: Path) -> None:
    image = ramp(top=65535)
    pages = tiff(tmp_path / "pages", image, save_all=True, append_images=[Image.fromarray(image)])
    assert reason_of(pages, "CC_R") is REASON.MULTI_FRAME
    assert reason_of(tiff(tmp_path / "float", image.astype(np.float32)), "CC_R") is REASON.UNSUPPORTED_IMAGE
    colour = tmp_path / "colour"
    colour.write_bytes(cv2.imencode(".tiff", cv2.merge([image] * 3))[1].tobytes())
    assert reason_of(colour, "CC_R") is REASON.UNSUPPORTED_IMAGE  # Pillow would cut it to 8 bits
    large = tiff(tmp_path / "large", np.zeros((3000, 3000), np.uint8), compression="tiff_lzw")
    with pytest.raises(IngestError) as caught:
        load_view(large, "CC_R", 1024, max_pixels=1_000_000)
    assert caught.value.reason is REASON.TOO_LARGE


def test_image_bombs_are_refused_before_decoding(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(cv2.imencode(".png", np.zeros((3000, 3000), np.uint8))[1].tobytes())
    with pytest.raises(IngestError) as caught:
        load_view(path, "CC_R", 1024, max_pixels=1_000_000)
    assert caught.value.reason is REASON.TOO_LARGE


def test_the_reader_warns_of_nothing_on_a_sound_file(make_dicom: MakeDicom) -> None:
    path = make_dicom()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_view(path, None, 1024)
