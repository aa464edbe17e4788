"""Images that share a SOP or Study Instance UID are kept or refused at once, and two patients never share a grade."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE

from serving.gateway.run import RunningGateway
from tests.waiting import HANG

if TYPE_CHECKING:
    from tests.serving.gateway.conftest import StartGateway

Wait = Callable[..., Any]
RELATED = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=cut'}


@pytest.fixture
def gateway(start_gateway: StartGateway) -> Iterator[RunningGateway]:
    with start_gateway(grouping={"settle_seconds": 0.2, "timeout_seconds": 0.5}) as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway, token: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=gateway.http_address, headers=headers, timeout=HANG, trust_env=False) as http:
        yield http


def encoded(image: FileDataset) -> bytes:
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    buffer = io.BytesIO()
    image.save_as(buffer)
    return buffer.getvalue()


def stow(client: httpx.Client, *images: bytes) -> tuple[int, Dataset]:
    parts = b"".join(b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + image + b"\r\n" for image in images)
    answer = client.post("/dicom-web/studies", content=parts + b"--cut--\r\n", headers=RELATED)
    return answer.status_code, Dataset.from_json(answer.json())


def under_one_uid(paths: list[Path]) -> list[FileDataset]:
    images, uid = [pydicom.dcmread(path) for path in paths], generate_uid()
    for image in images:
        image.SOPInstanceUID = uid
    return images


def test_stow_keeps_the_first_and_refuses_the_others(client: httpx.Client, exams: list[list[Path]]) -> None:
    images = [encoded(image) for image in under_one_uid(exams[0])]
    status, answer = stow(client, *images)
    assert status == 202
    assert len(answer.ReferencedSOPSequence) == 1
    assert [item.FailureReason for item in answer.FailedSOPSequence] == [0x0111] * 3
    assert "another image of the study has this SOP" in answer.FailedSOPSequence[0].ErrorComment
    assert stow(client, images[0])[0] == 200  # the same again
    assert stow(client, images[1])[0] == 409
    (study,) = client.get("/api/studies").json()["studies"]
    assert study["files"] == 1


def test_c_store_says_so_by_its_status(gateway: RunningGateway, exams: list[list[Path]]) -> None:
    images = under_one_uid(exams[1])
    ae = AE("MODALITY")
    ae.add_requested_context(images[0].SOPClassUID, images[0].file_meta.TransferSyntaxUID)
    assert gateway.dicom_port is not None
    association = ae.associate("127.0.0.1", gateway.dicom_port, ae_title="BREASTDENSITY")
    for image in images:
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    answers = [association.send_c_store(image).Status for image in (*images, images[0])]
    association.release()
    assert answers == [0, 0x0111, 0x0111, 0x0111, 0]


def test_the_page_names_each_file_that_is_refused(client: httpx.Client, exams: list[list[Path]]) -> None:
    files = [("files", ("x.dcm", encoded(image))) for image in under_one_uid(exams[0])]
    answer = client.post("/api/studies", files=files)
    assert answer.status_code == 202
    assert [file["index"] for file in answer.json()["files"]] == [0]
    assert [(found["index"], found["reason"]) for found in answer.json()["refused"]] == [
        (number, "broken_uid") for number in (1, 2, 3)
    ]


def test_the_same_image_with_another_header_or_compression_replaces_the_first(
    client: httpx.Client, exams: list[list[Path]]
) -> None:
    image = pydicom.dcmread(exams[0][0])
    assert stow(client, encoded(image))[0] == 200
    image.PatientName = "Corrected^Name"
    assert stow(client, encoded(image))[0] == 200
    image.decompress(generate_instance_uid=False)
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    assert stow(client, encoded(image))[0] == 200
    pixels = np.array(image.pixel_array)
    pixels[5, 5] ^= 1
    image.PixelData = pixels.tobytes()
    assert stow(client, encoded(image))[0] == 409
    (study,) = client.get("/api/studies").json()["studies"]
    assert study["files"] == 1


@pytest.mark.parametrize("channel", ["stow", "page"])
def test_two_women_under_one_study_uid_get_no_grade(
    channel: str, client: httpx.Client, exams: list[list[Path]], wait_for: Wait
) -> None:
    study, files = generate_uid(), []
    for woman, side in ((0, "R"), (1, "L")):
        for path in exams[woman]:
            image = pydicom.dcmread(path)
            if image.ImageLaterality == side:
                image.StudyInstanceUID, image.PatientID, image.PatientBirthDate = study, "ANONYMOUS", ""
                image.PatientAge, image.SOPInstanceUID = f"{50 + 9 * woman:03}Y", generate_uid()
                files.append(encoded(image))
    if channel == "stow":
        assert stow(client, *files)[0] == 200
        (key,) = (found["key"] for found in client.get("/api/studies").json()["studies"])
    else:
        (key,) = client.post("/api/studies", files=[("files", ("x", data)) for data in files]).json()["keys"]
    refusal = wait_for(lambda: client.get(f"/api/studies/{key}").json()["refusal"])
    assert refusal["reason"] == "several_exams"
    assert "different women, by their Patient's Age (0010,1010)" in refusal["message"]


def test_an_image_without_a_study_is_refused_at_once(client: httpx.Client, exams: list[list[Path]]) -> None:
    image = pydicom.dcmread(exams[0][0])
    del image.StudyInstanceUID
    status, answer = stow(client, encoded(image))
    assert status == 409
    assert answer.OtherFailuresSequence[0].FailureReason == 0xC000
    assert "Study Instance UID (0020,000D) is absent" in answer.OtherFailuresSequence[0].ErrorComment
