"""Train on several machines: a Trainer's pod starts a TFJob of Kubeflow's training operator, and waits for it.

A node of Kubeflow Pipelines is one pod. ``MultiWorkerMirroredStrategy`` needs several pods that start together and find
each other by ``TF_CONFIG``, which the operator sets. Each machine of the job runs the same command as the node, on the
same volume as the node's pod. Only the first machine writes.

Source: https://www.kubeflow.org/docs/components/trainer/legacy-v1/user-guides/tensorflow/
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from pipeline.kubeflow.executor_input import VOLUME_ROOT
from pipeline.kubeflow.specification import kubeflow_name
from pipeline.kubeflow_config import KubeflowConfig

_GROUP: Final = ("kubeflow.org", "v1")
_PLURAL: Final = "tfjobs"
_PORT: Final = 2222
_ATTEMPTS: Final = 30  # to replace the job of an earlier attempt
_NAMESPACE_FILE: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class TrainingJobError(RuntimeError):
    """The machines did not train; the message contains the reason of the operator or of Kubernetes."""


class TrainingJob(BaseModel):
    """The machines of a job, as a container argument of a node.

    Attributes:
        name: Prefix of the job's name.
        workers: Number of machines.
        image: Container image.
        cpu: Cores per machine.
        memory: Memory per machine, GB.
        gpus: Accelerators per machine.
        gpu_resource: Kubernetes' name of the accelerator.
        node_selector: Labels that a machine must have.
        claim: Volume with the artifacts.
        mount: Mount point of the volume.
        start_minutes: How long machines may be missing, min.
        hours: How long the job may take, hours.
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
    start_minutes: float
    hours: float


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
        start_minutes=config.training_start_minutes,
        hours=config.training_hours,
    )


def job_name(job: TrainingJob, command: Sequence[str]) -> str:
    """Return a job's name: the same for each attempt of a node, because the command contains its outputs' places."""
    return f"{job.name}-{hashlib.sha256(chr(0).join(command).encode()).hexdigest()[:10]}"


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
        "metadata": {"name": job_name(job, command), "labels": {"app.kubernetes.io/part-of": "breast-density"}},
        "spec": {
            "runPolicy": {
                "cleanPodPolicy": "Running",
                "backoffLimit": 3,
                "ttlSecondsAfterFinished": 86400,
                # The operator ends it too, if the pod that waits for it is lost.
                "activeDeadlineSeconds": round(job.hours * 3600),
            },
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


def _ended(status: Mapping[str, Any]) -> tuple[str, str]:
    """Return ``Succeeded`` or ``Failed`` and the operator's message; two empty texts while the job is running."""
    for condition in status.get("conditions") or ():
        if condition.get("type") in ("Succeeded", "Failed") and condition.get("status") == "True":
            return condition["type"], str(condition.get("message", ""))
    return "", ""


def _machines(status: Mapping[str, Any]) -> int:
    """Return the number of machines that run, or have done their part."""
    workers = (status.get("replicaStatuses") or {}).get("Worker") or {}
    return int(workers.get("active") or 0) + int(workers.get("succeeded") or 0)


def run_tf_job(job: TrainingJob, command: Sequence[str], seconds: float = 10.0) -> str:
    """Start a TFJob in this pod's namespace and wait for its end.

    The job is removed if the wait ends before it. What an earlier attempt of the node has left is removed first,
    because two jobs would write the same files.

    Args:
        job: Machines of the job.
        command: Command that each machine runs.
        seconds: Interval between two queries, s.

    Returns:
        Name of the job.

    Raises:
        TrainingJobError: Kubernetes does not accept the job, machines are missing for too long, the job takes too long,
            or it failed.
    """
    from kubernetes import client, config

    config.load_incluster_config()
    api = client.CustomObjectsApi()
    return start_and_wait(api, _NAMESPACE_FILE.read_text(encoding="utf-8").strip(), job, command, seconds)


def start_and_wait(api: Any, namespace: str, job: TrainingJob, command: Sequence[str], seconds: float) -> str:
    """Start a job and wait for its end, as :func:`run_tf_job`, with a client of Kubernetes' custom objects."""
    name, ended = job_name(job, command), False
    _create(api, namespace, tf_job(job, command), seconds)
    try:
        _wait(lambda: api.get_namespaced_custom_object(*_GROUP, namespace, _PLURAL, name), job, name, seconds)
        ended = True
    except _FailedJobError:
        ended = True  # it stays for a day, with its pods' logs
        raise
    finally:
        if not ended:
            _delete(api, namespace, name)
    return name


def _create(api: Any, namespace: str, manifest: Mapping[str, Any], seconds: float) -> None:
    """Create a job, in place of one with the same name.

    Raises:
        TrainingJobError: Kubernetes does not accept it, or the old one does not go.
    """
    from kubernetes.client.exceptions import ApiException

    hint = {
        403: " Apply kubeflow/manifests/training, which allows the runs' service account to start TFJobs.",
        404: " Install Kubeflow's training operator.",
        409: " A job of an earlier attempt is still there: delete it.",
    }
    for attempt in range(_ATTEMPTS + 1):
        try:
            api.create_namespaced_custom_object(*_GROUP, namespace, _PLURAL, dict(manifest))
            return
        except ApiException as error:
            if error.status != 409 or attempt == _ATTEMPTS:
                raise TrainingJobError(
                    f"Kubernetes does not accept the TFJob: {error.status} {error.reason}.{hint.get(error.status, '')}"
                ) from error
            _delete(api, namespace, manifest["metadata"]["name"])
        time.sleep(seconds)


def _delete(api: Any, namespace: str, name: str) -> None:
    """Delete a job; it is gone only when its pods are.

    Raises:
        TrainingJobError: Kubernetes does not delete it.
    """
    from kubernetes.client.exceptions import ApiException

    try:
        api.delete_namespaced_custom_object(*_GROUP, namespace, _PLURAL, name, propagation_policy="Foreground")
    except ApiException as error:
        if error.status != 404:
            raise TrainingJobError(
                f"Kubernetes does not delete the TFJob {name}: {error.status} {error.reason}. Delete it."
            ) from error


class _FailedJobError(TrainingJobError):
    """The operator has ended the job."""


def _wait(query: Callable[[], Mapping[str, Any]], job: TrainingJob, name: str, seconds: float) -> None:
    """Wait for the end of a job.

    Raises:
        TrainingJobError: Machines are missing for too long, the job takes too long, or it failed.
    """
    started = complete = time.monotonic()
    while True:
        status = query().get("status") or {}
        kind, message = _ended(status)
        if kind == "Failed":
            raise _FailedJobError(f"The TFJob {name} failed: {message or 'see the logs of its pods'}")
        if kind:
            return
        now, machines = time.monotonic(), _machines(status)
        complete = now if machines >= job.workers else complete
        if now - complete > job.start_minutes * 60:
            raise TrainingJobError(
                f"The TFJob {name} had fewer than {job.workers} machines for {job.start_minutes:g} minutes; now it has"
                f" {machines}. Give the cluster room for {job.workers} pods of {job.cpu:g} cores, {job.memory:g} GB and"
                f" {job.gpus} accelerators, or set kubeflow.training_start_minutes."
            )
        if now - started > job.hours * 3600:
            raise TrainingJobError(
                f"The TFJob {name} has not ended after {job.hours:g} hours: set kubeflow.training_hours."
            )
        time.sleep(seconds)
