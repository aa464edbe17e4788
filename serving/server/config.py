"""Configuration of a model server: model, versions, addresses, TLS, limits. Imports no TensorFlow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from serving.wire.tls import ServerTls

METRICS_PATH: Final = "/monitoring/prometheus/metrics"  # default of TensorFlow Serving
_PER_CPU: Final = 4  # TensorFlow Serving's grpc_max_threads is four per CPU

Version = Annotated[int, Field(ge=0, lt=1 << 63)]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class VersionPolicy(_Frozen):
    """Which versions of a model are served, as ``model_version_policy`` of ModelServerConfig.

    Attributes:
        kind: ``latest`` (the largest numbers), ``specific`` (those in ``versions``) or ``all``.
        count: Number of versions of ``latest``.
        versions: Versions of ``specific``; one that is not on disk yet is served when it appears.
    """

    kind: Literal["latest", "specific", "all"] = "latest"
    count: int = Field(1, ge=1)
    versions: tuple[Version, ...] = ()

    def choose(self, present: set[int]) -> set[int]:
        """Return the versions to serve, of those on disk."""
        if self.kind == "all":
            return set(present)
        if self.kind == "specific":
            return present & set(self.versions)
        return set(sorted(present)[-self.count :])


class ServedModel(_Frozen):
    """The model that a server serves.

    Attributes:
        base_path: Folder of version folders as the Pusher writes it, or a SavedModel.
        name: Name of the model in requests.
        policy: Versions that are served.
        labels: Version by label, such as ``stable`` and ``canary``. As with TensorFlow Serving's
            ``--allow_version_labels_for_unavailable_models``, a new label may name a version that is not loaded yet.
            Until it is loaded, requests with this label return NOT_FOUND.
    """

    base_path: Path
    name: str = Field("breast_density", min_length=1)
    policy: VersionPolicy = VersionPolicy()
    labels: dict[str, Version] = {}


class Limits(_Frozen):
    """Limits of one server. The largest use of memory is about (running + queued) messages.

    Attributes:
        message_bytes: Largest gRPC message; REST bodies may be a third larger, for base64.
        request_seconds: Longest time from the arrival of a request to its response, s.
        read_seconds: Longest time to receive a request, or to send a response, s.
        head_seconds: Longest time to receive the head of a REST request, s.
        idle_seconds: Time after which a REST connection without a request is closed, s.
        running: Predictions that run at the same time.
        queued: Predictions that wait; further ones are refused.
        connections: REST connections at the same time.
        instances: Entries of ``instances`` in a REST request.
        json_values: Values in the JSON of a REST request, lists and objects included.
    """

    message_bytes: int = Field(64 << 20, ge=1 << 10, lt=1 << 31)
    request_seconds: float = Field(60.0, gt=0)
    read_seconds: float = Field(30.0, gt=0)
    head_seconds: float = Field(5.0, gt=0)
    idle_seconds: float = Field(60.0, gt=0)
    running: int = Field(_PER_CPU * (os.cpu_count() or 1), ge=1)
    queued: int = Field(32, ge=0)
    connections: int = Field(64, ge=1)
    instances: int = Field(4096, ge=1)
    json_values: int = Field(100_000, ge=1)


class ServerConfig(_Frozen):
    """Configuration of a model server.

    Attributes:
        model: The model that is served.
        model_config_file: ModelServerConfig text proto that ``model`` was read from; it is read again when it changes.
        model_config_poll_seconds: Time between two checks of this file, s; 0 reads it once.
        host: Address to listen on. Without ``tls.client_ca`` there is no authentication: keep the default unless a
            firewall or proxy protects the server.
        grpc_port: Port of gRPC; 0 takes a free one.
        rest_port: Port of REST; 0 takes a free one.
        poll_seconds: Time between two checks for new versions, s (TensorFlow Serving's default is 1 s).
        tls: Certificates of gRPC and REST; ``None`` is plain text.
        limits: Limits of sizes, times and numbers.
        metrics_path: REST path of the Prometheus metrics; ``None`` disables them.
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
