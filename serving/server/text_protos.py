"""TensorFlow Serving's configuration files: ModelServerConfig, MonitoringConfig and SSLConfig text protos.

Its Python package only contains the first message. The other two are declared here. Imports no TensorFlow.

Source: tensorflow_serving/config/monitoring_config.proto and ssl_config.proto.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2, text_format
from google.protobuf.message import Message
from tensorflow_serving.config import model_server_config_pb2

from serving.server.config import METRICS_PATH, ServedModel, VersionPolicy
from serving.wire.dynamic_messages import message_class
from serving.wire.errors import ServerStartError
from serving.wire.tls import ServerTls

_PLATFORM: Final = "tensorflow"
_STRING: Final = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_BOOL: Final = descriptor_pb2.FieldDescriptorProto.TYPE_BOOL
_MESSAGE: Final = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
_PACKAGE: Final = "tensorflow.serving"
# Type or message name of each field; the field numbers follow the order.
MESSAGES: Final[dict[str, dict[str, int | str]]] = {
    "PrometheusConfig": {"enable": _BOOL, "path": _STRING},
    "MonitoringConfig": {"prometheus_config": "PrometheusConfig"},
    "SSLConfig": {"server_key": _STRING, "server_cert": _STRING, "custom_ca": _STRING, "client_verify": _BOOL},
}


def new_message(name: str) -> Any:
    """Return an empty message of one of `MESSAGES`."""
    file = descriptor_pb2.FileDescriptorProto(
        name="breast_density/tf_serving_configs.proto", package=_PACKAGE, syntax="proto3"
    )
    for message, fields in MESSAGES.items():
        declared = file.message_type.add(name=message)
        for number, (field, kind) in enumerate(fields.items(), start=1):
            entry = declared.field.add(
                name=field, number=number, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
            )
            if isinstance(kind, str):
                entry.type, entry.type_name = _MESSAGE, f".{_PACKAGE}.{kind}"
            else:
                entry.type = kind
    return message_class(file, f"{_PACKAGE}.{name}")()


def _parse(path: Path, message: Message) -> None:
    try:
        text_format.Parse(path.read_text(encoding="utf-8"), message)
    except (OSError, UnicodeDecodeError) as error:
        raise ServerStartError(f"{path} cannot be read ({type(error).__name__}): give a text proto.") from None
    except text_format.ParseError as error:
        name = message.DESCRIPTOR.name
        raise ServerStartError(f"{path} is not a {name} text proto ({error}): correct it.") from None


def policy_of(config: model_server_config_pb2.ModelConfig) -> VersionPolicy:
    """Return the version policy of a model; the default is the latest version.

    Raises:
        ValueError: A number is not a version, or ``specific`` has no versions.
    """
    policy = config.model_version_policy
    kind = policy.WhichOneof("policy_choice")
    if kind == "all":
        return VersionPolicy(kind="all")
    if kind == "specific":
        if not policy.specific.versions:
            raise ValueError("specific names no version")
        return VersionPolicy(kind="specific", versions=tuple(policy.specific.versions))
    return VersionPolicy(count=max(1, policy.latest.num_versions))


def read_model_config(path: Path, base_path: Path | None = None) -> ServedModel:
    """Read the file of ``--model_config_file``.

    Args:
        path: ModelServerConfig text proto with one model.
        base_path: Folder of version folders that replaces the one in the file, for example if the file names a folder
            of a container.

    Raises:
        ServerStartError: The file cannot be read, or this server does not support its content.
    """
    message = model_server_config_pb2.ModelServerConfig()
    _parse(path, message)
    configs = message.model_config_list.config
    if len(configs) != 1:
        raise ServerStartError(f"{path} lists {len(configs)} models: the local server serves exactly one.")
    (config,) = configs
    if config.model_platform != _PLATFORM:
        raise ServerStartError(f"{path} has model_platform {config.model_platform!r}: it must be {_PLATFORM!r}.")
    try:
        return ServedModel(
            base_path=base_path or Path(config.base_path),
            name=config.name,
            policy=policy_of(config),
            labels=dict(config.version_labels),
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise ServerStartError(f"{path} does not describe a model that can be served: {reason}") from None


def model_config_text(model: ServedModel) -> str:
    """Return a model as ModelServerConfig text proto."""
    message = model_server_config_pb2.ModelServerConfig()
    config = message.model_config_list.config.add(
        name=model.name, base_path=str(model.base_path), model_platform=_PLATFORM
    )
    policy = config.model_version_policy
    if model.policy.kind == "all":
        policy.all.SetInParent()
    elif model.policy.kind == "specific":
        policy.specific.versions.extend(model.policy.versions)
    else:
        policy.latest.num_versions = model.policy.count
    for label, version in model.labels.items():
        config.version_labels[label] = version
    result: str = text_format.MessageToString(message)
    return result


def read_monitoring_config(path: Path) -> str | None:
    """Read the file of ``--monitoring_config_file``.

    Returns:
        REST path of the Prometheus metrics; ``None`` if the file does not enable them.

    Raises:
        ServerStartError: The file cannot be read.
    """
    message = new_message("MonitoringConfig")
    _parse(path, message)
    prometheus = message.prometheus_config
    if not prometheus.enable:
        return None
    return prometheus.path or METRICS_PATH


def monitoring_config_text(metrics_path: str) -> str:
    """Return a MonitoringConfig that enables Prometheus at a path."""
    message = new_message("MonitoringConfig")
    message.prometheus_config.enable = True
    message.prometheus_config.path = metrics_path
    result: str = text_format.MessageToString(message)
    return result


def ssl_config_text(tls: ServerTls) -> str:
    """Return the SSLConfig of ``--ssl_config_file``, which contains the PEM texts.

    Raises:
        OSError: A file cannot be read.
    """
    message = new_message("SSLConfig")
    message.server_key = tls.key.read_text()
    message.server_cert = tls.certificate.read_text()
    if tls.client_ca is not None:
        message.custom_ca = tls.client_ca.read_text()
        message.client_verify = True
    result: str = text_format.MessageToString(message)
    return result
