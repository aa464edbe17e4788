"""TLS and mutual TLS of gRPC and REST: which clients are accepted, and that no plain text is served."""

from __future__ import annotations

import datetime
import http.client
import ipaddress
import json
import shutil
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import cv2
import grpc
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

from serving.client.grades import ServerUnreachableError
from serving.client.grpc_client import ExamClient
from serving.server.config import ServedModel, ServerConfig
from serving.server.run import RunningServer, run_server
from serving.wire.errors import ServerStartError
from serving.wire.tls import ClientTls, ServerTls
from tests.waiting import HANG

STATUS = "/v1/models/breast_density"


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path


class Authority:
    """A certificate authority of this test run, which writes PEM files."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._key = ec.generate_private_key(ec.SECP256R1())
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)  # signs both
        certificate = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0), usage)
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def _signed(
        self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
        )
        # Python 3.13 asks for the keys' identifiers, as RFC 5280 does.
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        for extension in (*extensions, authority, x509.SubjectKeyIdentifier.from_public_key(key.public_key())):
            critical = isinstance(extension, x509.BasicConstraints | x509.KeyUsage)
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self._key, hashes.SHA256())

    def issue(self, name: str) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        certificate = self._signed(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key, address)
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        pair.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pair.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair


@dataclass(frozen=True)
class Files:
    """``mine`` is the authority of the server and its clients, ``other`` one that nobody has been told of."""

    mine: Path
    other: Path
    server: Pair
    client: Pair
    stranger: Pair


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("certificates")
    mine, other = Authority(folder, "mine"), Authority(folder, "other")
    return Files(mine.file, other.file, mine.issue("server"), mine.issue("client"), other.issue("stranger"))


@pytest.fixture(scope="module")
def model_dir(saved_models: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls") / "models"
    shutil.copytree(saved_models[0], folder / "3")
    return folder


def serve(model_dir: Path, files: Files, client_ca: Path | None) -> RunningServer:
    tls = ServerTls(certificate=files.server.certificate, key=files.server.key, client_ca=client_ca)
    return run_server(ServerConfig(model=ServedModel(base_path=model_dir), grpc_port=0, rest_port=0, tls=tls))


@pytest.fixture(scope="module")
def tls_server(model_dir: Path, files: Files) -> Iterator[RunningServer]:
    with serve(model_dir, files, None) as server:
        yield server


@pytest.fixture(scope="module")
def mutual_server(model_dir: Path, files: Files) -> Iterator[RunningServer]:
    with serve(model_dir, files, files.mine) as server:
        yield server


def status_by_grpc(server: RunningServer, tls: ClientTls | None) -> int:
    options = [("grpc.enable_http_proxy", 0)]
    channel = (
        grpc.insecure_channel(server.grpc_address, options)
        if tls is None
        else grpc.secure_channel(server.grpc_address, tls.credentials(), options)
    )
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "breast_density"
    with channel:
        response = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus(request, timeout=HANG)
    return int(response.model_version_status[0].version)


def status_by_rest(server: RunningServer, ca: Path, client: Pair | None = None) -> int:
    context = ssl.create_default_context(cafile=str(ca))
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    assert server.rest_address.startswith("https://")
    connection = http.client.HTTPSConnection(urlsplit(server.rest_address).netloc, timeout=HANG, context=context)
    try:
        connection.request("GET", STATUS)
        response = connection.getresponse()
        assert response.status == 200
        return int(json.loads(response.read())["model_version_status"][0]["version"])
    finally:
        connection.close()


def refused_by_grpc(server: RunningServer, tls: ClientTls | None) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        status_by_grpc(server, tls)
    assert caught.value.code() == grpc.StatusCode.UNAVAILABLE


def plain_answer(address: str) -> bytes:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=HANG) as connection:
        connection.sendall(b"GET " + STATUS.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        try:
            return connection.recv(1000)
        except ConnectionResetError:
            return b""


def test_tls(tls_server: RunningServer, files: Files) -> None:
    assert status_by_grpc(tls_server, ClientTls(ca=files.mine)) == 3
    assert status_by_rest(tls_server, files.mine) == 3


def test_server_of_an_unknown_authority_is_refused_by_its_clients(tls_server: RunningServer, files: Files) -> None:
    refused_by_grpc(tls_server, ClientTls(ca=files.other))
    with pytest.raises(ssl.SSLCertVerificationError):
        status_by_rest(tls_server, files.other)


def test_plain_text_is_refused(tls_server: RunningServer, files: Files) -> None:
    refused_by_grpc(tls_server, None)
    for address in (tls_server.grpc_address, urlsplit(tls_server.rest_address).netloc):
        answer = plain_answer(address)
        assert not answer.startswith(b"HTTP")
        assert b"version" not in answer
    assert status_by_rest(tls_server, files.mine) == 3


def test_mutual_tls_grades_an_exam(mutual_server: RunningServer, files: Files) -> None:
    tls = ClientTls(ca=files.mine, certificate=files.client.certificate, key=files.client.key)
    image = cv2.imencode(".png", np.full((16, 16), 30, np.uint8))[1].tobytes()
    with ExamClient(mutual_server.grpc_address, credentials=tls.credentials()) as client:
        assert client.predict_exam({"CC_R": image}).density == "A"
    assert status_by_rest(mutual_server, files.mine, files.client) == 3


def test_mutual_tls_refuses_clients_without_or_with_a_strange_certificate(
    mutual_server: RunningServer, files: Files
) -> None:
    without = ClientTls(ca=files.mine)
    strange = ClientTls(ca=files.mine, certificate=files.stranger.certificate, key=files.stranger.key)
    refused_by_grpc(mutual_server, without)
    refused_by_grpc(mutual_server, strange)
    for client in (None, files.stranger):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            status_by_rest(mutual_server, files.mine, client)
    exam_client = ExamClient(mutual_server.grpc_address, timeout_s=5, credentials=without.credentials())
    with exam_client, pytest.raises(ServerUnreachableError):
        exam_client.model_recipe()
    assert status_by_rest(mutual_server, files.mine, files.client) == 3


def test_a_silent_handshake_does_not_hold_up_the_others(tls_server: RunningServer, files: Files) -> None:
    host, _, port = urlsplit(tls_server.rest_address).netloc.rpartition(":")
    with socket.create_connection((host, int(port))):
        assert status_by_rest(tls_server, files.mine) == 3


def test_files_that_cannot_be_used(model_dir: Path, files: Files, tmp_path: Path) -> None:
    for tls in (
        ServerTls(certificate=files.server.certificate, key=files.client.key),
        ServerTls(certificate=tmp_path / "absent.crt", key=files.server.key),
        ServerTls(certificate=files.server.certificate, key=files.server.key, client_ca=files.server.key),
    ):
        with pytest.raises(ServerStartError, match="The TLS files cannot be used"):
            run_server(ServerConfig(model=ServedModel(base_path=model_dir), grpc_port=0, rest_port=0, tls=tls))
    with pytest.raises(ValueError, match="belong together"):
        ClientTls(certificate=files.client.certificate)
