"""No command inflates a bomb, and only one module parses DICOM files."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from components.dicom.bounded_stream import TooMuchError, parse_file_header, parse_header, parse_object
from components.dicom.reading import read_pixels
from tests.components.dicom.dicom_files import MakeDicom, mammogram, ramp

PROJECT = Path(__file__).resolve().parents[3]
CALLS = (
    "import pydicom\n\npydicom.dcmread('x')\n",
    "from pydicom import dcmread\n\ndcmread('x')\n",
    "from pydicom.filereader import dcmread\n\ndcmread('x')\n",
)


@pytest.mark.parametrize("folder", ["serving/gateway", "pipeline", "components/dicom_example_gen", "schema"])
@pytest.mark.parametrize("call", CALLS)
def test_the_linter_forbids_another_reader(folder: str, call: str) -> None:
    name = f"{folder}/new_module.py"
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", "--stdin-filename", name, "-"]
    done = subprocess.run(command, input=call, capture_output=True, text=True, cwd=PROJECT, check=False)
    assert done.returncode == 1
    assert "bounded_stream" in done.stdout


def test_the_linter_lets_the_one_reader_be() -> None:
    name = "components/dicom/bounded_stream.py"
    command = [sys.executable, "-m", "ruff", "check", "--select", "TID251", name]
    assert subprocess.run(command, capture_output=True, cwd=PROJECT, check=False).returncode == 0


def deflated(path: Path, megabytes: int) -> Path:
    """A deflated file whose pixel data are that many megabytes of zeros."""
    dataset = mammogram(ramp(), TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    plain = io.BytesIO()
    dataset.PixelData = b"\0" * 4
    dataset.save_as(plain, enforce_file_format=True)
    data = plain.getvalue()
    start = 132 + 12 + int.from_bytes(data[140:144], "little")  # group 2 begins with its own length
    head = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:])[:-8]
    size = megabytes << 20
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(head + size.to_bytes(4, "little"))
    body += b"".join(packer.compress(b"\0" * (1 << 20)) for _ in range(megabytes)) + packer.flush()
    path.write_bytes(data[:start] + body)
    return path


@pytest.mark.slow
def test_a_header_is_read_without_inflating_what_is_behind_it(tmp_path: Path) -> None:
    bomb = deflated(tmp_path / "bomb.dcm", 300)
    assert bomb.stat().st_size < 1 << 20
    probe = (
        "import sys; from pathlib import Path;"
        "from components.dicom.bounded_stream import parse_file_header;"
        # ru_maxrss would be that of the process which starts this one, where that is the larger.
        "peak = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]); before = peak();"
        "print(parse_file_header(Path(sys.argv[1])).StudyInstanceUID, peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", probe, str(bomb)], capture_output=True, text=True, check=True)
    study, kilobytes = done.stdout.split()
    assert study == "1.2.3.4"
    assert int(kilobytes) < 150 << 10  # the file inflates to 300 MB
    with pytest.raises(TooMuchError):
        parse_object(bomb)
    with bomb.open("rb") as stream, pytest.raises(TooMuchError, match=f"up to {(1 << 24) + 64 * 48 * 2} bytes"):
        parse_header(stream, 1 << 30)  # the declared image limits it, whatever the argument is


@pytest.mark.slow
def test_a_large_deflated_image_is_read(make_dicom: MakeDicom) -> None:
    pixels = np.random.default_rng(1).integers(0, 4096, (4000, 3000), np.uint16)  # 24 MB, more than a header can have
    path = make_dicom(pixels=pixels, TransferSyntaxUID=DeflatedExplicitVRLittleEndian)
    np.testing.assert_array_equal(read_pixels(path) >> 4, pixels)


def test_what_is_no_dicom_file_is_not_parsed(tmp_path: Path) -> None:
    for data in (b"", b"\x89PNG\r\n\x1a\n" + bytes(500), bytes(128) + b"DICX" + bytes(500)):
        (tmp_path / "x").write_bytes(data)
        with pytest.raises(InvalidDicomError):
            parse_file_header(tmp_path / "x")


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_headers_and_objects_are_what_pydicom_reads(make_dicom: MakeDicom, syntax: str) -> None:
    pixels = ramp()
    path = make_dicom(pixels=pixels, TransferSyntaxUID=syntax)
    expected = dcmread(path)
    assert parse_object(path) == expected
    np.testing.assert_array_equal(parse_object(path).pixel_array, pixels)
    del expected.PixelData
    assert parse_file_header(path) == expected
