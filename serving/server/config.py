"""What a server is started with: model, versions, addresses, TLS, limits. Imports no TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

METRICS_PATH: Final = "/monitoring/prometheus/metrics"  # TensorFlow Serving's own
_PER_CPU: Final = 4  # TensorFlow Serving's grpc_max_threads is four a CPU

Version = Annotated[int, Field(ge=0, lt=1 << 63)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VersionPolicy(_Frozen):
    """Which versions under the model's folder are served, as ModelServerConfig's ``model_version_policy``.

    Attributes:
        kind: ``latest`` (the greatest numbers), ``specific`` (those of ``versions``) or ``all``.
        count: How many of the latest.
        versions: The specific ones; those that are not on disk yet are served once they are.
    """

    kind: Literal["latest", "specific", "all"] = "latest"
    count: int = Field(1, ge=1)
    versions: tuple[Version, ...] = ()

    def choose(self, present: set[int]) -> set[int]:
        """Chooses of the versions on disk those to serve."""
        if self.kind == "all":
            return set(present)
        if self.kind == "specific":
            return present & set(self.versions)
        return set(sorted(present)[-self.count :])


class ServedModel(_Frozen):
    """The model a server serves.

    Attributes:
        base_path: Folder of version folders as the Pusher writes it, or a SavedModel itself.
        name: Name it is served under.
        policy: Versions served at once.
        labels: Version by label, such as ``stable`` and ``canary``. As with TensorFlow Serving's
            ``--allow_version_labels_for_unavailable_models``, a new label may name a version that is not there yet;
            until it is, requests by that label are NOT_FOUND.
    """

    base_path: Path
    name: str = Field("breast_density", min_length=1)
    policy: VersionPolicy = VersionPolicy()
    labels: dict[str, Version] = {}


class ServerTls(_Frozen):
    """Files of PEM. gRPC and REST use the same.

    Attributes:
        certificate: Certificate chain of the server.
        key: Its private key, without a passphrase.
        client_ca: Authorities whose client certificates are let in; without it, clients need none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


class Limits(_Frozen):
    """What one server gives its clients at most. Worst-case memory is about (running + queued) messages.

    Attributes:
        message_bytes: Largest gRPC message; REST bodies may be a third larger, for base64.
        request_seconds: Longest time from the request's arrival to its answer, s.
        read_seconds: Longest time for a request to arrive whole, or for an answer to be taken, s.
        idle_seconds: Time after which a REST connection without a request is closed, s.
        running: Predictions computed at once.
        queued: Predictions that wait for one of them to end; any further one is refused.
        connections: REST connections at once.
    """

    message_bytes: int = Field(64 << 20, ge=1 << 10, lt=1 << 31)
    request_seconds: float = Field(60.0, gt=0)
    read_seconds: float = Field(30.0, gt=0)
    idle_seconds: float = Field(60.0, gt=0)
    running: int = Field(_PER_CPU * (os.cpu_count() or 1), ge=1)
    queued: int = Field(32, ge=0)
    connections: int = Field(64, ge=1)


class ServerConfig(_Frozen):
    """A server.

    Attributes:
        model: What is served.
        model_config_file: ModelServerConfig text proto that ``model`` came from, to be read again when it changes.
        model_config_poll_seconds: Time between two looks at that file, s; 0 reads it once.
        host: Address to listen on. Without ``tls.client_ca`` there is no authentication: keep to the machine itself
            unless something in front guards it.
        grpc_port: Port of gRPC; 0 picks a free one.
        rest_port: Port of REST; 0 picks a free one.
        poll_seconds: Time between two looks for new versions, s (TensorFlow Serving's default is 1 s).
        tls: Certificates, ``None`` for plain text.
        limits: Sizes, times and numbers.
        metrics_path: REST path of the Prometheus metrics, ``None`` for none.
    """

    model: ServedModel
    model_config_file: Path | None = None
    model_config_poll_seconds: float = Field(0.0, ge=0)
    host: str = "127.0.0.1"
    grpc_port: int = Field(8500, ge=0, lt=1 << 16)
    rest_port: int = Field(8501, ge=0, lt=1 << 16)
    poll_seconds: float = Field(1.0, gt=0)
    tls: ServerTls | None = None
    limits: Limits = Limits()
    metrics_path: str | None = Field(None, pattern="^/")
