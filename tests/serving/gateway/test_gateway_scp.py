"""The gateway's DICOM node, by dcmtk's and pynetdicom's clients."""

from __future__ import annotations

import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
import pytest
from pydicom.uid import (
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)
from pynetdicom import AE
from pynetdicom.association import Association

from serving.gateway.run import RunningGateway
from tests.known import known
from tests.waiting import HANG, PATIENCE

if TYPE_CHECKING:
    from tests.serving.gateway.conftest import StartGateway

Wait = Callable[..., Any]
MG = DigitalMammographyXRayImageStorageForPresentation


@pytest.fixture
def gateway(start_gateway: StartGateway) -> Iterator[RunningGateway]:
    node = {"max_associations": 2, "idle_seconds": 1, "calling_ae_titles": ["MODALITY"]}
    with start_gateway(dicom=node, limits={"instance_bytes": 2_000_000}) as running:
        yield running


def associate(gateway: RunningGateway, calling: str = "MODALITY", called: str = "BREASTDENSITY") -> Association:
    ae = AE(calling)
    ae.add_requested_context("1.2.840.10008.1.1")
    ae.add_requested_context(MG, ExplicitVRLittleEndian)
    ae.add_requested_context(CTImageStorage)
    assert gateway.dicom_port is not None
    return ae.associate("127.0.0.1", gateway.dicom_port, ae_title=called)


def run(program: str, gateway: RunningGateway, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [program, "-aet", "MODALITY", "-aec", "BREASTDENSITY", "127.0.0.1", str(gateway.dicom_port)]
    return subprocess.run([*command, *map(str, arguments)], capture_output=True, text=True, timeout=HANG)


def test_dcmtk_is_answered_and_the_data_set_is_kept_as_it_came(
    gateway: RunningGateway, exams: list[list[Path]], dcmtk: Callable[[str], str]
) -> None:
    assert run(dcmtk("echoscu"), gateway).returncode == 0
    for option, exam in (("--propose-jls-lossless", exams[0]), ("--propose-little", exams[1])):
        sent = run(dcmtk("storescu"), gateway, option, *exam)
        assert sent.returncode == 0, sent.stderr
    datasets = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, exams[0] + exams[1])}
    found = list((gateway.studies.spool.root / "studies").rglob("*.dcm"))
    assert len(found) == len(datasets) == 8
    for path in found:
        dataset = pydicom.dcmread(path)
        sent_dataset = datasets[dataset.SOPInstanceUID]
        assert dataset == sent_dataset
        for keyword in ("MediaStorageSOPInstanceUID", "MediaStorageSOPClassUID", "TransferSyntaxUID"):
            assert dataset.file_meta[keyword] == sent_dataset.file_meta[keyword]
        assert path.stat().st_mode & 0o77 == 0


def test_what_is_not_taken_is_told_by_status_and_comment(gateway: RunningGateway, exams: list[list[Path]]) -> None:
    association = associate(gateway)
    assert association.is_established
    assert CTImageStorage not in [context.abstract_syntax for context in association.accepted_contexts]
    dataset = pydicom.dcmread(exams[1][0])

    def answer(**changes: Any) -> tuple[int, str]:
        changed = pydicom.dcmread(exams[1][0])
        for keyword, value in changes.items():
            setattr(changed, keyword, value)
        status = association.send_c_store(changed)
        return status.Status, status.get("ErrorComment", "")

    assert answer() == (0, "")
    status, comment = answer(Modality="CT")
    assert status == 0xA900
    assert "Modality (0008,0060) is CT" in comment
    status, comment = answer(StudyInstanceUID="")
    assert status == 0xC000
    assert "Study Instance UID (0020,000D) is absent" in comment
    status, comment = answer(PixelData=bytes(2_100_000))
    assert status == 0xA700
    assert "2000000 bytes" in comment
    status, comment = answer(PixelData=dataset.PixelData[:1000])
    assert status == 0xC000
    assert len(comment) <= 64
    association.release()


def test_who_may_call_is_checked(gateway: RunningGateway) -> None:
    assert associate(gateway, calling="STRANGER").is_rejected
    assert associate(gateway, called="ANOTHER").is_rejected


def test_a_flood_of_associations_is_refused_and_the_node_goes_on(
    gateway: RunningGateway, exams: list[list[Path]], wait_for: Wait
) -> None:
    held = [associate(gateway) for _ in range(2)]
    assert all(association.is_established for association in held)
    assert associate(gateway).is_rejected
    port = gateway.dicom_port
    silent = [socket.create_connection(("127.0.0.1", port or 0)) for _ in range(12)]
    for association in held:
        association.release()
    for connection in silent:
        connection.close()
    wait_for(lambda: associate(gateway).is_established)


def test_slow_endless_and_malformed_senders_are_cut(gateway: RunningGateway, wait_for: Wait) -> None:
    address = ("127.0.0.1", known(gateway.dicom_port))

    def is_cut(first: bytes, then: Callable[[socket.socket], None] = lambda _: None) -> bool:
        with socket.create_connection(address) as connection:
            connection.settimeout(HANG)
            connection.sendall(first)
            try:
                then(connection)
                while connection.recv(4096):
                    pass
            except ConnectionError:
                pass
        return True

    started = time.monotonic()
    assert is_cut(b"\x01\x00\x00\x00\x01\x00half")  # a PDU that never ends
    assert is_cut(b"")
    assert is_cut(b"GET / HTTP/1.1\r\n\r\n")
    assert time.monotonic() - started < 15 * PATIENCE

    def flood(connection: socket.socket) -> None:
        for _ in range(200):
            connection.sendall(bytes(1 << 20))

    assert is_cut(struct.pack(">BBL", 0x01, 0, 0xFFFFFFFF), flood)  # a PDU of 4 GB
    wait_for(lambda: associate(gateway).is_established)


def test_a_full_disk_is_told_the_sender(
    start_gateway: StartGateway, exams: list[list[Path]], dcmtk: Callable[[str], str]
) -> None:
    with start_gateway(limits={"free_bytes": 1 << 60}) as gateway:
        sent = run(dcmtk("storescu"), gateway, "-v", exams[1][0])
        assert sent.returncode != 0
        assert "Refused: OutOfResources" in sent.stdout + sent.stderr


def test_logs_hold_neither_uid_nor_name_nor_title(
    gateway: RunningGateway, exams: list[list[Path]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "serving.gateway")
    association = associate(gateway)
    dataset = pydicom.dcmread(exams[1][0])
    association.send_c_store(dataset)
    dataset.Modality, dataset.SOPInstanceUID = "CT", generate_uid()
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    association.send_c_store(dataset)
    association.release()
    lines = [record.getMessage() for record in caplog.records if record.name.startswith("serving")]
    assert any("image new" in line for line in lines)
    assert any("refused, not_mammography" in line for line in lines)
    for value in (dataset.StudyInstanceUID, dataset.SOPInstanceUID, dataset.PatientID, dataset.PatientName, "MODALITY"):
        assert str(value) not in "\n".join(lines)
