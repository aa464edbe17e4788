"""TLS of the DICOM node and of HTTP, with client certificates."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pydicom
import pytest
from typer.testing import CliRunner

from pipeline.cli import app
from serving.client.grades import ServerUnreachableError
from serving.gateway.config import DicomDestination, GatewayConfigError, tls_errors
from serving.gateway.forward import DeliveryError, send_by_dicom
from serving.gateway.run import running_gateway
from serving.server.config import ServedModel, ServerConfig
from serving.server.run import run_server
from serving.wire.tls import ClientTls, ServerTls
from tests.absent_libraries import COMMAND, OF_PIPELINE, TENSORFLOW, run_without
from tests.known import known
from tests.waiting import HANG

if TYPE_CHECKING:
    from tests.serving.gateway.conftest import MakeGatewayConfig, StartGateway

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate of 127.0.0.1 and its key; it is its own authority."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    files = folder / "certificate.pem", folder / "key.pem"
    options = ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(files[0]), "-keyout", str(files[1])]
    subprocess.run([*command.split(), *options], check=True, capture_output=True)
    return files


def test_only_peers_with_a_certificate_get_through(
    start_gateway: StartGateway, token: str, certificate: tuple[Path, Path], exams: list[list[Path]]
) -> None:
    cert, key = certificate
    own = {"certificate": cert, "key": key}
    changes = {
        "dicom": {"tls": own | {"client_ca": cert}, "idle_seconds": 60, "max_associations": 2},
        "http": {"tls": own},
    }
    with start_gateway(**changes) as gateway:
        port = known(gateway.dicom_port)
        node = DicomDestination(
            kind="dicom",
            name="gateway",
            host="127.0.0.1",
            port=port,
            ae_title="BREASTDENSITY",
            timeout_s=20,
            tls=ClientTls(ca=cert, certificate=cert, key=key),
        )
        objects = [pydicom.dcmread(path) for path in exams[1]]
        silent = socket.create_connection(("127.0.0.1", port))  # never shakes hands, holds up nobody
        send_by_dicom(objects, node, "MODALITY")
        silent.close()
        for tls in (None, ClientTls(ca=cert)):
            with pytest.raises(DeliveryError):
                send_by_dicom(objects, node.model_copy(update={"tls": tls}), "MODALITY")
        context = ssl.create_default_context(cafile=str(cert))
        headers = {"Authorization": f"Bearer {token}"}
        assert gateway.http_address.startswith("https://")
        with httpx.Client(
            base_url=gateway.http_address, headers=headers, verify=context, trust_env=False, timeout=HANG
        ) as client:
            (study,) = client.get("/api/studies").json()["studies"]
        assert study["files"] == 4


def test_exams_reach_the_model_server_by_mutual_tls_alone(
    gateway_model: Path,
    gateway_config: MakeGatewayConfig,
    token: str,
    certificate: tuple[Path, Path],
    exams: list[list[Path]],
    tmp_path: Path,
    wait_for: Any,
) -> None:
    """From the gateway, and from the command ``predict``."""
    cert, key = certificate
    server_tls = ServerTls(certificate=cert, key=key, client_ca=cert)
    own = {"ca": cert, "certificate": cert, "key": key}
    folder = exams[2][0].parent
    with run_server(
        ServerConfig(model=ServedModel(base_path=gateway_model), grpc_port=0, rest_port=0, tls=server_tls)
    ) as server:
        config = gateway_config(server.grpc_address, model={"tls": own})
        with (
            running_gateway(config, {config.http.token_variable: token}) as gateway,
            httpx.Client(
                base_url=gateway.http_address, headers={"Authorization": f"Bearer {token}"}, timeout=HANG
            ) as client,
        ):
            files = [("files", (path.name, path.read_bytes())) for path in exams[2]]
            (study,) = client.post("/api/studies", files=files).json()["keys"]
            wait_for(lambda: client.get(f"/api/studies/{study}").json()["state"] == "graded")
            exam = client.get(f"/api/studies/{study}").json()["exam"]
        arguments = ["predict", str(folder), "--server", server.grpc_address, "--out", str(tmp_path / "out")]
        options = [text for name, path in own.items() for text in (f"--{name}", str(path))]
        done = CliRunner().invoke(app, [*arguments, *options])
        assert done.exit_code == 0, done.output
        predicted = json.loads((tmp_path / "out" / "exam.json").read_bytes())
        assert predicted["probabilities"] == pytest.approx(exam["probabilities"], abs=2e-6)
        # The client needs no TensorFlow; this is what a machine without it writes.
        elsewhere = [*arguments[:-1], str(tmp_path / "without"), *options]
        ended = run_without(TENSORFLOW | OF_PIPELINE, COMMAND, *elsewhere)
        assert ended.returncode == 0, ended.stderr
        for name in sorted(path.name for path in (tmp_path / "out").iterdir()):
            assert (tmp_path / "without" / name).read_bytes() == (tmp_path / "out" / name).read_bytes()
        for fewer in ([], options[:2]):
            failed = CliRunner().invoke(app, [*arguments, *fewer])
            assert isinstance(failed.exception, ServerUnreachableError)


def test_files_that_cannot_be_used_are_one_sentence(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    for files in (
        {"certificate": tmp_path / "none", "key": certificate[1]},
        dict(zip(("certificate", "key"), certificate[::-1], strict=True)),
    ):
        with pytest.raises(GatewayConfigError, match="TLS configuration cannot be used"), tls_errors():
            ServerTls(**files).context()
