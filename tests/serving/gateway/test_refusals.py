"""All kinds of exams that are not graded are refused with their reason by all channels: one table."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    BreastTomosynthesisImageStorage,
    CTImageStorage,
    DigitalMammographyXRayImageStorageForProcessing,
    generate_uid,
)
from pynetdicom import AE, StoragePresentationContexts, evt
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.predict.folders import SOME_NOT_GRADED
from serving.client.grading import MISSING_VIEWS, QUALITY_FAILED, SEVERAL_EXAMS, ExamRefusedError
from serving.gateway.admission import SOP_CLASSES
from serving.gateway.run import RunningGateway, running_gateway
from tests.known import known
from tests.waiting import HANG

Exam = list[FileDataset]
Wait = Callable[..., Any]


def _every(keyword: str, value: Any) -> Callable[[Exam], Exam]:
    def change(exam: Exam) -> Exam:
        for image in exam:
            setattr(image, keyword, value)
        return exam

    return change


def _for_processing(exam: Exam) -> Exam:
    return _every("SOPClassUID", DigitalMammographyXRayImageStorageForProcessing)(
        _every("PresentationIntentType", "FOR PROCESSING")(exam)
    )


def _computed_tomography(exam: Exam) -> Exam:
    return _every("SOPClassUID", CTImageStorage)(_every("Modality", "CT")(exam))


def _mediolateral(exam: Exam) -> Exam:
    for image in exam:
        image.ViewPosition = "ML"
        image.pop("ViewCodeSequence", None)
    return exam


def _two_women(exam: Exam) -> Exam:
    exam[0].PatientID, exam[0].PatientBirthDate = "another", "19310203"
    return exam


def _no_breast(exam: Exam) -> Exam:
    noise = np.random.default_rng(0).integers(0, 9, (exam[0].Rows, exam[0].Columns))
    for image in exam:
        image.decompress()
        image.PixelData = noise.astype(image.pixel_array.dtype).tobytes()
    return exam


@dataclass(frozen=True)
class Kind:
    """A kind of exam that is not graded.

    Attributes:
        change: Makes one of four good images.
        reason: Why it is refused.
        words: What the message says.
        status: Of C-STORE and STOW-RS where it is turned away at the door; None where it is taken and then refused.
    """

    change: Callable[[Exam], Exam]
    reason: str
    words: str
    status: int | None = None


KINDS: Final = {
    "wrong modality": Kind(_every("Modality", "CT"), "not_mammography", "Modality (0008,0060) is CT", 0xA900),
    "computed tomography": Kind(_computed_tomography, "not_mammography", "Modality (0008,0060) is CT", 0xA900),
    "tomosynthesis": Kind(_every("SOPClassUID", BreastTomosynthesisImageStorage), "tomosynthesis", "Tomo", 0x0122),
    "for processing": Kind(_for_processing, "for_processing", "FOR PROCESSING"),
    "other projection": Kind(_mediolateral, "unsupported_view", "ML"),
    "missing views": Kind(lambda exam: exam[:1], "missing_views", "has 1 of 4 views"),
    "two women": Kind(_two_women, "several_exams", "give the folder of one exam"),
    "no breast": Kind(_no_breast, "implausible_pixels", "pixels"),
    "quality failed": Kind(lambda exam: exam, "quality_failed", "is uncertain"),
}


@pytest.fixture(scope="module")
def strict_server(export_model: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a model whose recipe segments the muscle, with an uncertainty above 0."""
    from serving.server.run import start_server

    folder = tmp_path_factory.mktemp("strict")
    export_model(folder / "1", 256, "auto")
    with start_server(folder, grpc_port=0, rest_port=0) as server:
        yield server.grpc_address


@pytest.fixture(scope="module")
def received() -> Iterator[tuple[int, list[Dataset]]]:
    """A DICOM node that accepts everything: its port and the received objects."""
    found: list[Dataset] = []

    def store(event: evt.Event) -> int:
        found.append(event.dataset)
        return 0x0000

    ae = AE("ARCHIVE")
    ae.supported_contexts = StoragePresentationContexts
    node = known(ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)]))
    yield node.server_address[1], found
    node.shutdown()


@pytest.fixture(scope="module")
def strict_gateway(
    strict_server: str, received: tuple[int, list[Dataset]], token: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    """A policy that requires four views without uncertainty."""
    from serving.gateway.config import GatewayConfig

    archive = {"kind": "dicom", "name": "archive", "host": "127.0.0.1", "port": received[0], "ae_title": "ARCHIVE"}
    config = GatewayConfig.model_validate(
        {
            "spool": tmp_path_factory.mktemp("spool") / "spool",
            "model": {"address": strict_server},
            "dicom": {"port": 0},
            "http": {"port": 0},
            "grouping": {"settle_seconds": 0.2, "timeout_seconds": 0.5},
            "grading": {"policy": {"minimum_views": 4, "maximum_doubt": 0}},
            "limits": {"free_bytes": 0},
            "destinations": [archive],
        }
    )
    with running_gateway(config, {config.http.token_variable: token}) as gateway:
        yield gateway


@dataclass(frozen=True)
class Setting:
    """The inputs of a channel."""

    gateway: RunningGateway
    client: httpx.Client
    server: str
    folder: Path
    received: list[Dataset]
    wait_for: Wait

    def refused(self, key: str, exam: Exam, kind: Kind) -> tuple[str, str]:
        """Wait for the refusal of a study in JSON, and for its report at the destination."""

        def told() -> dict[str, str] | None:
            found = self.client.get(f"/api/studies/{key}").json()["refusal"]
            return found if found and found["reason"] == kind.reason else None

        found = self.wait_for(told)
        study = exam[0].StudyInstanceUID
        self.wait_for(
            lambda: any(r.StudyInstanceUID == study and kind.reason in reasons_of(r) for r in list(self.received))
        )
        return found["reason"], found["message"]


def reasons_of(report: Dataset) -> str:
    """Return the comments of the report of a refusal, with reasons as in JSON."""
    assert report.Modality == "SR"
    (group,) = report.ContentSequence[-1].ContentSequence
    comments = [item.TextValue for item in group.ContentSequence if item.ValueType == "TEXT"]
    return " ".join(comments).replace(" ", "_")


def encoded(image: FileDataset) -> bytes:
    buffer = io.BytesIO()
    image.save_as(buffer)
    return buffer.getvalue()


def by_stow(exam: Exam, kind: Kind, at: Setting) -> tuple[str, str]:
    parts = b"".join(b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + encoded(i) + b"\r\n" for i in exam)
    headers = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=cut'}
    answer = at.client.post("/dicom-web/studies", content=parts + b"--cut--\r\n", headers=headers)
    if kind.status is None:
        assert answer.status_code == 200
        return at.refused(at.gateway.studies.spool.study_key(exam[0].StudyInstanceUID), exam, kind)
    assert answer.status_code == 409
    failed = Dataset.from_json(answer.json()).FailedSOPSequence
    assert [item.FailureReason for item in failed] == [kind.status] * len(exam)
    return kind.reason, failed[0].ErrorComment


def by_c_store(exam: Exam, kind: Kind, at: Setting) -> tuple[str, str]:
    ae = AE("MODALITY")
    for image in exam:
        ae.add_requested_context(image.SOPClassUID, image.file_meta.TransferSyntaxUID)
    assert at.gateway.dicom_port is not None
    association = ae.associate("127.0.0.1", at.gateway.dicom_port, ae_title="BREASTDENSITY")
    if (
        exam[0].SOPClassUID not in SOP_CLASSES
    ):  # said before anything is sent: abstract syntax not supported, PS3.8 table 9-18
        assert {context.result for context in association.rejected_contexts} == {3}
        return kind.reason, kind.words
    answers = [association.send_c_store(image) for image in exam]
    association.release()
    assert [answer.Status for answer in answers] == [kind.status or 0] * len(exam)
    if kind.status is None:
        return at.refused(at.gateway.studies.spool.study_key(exam[0].StudyInstanceUID), exam, kind)
    return kind.reason, answers[0].ErrorComment


def by_page(exam: Exam, kind: Kind, at: Setting) -> tuple[str, str]:
    answer = at.client.post("/api/studies", files=[("files", ("x.dcm", encoded(image))) for image in exam])
    if kind.status is None:
        assert answer.status_code == 202
        return at.refused(answer.json()["keys"][0], exam, kind)
    assert answer.status_code == 422
    refused = answer.json()["refused"]
    assert len(refused) == len(exam)
    return refused[0]["reason"], refused[0]["message"]


def predict(exam: Exam, at: Setting, *options: str) -> Any:
    for number, image in enumerate(exam):
        (at.folder / "exam").mkdir(exist_ok=True)
        image.save_as(at.folder / "exam" / f"{number}.dcm")
    policy = ("--minimum-views", "4", "--maximum-doubt", "0")
    folders = (str(at.folder / "exam"), "--out", str(at.folder / "out"), "--server", at.server)
    return CliRunner().invoke(app, ["predict", *folders, *policy, *options])


def by_predict(exam: Exam, kind: Kind, at: Setting) -> tuple[str, str]:
    result = predict(exam, at)
    has_usable_files = kind.reason in (MISSING_VIEWS, SEVERAL_EXAMS, QUALITY_FAILED)
    assert (at.folder / "out").exists() != has_usable_files
    if not has_usable_files:  # the table says so
        assert result.exit_code == SOME_NOT_GRADED
        (row,) = json.loads((at.folder / "out" / "grades.json").read_text())
        assert (row["status"], row["rejected_files"]) == ("refused", len(exam))
        assert (at.folder / "out" / "exams.csv").is_file()
        return row["reason"], row["message"]
    error = result.exception
    assert isinstance(error, ExamRefusedError)  # ``main`` prints it and ends with 1
    return error.reason, str(error)


def by_predict_dicom(exam: Exam, kind: Kind, at: Setting) -> tuple[str, str]:
    assert predict(exam, at, "--dicom").exit_code == SOME_NOT_GRADED
    (row,) = json.loads((at.folder / "out" / "grades.json").read_text())
    assert row["status"] == "refused"
    report = pydicom.dcmread(at.folder / "out" / row["exam"] / "dicom" / "report.dcm")
    assert report.StudyInstanceUID == exam[0].StudyInstanceUID
    assert row["reason"] in reasons_of(report)
    return row["reason"], row["message"]


CHANNELS: Final = (by_stow, by_c_store, by_page, by_predict, by_predict_dicom)


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: channel.__name__)
@pytest.mark.parametrize("name", KINDS)
def test_it_is_refused_with_the_reason(
    name: str,
    channel: Callable[[Exam, Kind, Setting], tuple[str, str]],
    strict_gateway: RunningGateway,
    strict_server: str,
    received: tuple[int, list[Dataset]],
    exams: list[list[Path]],
    token: str,
    tmp_path: Path,
    wait_for: Wait,
) -> None:
    kind, study = KINDS[name], generate_uid()
    exam = [pydicom.dcmread(path) for path in exams[0]]
    for image in exam:
        image.StudyInstanceUID, image.SOPInstanceUID = study, generate_uid()
    exam = kind.change(exam)
    for image in exam:
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=strict_gateway.http_address, headers=headers, trust_env=False, timeout=HANG) as client:
        reason, words = channel(
            exam, kind, Setting(strict_gateway, client, strict_server, tmp_path, received[1], wait_for)
        )
    assert reason == kind.reason
    assert kind.words in words
