"""File meta information with another encoding than the data set: the data set is read as written, with a remark."""

from __future__ import annotations

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from components.dicom.bounded_stream import Encoding, encoding_of
from components.dicom.reading import load_view, read_header, read_pixels
from components.dicom.rejections import AcceptanceConfig, IngestError, RejectionReason
from components.dicom.remarks import Remark
from tests.components.dicom.dicom_files import NATIVE, mammogram, names, part10, ramp

ANY_SIZE = AcceptanceConfig(ample_side=1, ample_spacing_mm=1000)  # no remark on small matrices


def in_syntax(syntax: UID) -> bytes:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    curve = np.round(4095 * np.linspace(0, 1, 4096) ** 2).astype(f"{order}u2")
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [4096, 0, 12])
    item.add_new("LUTData", "OW", curve.tobytes())
    return part10(mammogram(ramp().astype(f"{order}u2"), VOILUTSequence=[item]), syntax)


def relabelled(data: bytes, says: UID | None) -> bytes:
    """Replace the file meta information by one with another transfer syntax, or without one."""
    stream = io.BytesIO(data)
    meta = dcmread(stream, stop_before_pixels=True).file_meta
    start = 132 + 12 + meta.FileMetaInformationGroupLength
    if says is None:
        del meta.TransferSyntaxUID
    else:
        meta.TransferSyntaxUID = says
    del meta.FileMetaInformationGroupLength
    written = Dataset()
    written.update(meta)
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = False, True
    write_dataset(out, written)
    body = out.getvalue()
    length = b"\x02\x00\x00\x00UL\x04\x00" + len(body).to_bytes(4, "little")
    return data[:132] + length + body + data[start:]


SAYS = (*NATIVE, None)


@pytest.mark.parametrize("says", SAYS, ids=[*names(NATIVE), "nothing"])
@pytest.mark.parametrize("syntax", NATIVE, ids=names(NATIVE))
def test_a_data_set_is_read_as_it_is_written(syntax: UID, says: UID | None, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(in_syntax(ExplicitVRLittleEndian))
    expected = read_pixels(path)
    path.write_bytes(relabelled(in_syntax(syntax), says))
    np.testing.assert_array_equal(read_pixels(path), expected)
    told = () if says == syntax else (Remark.OTHER_VR_ENCODING,)
    assert read_header(path).remarks == told
    assert load_view(path, None, 1024, acceptance=ANY_SIZE).remarks == told


@pytest.mark.parametrize("says", [RLELossless, None, ImplicitVRLittleEndian])
def test_compressed_pixels_in_a_data_set_of_implicit_vr(says: UID | None, tmp_path: Path) -> None:
    plain = mammogram(ramp())
    plain.compress(RLELossless, generate_instance_uid=False)
    path = tmp_path / "a.dcm"
    path.write_bytes(relabelled(part10(plain, ImplicitVRLittleEndian), says))
    np.testing.assert_array_equal(read_pixels(path), np.rint(ramp() / 4095 * 65535))
    assert (Remark.OTHER_VR_ENCODING in read_header(path).remarks) == (says != ImplicitVRLittleEndian)


@pytest.mark.parametrize("syntax", NATIVE[:2], ids=names(NATIVE[:2]))
def test_pixels_that_are_not_compressed_under_the_name_of_a_compression(syntax: UID, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(in_syntax(syntax))
    expected = read_pixels(path)
    path.write_bytes(relabelled(in_syntax(syntax), JPEG2000Lossless))
    np.testing.assert_array_equal(read_pixels(path), expected)
    told = {Remark.OTHER_COMPRESSION, *([Remark.OTHER_VR_ENCODING] if syntax == ImplicitVRLittleEndian else [])}
    assert set(read_header(path).remarks) == told


def test_implicit_big_endian_is_refused_as_what_it_is(tmp_path: Path) -> None:
    data = in_syntax(ExplicitVRBigEndian)
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = True, False
    dataset = mammogram(ramp().astype(">u2"))
    dataset.set_original_encoding(True, False, "iso8859")
    body = Dataset()
    body.update({tag: dataset[tag] for tag in list(dataset.keys()) if tag != 0x7FE00010})
    write_dataset(out, body)
    pixels = b"\x7f\xe0\x00\x10" + len(ramp().tobytes()).to_bytes(4, "big") + ramp().astype(">u2").tobytes()
    start = data.index(b"\x00\x08\x00\x16UI")
    path = tmp_path / "a.dcm"
    path.write_bytes(data[:start] + out.getvalue() + pixels)
    with pytest.raises(IngestError, match="Implicit VR Big Endian") as error:
        read_header(path)
    assert error.value.reason is RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX


@pytest.mark.parametrize("keep", [1, 100, 0.5])
def test_a_deflated_data_set_that_is_cut_or_damaged_is_still_truncated(keep: float, tmp_path: Path) -> None:
    data = in_syntax(DeflatedExplicitVRLittleEndian)
    start = 132 + 12 + dcmread(io.BytesIO(data)).file_meta.FileMetaInformationGroupLength
    body = data[start:]
    path = tmp_path / "a.dcm"
    for damaged in (body[: int(keep if keep >= 1 else keep * len(body))], b"\xff" * 100):
        path.write_bytes(data[:start] + damaged)
        with pytest.raises(IngestError) as error:
            read_header(path)
        assert error.value.reason is RejectionReason.TRUNCATED


def test_the_first_bytes_of_each_encoding() -> None:
    assert encoding_of(b"\x08\x00\x05\x00CS\x0a\x00") == Encoding(False, True)
    assert encoding_of(b"\x08\x00\x05\x00\x0a\x00\x00\x00") == Encoding(True, True)
    assert encoding_of(b"\x00\x08\x00\x05CS\x00\x0a") == Encoding(False, False)
    assert encoding_of(b"\x00\x08\x00\x05\x00\x00\x00\x0a") == Encoding(True, False)
    assert encoding_of(b"\x10\x00\x10\x00PN\x0a\x00") == Encoding(False, True)
    short, deflated, no_vr = b"\x08\x00\x05\x00", zlib.compress(b"abc" * 99)[2:10], b"\x08\x00\x05\x00??\xff\xff"
    for junk in (b"", short, deflated, no_vr, b"\xff" * 8):
        assert encoding_of(junk) is None


@given(st.binary(max_size=12))
def test_any_bytes_have_an_encoding_or_none(first: bytes) -> None:
    assert encoding_of(first) is None or isinstance(encoding_of(first), Encoding)
