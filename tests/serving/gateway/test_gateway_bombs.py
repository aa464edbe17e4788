"""The gateway refuses headers that take more work than any real header."""

from __future__ import annotations

import zlib
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, DigitalMammographyXRayImageStorageForPresentation

from serving.gateway.admission import CANNOT_UNDERSTAND, RefusedInstanceError, read_instance


def test_a_bomb_in_the_header_is_too_large(tmp_path: Path) -> None:
    path = tmp_path / "bomb.dcm"
    image = Dataset()
    image.SOPClassUID, image.SOPInstanceUID = DigitalMammographyXRayImageStorageForPresentation, "1.2.3.5"
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    image.save_as(path, enforce_file_format=True)
    data = path.read_bytes()
    start = 144 + dcmread(path).file_meta.FileMetaInformationGroupLength
    plain = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:])
    private = b"\x09\x00\x10\x00UN\x00\x00" + (1 << 27).to_bytes(4, "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packer.compress(plain + private) + b"".join(packer.compress(bytes(1 << 20)) for _ in range(128))
    path.write_bytes(data[:start] + body + packer.flush())
    with pytest.raises(RefusedInstanceError, match="file 1: the header takes too much work") as caught:
        read_instance(path, "file 1", 1 << 20)
    assert (caught.value.reason, caught.value.status) == ("too_large", CANNOT_UNDERSTAND)
