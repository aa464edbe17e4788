"""What Kubernetes gives a node beyond its container: volumes, secrets, machines. The second document of a package.

Kubeflow's SDK keeps the message's definition in a package of its own, kfp-kubernetes; its JSON is written here.

Source: kubeflow/pipelines, kubernetes_platform/proto/kubernetes_executor_config.proto
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from pipeline.beam.task_key import KEY_VARIABLE as TASK_KEY_VARIABLE
from pipeline.kubeflow.locations import VOLUME_ROOT
from pipeline.kubeflow.specification import executor_name
from pipeline.kubeflow_config import SCAN, KubeflowConfig, Secret, Volume

# Kinds of nodes that read the archive, that know the key of the hashes, and that work with pushed versions.
_READ_ARCHIVE: Final = frozenset({SCAN, "DicomExampleGen", "MammogramPreprocessor"})
_KNOW_KEY: Final = frozenset({SCAN, "DicomExampleGen"})
_SERVE: Final = frozenset({"BaselineModel", "WarmStart", "Pusher"})


def _volumes(kind: str, config: KubeflowConfig) -> list[Volume]:
    volumes = [config.data] if config.data and kind in _READ_ARCHIVE else []
    volumes += [config.serving] if kind in _SERVE else []
    if config.artifacts_claim:
        volumes.append(Volume(claim=config.artifacts_claim, path=VOLUME_ROOT))
    return volumes


def _secret(secret: Secret, variable: str) -> dict[str, Any]:
    return {"secretName": secret.name, "keyToEnv": [{"secretKey": secret.key, "envVar": variable}]}


def _executor(node: str, config: KubeflowConfig, key_variable: str, gives_tasks: bool) -> dict[str, Any]:
    kind = node.partition(".")[0]
    found: dict[str, Any] = {}
    if volumes := _volumes(kind, config):
        found["pvcMount"] = [{"constant": volume.claim, "mountPath": volume.path} for volume in volumes]
    secrets = [_secret(config.hash_key, key_variable)] if config.hash_key and kind in _KNOW_KEY else []
    secrets += [_secret(config.task_key, TASK_KEY_VARIABLE)] if gives_tasks else []
    if secrets:
        found["secretAsEnv"] = secrets
    if labels := config.settings_of(node).node_selector:
        found["nodeSelector"] = {"labels": dict(labels)}
    return found


def platform_spec(
    nodes: Iterable[str], config: KubeflowConfig, key_variable: str, give_tasks: Collection[str] = ()
) -> dict[str, Any]:
    """Writes what nodes need of Kubernetes.

    Args:
        nodes: Their ids.
        config: How the pipeline runs.
        key_variable: Environment variable that holds the key of the hashes.
        give_tasks: Those that give sealed tasks to Flink's workers.

    Returns:
        JSON of the message ``PlatformSpec``.
    """
    executors = {executor_name(node): _executor(node, config, key_variable, node in give_tasks) for node in nodes}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {k: v for k, v in executors.items() if v}}}}}
