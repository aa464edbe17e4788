"""The gateway's HTTP routes, by a real client over a real socket."""

from __future__ import annotations

import contextlib
import io
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pydicom
import pytest
from PIL import Image

from serving.gateway.run import RunningGateway
from tests.waiting import HANG, wait_until

if TYPE_CHECKING:
    from tests.serving.gateway.conftest import StartGateway

Wait = Callable[..., Any]


@pytest.fixture
def gateway(start_gateway: StartGateway) -> Iterator[RunningGateway]:
    with start_gateway() as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway, token: str) -> Iterator[httpx.Client]:
    with httpx.Client(
        base_url=gateway.http_address, headers={"Authorization": f"Bearer {token}"}, timeout=HANG, trust_env=False
    ) as http:
        yield http


def related(*bodies: bytes, kind: str = "application/dicom", end: bytes = b"--\r\n") -> dict[str, Any]:
    parts = [b"--cut\r\nContent-Type: " + kind.encode() + b"\r\n\r\n" + body + b"\r\n" for body in bodies]
    return {
        "content": b"".join(parts) + b"--cut" + end,
        "headers": {"Content-Type": 'multipart/related; type="application/dicom"; boundary=cut'},
    }


def files(paths: list[Path]) -> list[Any]:
    return [("files", (f"{n}.dcm", path.read_bytes())) for n, path in enumerate(paths)]


def test_an_uploaded_exam_is_graded_and_shown(client: httpx.Client, exams: list[list[Path]], wait_for: Wait) -> None:
    answer = client.post("/api/studies", files=files(exams[0]))
    assert answer.status_code == 202
    (key,) = answer.json()["keys"]
    study = wait_for(lambda: (found := client.get(f"/api/studies/{key}").json())["exam"] and found)
    assert (study["state"], study["refusal"], study["rejected"]) == ("graded", None, [])
    assert sum(study["exam"]["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    view = client.get(f"/api/studies/{key}/views/CC_R.png")
    layer = client.get(f"/api/studies/{key}/views/CC_R.heatmap.png")
    width, height = Image.open(io.BytesIO(view.content)).size
    assert Image.open(io.BytesIO(layer.content)).size == (width, height)
    assert width < height <= 256  # not stretched to the network's square
    assert Image.open(io.BytesIO(layer.content)).mode == "RGBA"
    dataset = pydicom.dcmread(exams[0][0], stop_before_pixels=True)
    for text in (client.get("/api/studies").text, str(study), client.get("/metrics").text):
        for value in (dataset.StudyInstanceUID, dataset.SOPInstanceUID, str(dataset.PatientID)):
            assert value not in text


def test_stow_answers_as_the_standard_has_it(client: httpx.Client, exams: list[list[Path]]) -> None:
    """PS3.18 10.5.3: 200 all, 202 some, 409 none, with Referenced and Failed SOP Sequences."""
    good, other = pydicom.dcmread(exams[0][0]), pydicom.dcmread(exams[0][1])
    other.Modality = "CT"
    buffer = io.BytesIO()
    other.save_as(buffer)
    good_bytes, bad_bytes = exams[0][0].read_bytes(), buffer.getvalue()

    all_stored = client.post("/dicom-web/studies", **related(good_bytes))
    assert all_stored.status_code == 200
    assert all_stored.headers["content-type"] == "application/dicom+json"
    answer = pydicom.Dataset.from_json(all_stored.json())
    assert answer.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == good.SOPInstanceUID
    assert "FailedSOPSequence" not in answer

    some = client.post(f"/dicom-web/studies/{good.StudyInstanceUID}", **related(good_bytes, bad_bytes))
    assert some.status_code == 202
    answer = pydicom.Dataset.from_json(some.json())
    (failed,) = answer.FailedSOPSequence
    assert failed.ReferencedSOPInstanceUID == other.SOPInstanceUID
    assert failed.FailureReason == 0xA900
    assert "Modality (0008,0060) is CT" in failed.ErrorComment

    none = client.post("/dicom-web/studies", **related(b"no DICOM at all"))
    assert none.status_code == 409
    assert pydicom.Dataset.from_json(none.json()).OtherFailuresSequence[0].FailureReason == 0xC000

    elsewhere = client.post("/dicom-web/studies/1.2.3", **related(good_bytes))
    assert elsewhere.status_code == 409


def test_requests_without_the_token_or_of_another_kind_are_refused(client: httpx.Client, token: str) -> None:
    for header in (None, "Bearer", f"Basic {token}", f"Bearer {token}x", f"Bearer {token[:-1]}", "Bearer \u00e9"):
        headers = {b"Authorization": header.encode("utf-8") if header else b""}
        for path in ("/api/studies", "/metrics", "/dicom-web/studies", "/nothing", "//api/studies"):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401, (header, path)
            assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/healthz", headers={"Authorization": ""}).status_code == 200
    assert client.get("/readyz", headers={"Authorization": ""}).json() == {
        "ready": True,
        "model_server": True,
        "disk": True,
    }
    assert client.get("/docs").status_code == client.get("/openapi.json").status_code == 404
    assert client.get("/api/studies/../../etc/passwd").status_code == 404
    assert client.get("/api/studies/0123456789abcdef0123/views/CC_R.png").status_code == 404
    post = client.post
    assert post("/dicom-web/studies", content=b"x", headers={"Content-Type": "application/dicom"}).status_code == 415
    assert post("/dicom-web/studies", **related(b"x", kind="image/png")).status_code == 415
    assert post("/dicom-web/studies", **related()).status_code == 400
    assert post("/dicom-web/studies/no-uid", **related(b"x")).status_code == 400
    other = related(b"x") | {"headers": related()["headers"] | {"Accept": "text/html"}}
    assert post("/dicom-web/studies", **other).status_code == 406
    assert post("/api/studies", files=[("files", ("1.dcm", b"junk"))]).status_code == 422


def test_nothing_of_a_truncated_upload_is_kept(
    client: httpx.Client, gateway: RunningGateway, exams: list[list[Path]]
) -> None:
    """Nothing is kept of a body without its last boundary or of a broken connection: no response said 'accepted'."""
    body = exams[0][0].read_bytes()
    cut = client.post("/dicom-web/studies", **related(body, body, end=b""))
    assert cut.status_code == 400
    port = int(gateway.http_address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port)) as broken:
        head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nAuthorization: {client.headers['authorization']}\r\n"
        head += "Content-Type: multipart/related; boundary=cut\r\nContent-Length: 9999999\r\n\r\n--cut\r\n\r\n"
        broken.sendall(head.encode() + body)
    assert client.get("/api/studies").json()["studies"] == []
    assert list((gateway.studies.config.spool / "studies").iterdir()) == []


def test_uploads_are_bounded(start_gateway: StartGateway, token: str, exams: list[list[Path]]) -> None:
    bodies = [path.read_bytes() for path in exams[0]]
    largest = max(path.stat().st_size for exam in exams for path in exam)
    limits = {
        "instance_bytes": largest,
        "request_bytes": 5 * max(map(len, bodies)),
        "instances": 4,
        "waiting_studies": 1,
        "free_bytes": 0,
    }
    changes = {"limits": limits, "grouping": {"timeout_seconds": 60}, "http": {"idle_seconds": 0.5}}
    with (
        start_gateway(**changes) as gateway,
        httpx.Client(
            base_url=gateway.http_address, headers={"Authorization": f"Bearer {token}"}, timeout=HANG
        ) as client,
    ):
        too_large = related(bodies[0] + bytes(2 * limits["instance_bytes"]))
        assert client.post("/dicom-web/studies", **too_large).status_code == 413
        assert client.post("/dicom-web/studies", **related(*bodies, *bodies[:2])).status_code == 413
        assert client.post("/dicom-web/studies", **related(*[b"x"] * 5)).status_code == 413
        # One study waits for its other views; another one has no room, a further view of the same has.
        assert client.post("/dicom-web/studies", **related(bodies[0])).status_code == 200
        busy = client.post("/dicom-web/studies", **related(exams[1][0].read_bytes()))
        assert busy.status_code == 503
        assert int(busy.headers["retry-after"]) > 0
        assert client.post("/dicom-web/studies", **related(bodies[1])).status_code == 200
        address = ("127.0.0.1", int(gateway.http_address.rpartition(":")[2]))
        headers = {**related()["headers"], "Authorization": f"Bearer {token}", "Host": "x", "Content-Length": "100"}
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        with socket.create_connection(address, timeout=HANG) as slow:  # its body never ends
            slow.sendall(f"POST /dicom-web/studies HTTP/1.1\r\n{head}\r\n--cut\r\n".encode())
            assert slow.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("head", [b"", b"GET /healthz HTTP/1.1\r\nHost:"])
def test_a_request_that_never_begins_is_cut(start_gateway: StartGateway, head: bytes) -> None:
    with start_gateway(http={"head_seconds": 0.5}) as gateway:
        address = ("127.0.0.1", int(gateway.http_address.rpartition(":")[2]))
        with socket.create_connection(address, HANG) as slow:
            slow.sendall(head)
            assert slow.recv(1000) == b""

        def is_well() -> bool:
            with contextlib.suppress(httpx.TransportError):  # half a second may be short for this machine
                return httpx.get(f"{gateway.http_address}/healthz", trust_env=False).status_code == 200
            return False

        wait_until(is_well)


def test_a_full_disk_is_told_and_nothing_is_accepted(
    start_gateway: StartGateway, token: str, exams: list[list[Path]]
) -> None:
    with (
        start_gateway(limits={"free_bytes": 1 << 60}) as gateway,
        httpx.Client(
            base_url=gateway.http_address, headers={"Authorization": f"Bearer {token}"}, timeout=HANG
        ) as client,
    ):
        assert client.post("/dicom-web/studies", **related(exams[0][0].read_bytes())).status_code == 507
        assert client.post("/api/studies", files=files(exams[0])).status_code == 507
        assert client.get("/readyz").status_code == 503
        assert client.get("/api/studies").json()["studies"] == []
