"""What a client needs to talk to a model server, a DICOM node or a DICOMweb service by TLS. Imports no TensorFlow."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc
from pydantic import BaseModel, ConfigDict, model_validator


class ClientTls(BaseModel):
    """Files of PEM.

    Attributes:
        ca: Authorities the peer's certificate may come from; ``None`` takes the public ones.
        certificate: The client's certificate chain, where the peer asks for one (mutual TLS).
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
        """Reads the files for gRPC.

        Raises:
            OSError: A file cannot be read.
        """

        def read(path: Path | None) -> bytes | None:
            return None if path is None else path.read_bytes()

        return grpc.ssl_channel_credentials(read(self.ca), read(self.key), read(self.certificate))

    def context(self) -> ssl.SSLContext:
        """Reads the files for a socket: TLS 1.2 or newer, the peer's certificate and name are checked.

        Raises:
            OSError: A file cannot be read, or holds something else.
        """
        context = ssl.create_default_context(cafile=None if self.ca is None else str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if self.certificate is not None and self.key is not None:
            context.load_cert_chain(self.certificate, self.key, password="")  # else OpenSSL asks at the terminal
        return context
