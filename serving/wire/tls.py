"""TLS files of a client and of a server, and the contexts made of them. Imports no TensorFlow."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc
from pydantic import BaseModel, ConfigDict, model_validator


class ClientTls(BaseModel):
    """PEM files of a client: of a model server, a DICOM node or a DICOMweb service.

    Attributes:
        ca: Certificate authorities that the client trusts; ``None`` takes the public ones.
        certificate: The client's certificate chain, if the server requires one (mutual TLS).
        key: Its private key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None

    @model_validator(mode="after")
    def _certificate_with_key(self) -> ClientTls:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("A client certificate and its key belong together: give both or neither.")
        return self

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files for gRPC.

        Raises:
            OSError: A file cannot be read.
        """

        def read(path: Path | None) -> bytes | None:
            return None if path is None else path.read_bytes()

        return grpc.ssl_channel_credentials(read(self.ca), read(self.key), read(self.certificate))

    def context(self) -> ssl.SSLContext:
        """Read the files for a socket. It requires TLS 1.2 or newer and checks the server's certificate and name.

        Raises:
            OSError: A file cannot be read or is not PEM.
        """
        context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None and self.key is not None:
            context.load_cert_chain(self.certificate, self.key, password="")  # else OpenSSL asks at the terminal
        return context


class ServerTls(BaseModel):
    """PEM files of a listening socket.

    Attributes:
        certificate: Certificate chain of the server.
        key: Its private key, without a passphrase.
        client_ca: Certificate authorities of the clients; ``None`` requires no client certificate.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def credentials(self) -> grpc.ServerCredentials:
        """Read the files for gRPC.

        Raises:
            OSError: A file cannot be read.
        """
        ca = None if self.client_ca is None else self.client_ca.read_bytes()
        pair = (self.key.read_bytes(), self.certificate.read_bytes())
        return grpc.ssl_server_credentials([pair], root_certificates=ca, require_client_auth=ca is not None)

    def context(self) -> ssl.SSLContext:
        """Read the files for a socket. It requires TLS 1.2 or newer.

        Raises:
            OSError: A file cannot be read or is not PEM.

        Source:
            BCP 195 profiles, DICOM PS3.15 sections B.9 to B.12.
        """
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.certificate, self.key, password="")  # else OpenSSL asks at the terminal
        if self.client_ca is not None:
            context.load_verify_locations(self.client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        return context
