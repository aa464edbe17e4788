"""Train on several machines: a Trainer's pod starts a TFJob of Kubeflow's training operator, and waits for it.

A node of Kubeflow Pipelines is one pod. ``MultiWorkerMirroredStrategy`` needs several pods that start together and find
each other by ``TF_CONFIG``, which the operator sets. Each machine of the job runs the same command as the node, on the
same volume as the node's pod. Only the first machine writes.

Source: https://www.kubeflow.org/docs/components/trainer/legacy-v1/user-guides/tensorflow/
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from pipeline.kubeflow.executor_input import VOLUME_ROOT
from pipeline.kubeflow.specification import kubeflow_name
from pipeline.kubeflow_config import KubeflowConfig

_GROUP: Final = ("kubeflow.org", "v1")
_PLURAL: Final = "tfjobs"
_PORT: Final = 2222
_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class TrainingJobError(RuntimeError):
    """The machines did not train; the message contains the reason of the operator or of Kubernetes."""


class TrainingJob(BaseModel):
    """The machines of a job, as a container argument of a node.

    Attributes:
        name: Prefix of the job's name; Kubernetes appends a suffix.
        workers: Number of machines.
        image: Container image.
        cpu: Cores per machine.
        memory: Memory per machine, GB.
        gpus: Accelerators per machine.
        gpu_resource: Kubernetes' name of the accelerator.
        node_selector: Labels that a machine must have.
        claim: Volume with the artifacts.
        mount: Mount point of the volume.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    workers: int
    image: str
    cpu: float
    memory: float
    gpus: int
    gpu_resource: str
    node_selector: Mapping[str, str]
    claim: str
    mount: str


def training_job(node: str, image: str, config: KubeflowConfig) -> TrainingJob:
    """Return the job of a Trainer, from what the node requests from the cluster."""
    settings = config.settings_of(node)
    return TrainingJob(
        name=kubeflow_name(node),
        workers=config.training_workers,
        image=image,
        cpu=settings.cpu,
        memory=settings.memory,
        gpus=settings.gpus,
        gpu_resource=settings.gpu_resource,
        node_selector=settings.node_selector,
        claim=config.artifacts_claim,
        mount=VOLUME_ROOT,
    )


def tf_job(job: TrainingJob, command: Sequence[str]) -> dict[str, Any]:
    """Return the manifest of a TFJob.

    Args:
        job: Machines of the job.
        command: Command that each machine runs.
    """
    limits: dict[str, Any] = {"cpu": f"{round(job.cpu * 1000)}m", "memory": f"{round(job.memory * 1000)}M"}
    if job.gpus:
        limits[job.gpu_resource] = job.gpus
    pod = {
        # A service mesh would block the connections between the machines.
        "metadata": {"annotations": {"sidecar.istio.io/inject": "false"}},
        "spec": {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "nodeSelector": dict(job.node_selector),
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "runAsGroup": 10001,
                "fsGroup": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "tensorflow",  # the operator looks for this name, and for that of the port
                    "image": job.image,
                    "command": list(command),
                    "ports": [{"name": "tfjob-port", "containerPort": _PORT}],
                    "resources": {"requests": limits, "limits": limits},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "artifacts", "mountPath": job.mount}],
                }
            ],
            "volumes": [{"name": "artifacts", "persistentVolumeClaim": {"claimName": job.claim}}],
        },
    }
    return {
        "apiVersion": "/".join(_GROUP),
        "kind": "TFJob",
        "metadata": {"generateName": f"{job.name}-", "labels": {"app.kubernetes.io/part-of": "breast-density"}},
        "spec": {
            "runPolicy": {"cleanPodPolicy": "Running", "backoffLimit": 3, "ttlSecondsAfterFinished": 86400},
            "tfReplicaSpecs": {
                # Worker 0 is the chief. ExitCode: a lost machine is replaced, a permanent error is not retried.
                "Worker": {"replicas": job.workers, "restartPolicy": "ExitCode", "template": pod}
            },
        },
    }


def is_machine(environment: Mapping[str, str]) -> bool:
    """Return True if this process is a machine of a job, False if it is the node's pod that starts the job."""
    return bool(environment.get("TF_CONFIG"))


def is_first_machine(environment: Mapping[str, str]) -> bool:
    """Return True if this process is the machine that writes."""
    task = json.loads(environment["TF_CONFIG"]).get("task", {})
    return bool(task.get("type") in ("chief", "worker") and int(task.get("index", -1)) == 0)


def _ended(job: Mapping[str, Any]) -> tuple[str, str]:
    """Return ``Succeeded`` or ``Failed`` and the operator's message; two empty texts while the job is running."""
    for condition in job.get("status", {}).get("conditions") or ():
        if condition.get("type") in ("Succeeded", "Failed") and condition.get("status") == "True":
            return condition["type"], str(condition.get("message", ""))
    return "", ""


def run_tf_job(manifest: Mapping[str, Any], seconds: float = 10.0) -> str:
    """Start a TFJob in this pod's namespace and wait for its end. The job is removed if this process is stopped.

    Args:
        manifest: What :func:`tf_job` returned.
        seconds: Interval between two queries, s.

    Returns:
        Name of the job.

    Raises:
        TrainingJobError: Kubernetes does not accept the job, or the job failed.
    """
    from kubernetes import client, config

    config.load_incluster_config()
    api = client.CustomObjectsApi()
    return start_and_wait(api, _NAMESPACE_FILE.read_text(encoding="utf-8").strip(), manifest, seconds)


def start_and_wait(api: Any, namespace: str, manifest: Mapping[str, Any], seconds: float) -> str:
    """Start a job and wait for its end, as :func:`run_tf_job`, with a client of Kubernetes' custom objects."""
    from kubernetes.client.exceptions import ApiException

    try:
        name = api.create_namespaced_custom_object(*_GROUP, namespace, _PLURAL, dict(manifest))["metadata"]["name"]
    except ApiException as error:
        hint = {
            403: " Apply kubeflow/manifests/training, which allows the runs' service account to start TFJobs.",
            404: " Install Kubeflow's training operator.",
        }
        raise TrainingJobError(
            f"Kubernetes does not accept the TFJob: {error.status} {error.reason}.{hint.get(error.status, '')}"
        ) from error
    ended = False
    try:
        while True:
            kind, message = _ended(api.get_namespaced_custom_object(*_GROUP, namespace, _PLURAL, name))
            if kind:
                break
            time.sleep(seconds)
        ended = True
    finally:
        if not ended:
            api.delete_namespaced_custom_object(*_GROUP, namespace, _PLURAL, name)
    if kind == "Failed":
        raise TrainingJobError(f"The TFJob {name} failed: {message or 'see the logs of its pods'}")
    return str(name)
