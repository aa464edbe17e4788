"""A complete run over all channels: no output contains patient identity, and the results reach the PACS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import DigitalMammographyXRayImageStorageForProcessing, generate_uid

if TYPE_CHECKING:
    from tests.serving.gateway.conftest import FreePorts, Pacs, StartProcess

pytestmark = pytest.mark.e2e

PERSON = {
    "PatientName": "Qzname^Qzgiven",
    "PatientID": "QZ-4711",
    "AccessionNumber": "QZACC17",
    "StudyID": "QZSTUDY",
    "InstitutionName": "Qzhospital",
    "ReferringPhysicianName": "Qzdoctor^A",
    "OperatorsName": "Qzoperator",
    "PatientComments": "Qzcomment",
    "PatientBirthDate": "19370213",
}
ROOT = "1.2.826.0.1.3680043.8.498.77."


def of_a_person(path: Path) -> FileDataset:
    image = pydicom.dcmread(path)
    for keyword, value in PERSON.items():
        setattr(image, keyword, value)
    image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid(prefix=ROOT)
    return image


def saved(images: list[FileDataset], folder: Path) -> list[Path]:
    study, series = generate_uid(prefix=ROOT), generate_uid(prefix=ROOT)
    folder.mkdir()
    for number, image in enumerate(images):
        image.StudyInstanceUID, image.SeriesInstanceUID = study, series
        image.save_as(folder / f"Qzname {number}.dcm")
    return sorted(folder.iterdir())


def test_nothing_that_the_gateway_says_names_anybody(
    start_process: StartProcess,
    model_server: str,
    pacs: Pacs,
    free_ports: FreePorts,
    exams: list[list[Path]],
    tmp_path: Path,
    wait_for: Callable[..., Any],
) -> None:
    graded = saved([of_a_person(path) for path in exams[0]], tmp_path / "graded")
    raw = [of_a_person(path) for path in exams[1]]
    for image in raw:
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForProcessing
        image.PresentationIntentType = "FOR PROCESSING"
    refused = saved(raw, tmp_path / "refused")
    unfit = [of_a_person(path) for path in exams[2]]
    for image in unfit:
        image.PatientID = "QZ" * 40  # no result can carry it
    failed = saved(unfit, tmp_path / "failed")
    (dead,) = free_ports(1)
    nobody = {"kind": "stow", "name": "nobody", "url": f"http://127.0.0.1:{dead}", "timeout_s": 2}
    with start_process(
        model_server, destinations=[*pacs.destinations, nobody], grouping={"timeout_seconds": 1}
    ) as gateway:
        client, said = gateway.client, []

        def ask(method: str, path: str, **options: Any) -> Any:
            answer = client.request(method, path, **options)
            said.append(answer.text + str(answer.headers))
            return answer

        files = [("files", (path.name, path.read_bytes())) for path in graded]
        junk = [("files", ("Qzname.dcm", graded[0].read_bytes()[:3000])), ("files", ("Qzname.txt", b"Qzname"))]
        (key,) = ask("POST", "/api/studies", files=files + junk).json()["keys"]
        ask("POST", "/api/studies", files=junk)
        gateway.send(refused)
        ask("POST", "/api/studies", files=[("files", (path.name, path.read_bytes())) for path in failed])

        def settled() -> bool:
            studies = gateway.studies()
            states = sorted(study["state"] for study in studies)
            sent = [d["destination"] for study in studies for d in study["deliveries"] if d["state"] == "delivered"]
            return states == ["failed", "graded", "refused"] and sorted(sent) == [
                "pacs",
                "pacs",
                "pacs-web",
                "pacs-web",
            ]

        wait_for(settled)
        for path in ("/api/studies", "/metrics", "/healthz", "/readyz", "/nothing", "/api/studies/Qzname", "/"):
            ask("GET", path)
        for study in gateway.studies():
            ask("GET", f"/api/studies/{study['key']}")
            if study["state"] == "failed":
                assert "Patient ID (0010,0020)" in study["failure"]["message"]
        found = pacs.instances()
    # What a person sent by the page is in the PACS: report and heat maps, and of the other study the refusal.
    study, other = (pydicom.dcmread(paths[0]).StudyInstanceUID for paths in (graded, refused))
    arrived = [(item["StudyInstanceUID"], item["Modality"]) for item in found]
    assert sorted(arrived) == sorted([(study, "SR"), *[(study, "OT")] * 4, (other, "SR")])
    assert {item["PatientID"] for item in found} == {"QZ-4711"}

    spool = tmp_path / "spool"
    said += [gateway.log.read_text(), *(str(path.relative_to(spool)) for path in spool.rglob("*"))]
    said += [path.read_bytes().decode("latin-1") for path in spool.glob("gateway.sqlite*")]
    assert f"study {key}: delivered to pacs" in gateway.log.read_text()
    # Names of six letters and more: the bytes of a time in SQLite's file now and then spell two of them.
    people = {part.lower() for value in PERSON.values() for part in value.split("^") if len(part) > 5}
    for text in said:
        for value in (*people, "qzqzqz", ROOT, "storescu"):
            assert value not in text.lower()
