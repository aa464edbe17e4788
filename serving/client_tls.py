"""What a client needs to talk to a model server by TLS. Imports no TensorFlow."""

from __future__ import annotations

from pathlib import Path

import grpc
from pydantic import BaseModel, ConfigDict, model_validator


class ClientTls(BaseModel):
    """Files of PEM.

    Attributes:
        ca: Authorities the server's certificate may come from; ``None`` takes gRPC's own list of public ones.
        certificate: The client's certificate chain, where the server asks for one (mutual TLS).
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
        """Reads the files.

        Raises:
            OSError: A file cannot be read.
        """

        def read(path: Path | None) -> bytes | None:
            return None if path is None else path.read_bytes()

        return grpc.ssl_channel_credentials(read(self.ca), read(self.key), read(self.certificate))
