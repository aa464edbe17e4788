"""What the command line's ``serve`` asks for, as a server's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serving.server.config import ServedModel, ServerConfig
from serving.server.text_protos import read_model_config, read_monitoring_config


def server_config(
    model_dir: Path | None,
    name: str,
    model_config: tuple[Path | None, float],
    monitoring_config: Path | None,
    tls: tuple[Path | None, Path | None, Path | None],
    other: Mapping[str, Any],
) -> ServerConfig:
    """Makes a server's configuration.

    Args:
        model_dir: Folder of version folders; with a model config file it replaces the folder that the file names.
        name: Name the model is served under; the model config file's own comes first.
        model_config: ModelServerConfig text proto, and the time between two looks at it, s.
        monitoring_config: MonitoringConfig text proto.
        tls: Certificate, key and client authorities.
        other: Further fields of `ServerConfig`.

    Raises:
        ValueError: The options do not fit together, or a number is out of range.
        ServerStartError: A file cannot be read.
    """
    file, poll_seconds = model_config
    certificate, key, client_ca = tls
    if file is None and model_dir is None:
        raise ValueError("Give MODEL_DIR, or --model-config-file.")
    if file is None and poll_seconds:
        raise ValueError("--model-config-poll needs --model-config-file.")
    if (certificate is None) != (key is None) or (client_ca is not None and certificate is None):
        raise ValueError("TLS needs --tls-cert and --tls-key; --tls-client-ca comes on top of them.")
    if file is not None:
        model = read_model_config(file, model_dir)
    else:
        assert model_dir is not None
        model = ServedModel(base_path=model_dir, name=name)
    files = {"certificate": certificate, "key": key, "client_ca": client_ca}
    return ServerConfig.model_validate(
        {
            "model": model,
            "model_config_file": file,
            "model_config_poll_seconds": poll_seconds,
            "metrics_path": None if monitoring_config is None else read_monitoring_config(monitoring_config),
            "tls": files if certificate is not None else None,
            **other,
        }
    )
