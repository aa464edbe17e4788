"""Options of the command ``serve``, and the server configuration that they make."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from components.reference_model import model_or_reference
from serving.server.config import Limits, ServedModel, ServerConfig
from serving.server.text_protos import read_model_config, read_monitoring_config
from serving.wire.tls import ServerTls


def end_process() -> None:
    """End the process at once. A running prediction cannot be interrupted, and Python would wait for its thread."""
    sys.stdout.flush()
    sys.stderr.flush()
    logging.shutdown()
    os._exit(0)


@dataclass(frozen=True)
class ServeOptions:
    """Options of the command ``serve``.

    Attributes:
        model_dir: Folder of version folders; with a model config file it replaces the folder that the file names.
            Without either, the reference model is served.
        name: Name of the model in requests; a model config file has its own.
        model_config_file: ModelServerConfig text proto.
        model_config_poll: Time between two checks of this file, s; 0 reads it once.
        monitoring_config_file: MonitoringConfig text proto.
        tls_cert: Certificate of the server.
        tls_key: Its private key.
        tls_client_ca: Certificate authorities of the clients.
        host: Address to listen on.
        grpc_port: Port of gRPC; 0 takes a free one.
        rest_port: Port of REST; 0 takes a free one.
        limits: Limits of sizes, times and numbers.
    """

    model_dir: Path | None = None
    name: str = "breast_density"
    model_config_file: Path | None = None
    model_config_poll: float = 0.0
    monitoring_config_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    host: str = "127.0.0.1"
    grpc_port: int = 8500
    rest_port: int = 8501
    limits: Limits = field(default_factory=Limits)

    def server_config(self) -> ServerConfig:
        """Return the configuration of the server.

        Raises:
            ValueError: The options do not fit together, or a number is out of range.
            ServerStartError: A file cannot be read.
        """
        if self.model_config_file is None and self.model_config_poll:
            raise ValueError("--model-config-poll needs --model-config-file.")
        tls = self._tls()
        monitoring = self.monitoring_config_file
        return ServerConfig(
            model=self._model(),
            model_config_file=self.model_config_file,
            model_config_poll_seconds=self.model_config_poll,
            host=self.host,
            grpc_port=self.grpc_port,
            rest_port=self.rest_port,
            tls=tls,
            limits=self.limits,
            metrics_path=None if monitoring is None else read_monitoring_config(monitoring),
        )

    def _model(self) -> ServedModel:
        if self.model_config_file is not None:
            return read_model_config(self.model_config_file, self.model_dir)
        return ServedModel(base_path=model_or_reference(self.model_dir), name=self.name)

    def _tls(self) -> ServerTls | None:
        given = (self.tls_cert, self.tls_key)
        if (None in given and given != (None, None)) or (self.tls_client_ca is not None and self.tls_cert is None):
            raise ValueError("TLS needs --tls-cert and --tls-key; --tls-client-ca comes on top of them.")
        if self.tls_cert is None or self.tls_key is None:
            return None
        return ServerTls(certificate=self.tls_cert, key=self.tls_key, client_ca=self.tls_client_ca)
