"""A walk whose commands run as pods, of the shape that Kubeflow Pipelines 2.17 gives them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import time
import urllib.error
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.kubeflow.driver import LOGS, Driven
from pipeline.kubeflow.package import Package
from pipeline.kubeflow.walk import WalkError, filled_command
from tests.kubernetes.launcher import Store, place
from tests.waiting import wait_until

NAMESPACE = "kubeflow"
STORE = "http://10.244.0.1:9000"
LAUNCHER = "kfp-launcher"
# What the compiler of Kubeflow 2.17 mounts, for a user who may not write elsewhere.
FOLDERS = ("/minio", "/s3", "/gcs", "/.local", "/.cache", "/.config")
_LOST = ("Failed", "Succeeded")
Manifest = dict[str, Any]


# Folders of this machine that pods see too, where the image has no packages (image.sh CACHE TAG checkout).
MOUNTED = tuple(filter(None, os.environ.get("KUBERNETES_MOUNTED", "").split(":")))


def with_mounts(spec: Manifest) -> Manifest:
    """Give the first container of a pod the mounted folders."""
    names = {f"mounted-{number}": folder for number, folder in enumerate(MOUNTED)}
    mounts = [{"name": name, "mountPath": folder, "readOnly": True} for name, folder in names.items()]
    [container, *others] = spec["containers"]
    container = {**container, "volumeMounts": [*container.get("volumeMounts", ()), *mounts]}
    volumes = [{"name": name, "hostPath": {"path": folder}} for name, folder in names.items()]
    return {**spec, "containers": [container, *others], "volumes": [*spec.get("volumes", ()), *volumes]}


def kubectl(*arguments: str, given: str = "", check: bool = True) -> str:
    """Run kubectl as the administrator, and return what it writes."""
    ended = subprocess.run(["kubectl", *arguments], input=given, capture_output=True, text=True, check=False)
    if check and ended.returncode:
        raise RuntimeError(f"kubectl {' '.join(arguments)}: {ended.stderr.strip()}")
    return ended.stdout if check else ended.stdout + ended.stderr


def apply(*manifests: Manifest) -> None:
    """Apply manifests by server-side apply."""
    text = "---\n".join(json.dumps(manifest) + "\n" for manifest in manifests)
    kubectl("apply", "--server-side", "--force-conflicts", "--filename", "-", given=text)


def get(kind: str, name: str) -> Manifest | None:
    """Return an object of the namespace, None if there is none."""
    found = kubectl("get", kind, name, "--ignore-not-found", "--output", "json")
    return json.loads(found) if found else None


def phase(kind: str, name: str) -> str:
    """Return the phase of an object of the namespace; empty if there is none."""
    return str((get(kind, name) or {}).get("status", {}).get("phase", ""))


def volumes(claims: Mapping[str, Path]) -> list[Manifest]:
    """Return a volume of the node for each claim: no storage class is there to make one."""
    return [
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": claim},
            "spec": {
                "capacity": {"storage": "500Gi"},
                "accessModes": ["ReadWriteMany"],
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": NAMESPACE, "name": claim},
                "hostPath": {"path": str(folder), "type": "Directory"},
            },
        }
        for claim, folder in claims.items()
    ]


def task_pod(package: Package, driven: Driven, name: str) -> Manifest:
    """Return the pod of a task."""
    container = package.containers()[driven.task]
    label = package.spec.components[package.spec.root.dag.tasks[driven.task].component_ref.name].executor_label
    settings = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].get(label, {})
    mounts = settings.get("pvcMount", ())
    resources = {
        "cpu": f"{round(container.resources.cpu_limit * 1000)}m",
        "memory": f"{round(container.resources.memory_limit * 1000)}M",
    }
    folders = [{"name": f"kfp-{number}", "mountPath": folder} for number, folder in enumerate(FOLDERS)]
    claims = [{"name": f"pvc-{number}", "mountPath": mount["mountPath"]} for number, mount in enumerate(mounts)]
    pod: Manifest = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "labels": {"pipelines.kubeflow.org/v2_component": "true", "task": driven.task},
        },
        "spec": {
            "serviceAccountName": "pipeline-runner",
            "restartPolicy": "Never",
            "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "main",
                    "image": container.image,
                    "command": [
                        *("python", f"/{LAUNCHER}/launcher.py", STORE),
                        json_format.MessageToJson(driven.given, indent=None),
                        *filled_command(package, driven),
                    ],
                    "env": [
                        {
                            "name": pair["envVar"],
                            "valueFrom": {
                                "secretKeyRef": {"name": secret["secretName"], "key": pair["secretKey"]},
                            },
                        }
                        for secret in settings.get("secretAsEnv", ())
                        for pair in secret["keyToEnv"]
                    ],
                    "resources": {"requests": resources, "limits": resources},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "capabilities": {"drop": ["ALL"]},
                        "runAsNonRoot": True,
                    },
                    "volumeMounts": [{"name": LAUNCHER, "mountPath": f"/{LAUNCHER}"}, *folders, *claims],
                }
            ],
            "volumes": [
                {"name": LAUNCHER, "configMap": {"name": LAUNCHER}},
                *({"name": one["name"], "emptyDir": {}} for one in folders),
                *(
                    {"name": f"pvc-{number}", "persistentVolumeClaim": {"claimName": mount["constant"]}}
                    for number, mount in enumerate(mounts)
                ),
            ],
        },
    }
    return {**pod, "spec": with_mounts(pod["spec"])}


@dataclass(frozen=True)
class ClusterPods:
    """Runs each task as a pod, and again as another pod where one was lost, as often as compiled.

    Attributes:
        package: The pipeline.
        run_name: Name of the run.
        logs: Folder of the pods' logs.
        attempts: Names of the pods of each task, in their order.
    """

    package: Package
    run_name: str
    logs: Path
    attempts: dict[str, list[str]] = field(default_factory=dict)

    def root(self, task: str) -> Path:
        """Every pod has a root of its own."""
        return Path("/")

    def run(self, driven: Driven) -> spec_pb2.ExecutorOutput:
        """Run a task that the driver has prepared."""
        retries = self.package.spec.root.dag.tasks[driven.task].retry_policy.max_retry_count
        digest = hashlib.sha256(driven.given.outputs.output_file.encode()).hexdigest()[:6]
        for attempt in range(retries + 1):
            name = f"{driven.task}-{digest}-{attempt}"
            self.attempts.setdefault(driven.task, []).append(name)
            if self._succeeded(task_pod(self.package, driven, name)):
                break
        else:
            log = self.logs / f"{name}.log"
            raise WalkError(f"Task {driven.task} failed {retries + 1} times. {log}:\n{log.read_text()[-2000:]}")
        uri = driven.given.outputs.artifacts[LOGS].artifacts[0].uri
        made = Store(STORE).get(f"{place(uri)[0].rpartition('/')[0]}/output_metadata.json")
        found = spec_pb2.ExecutorOutput()
        json_format.Parse(made, found)
        return found

    def _succeeded(self, manifest: Manifest) -> bool:
        """Run a pod to its end, and keep its log."""
        name = manifest["metadata"]["name"]
        kubectl("create", "--filename", "-", given=json.dumps(manifest))
        pod: Manifest | None = manifest
        while pod and pod.get("status", {}).get("phase") not in _LOST:
            time.sleep(1)
            pod = get("pod", name)
        succeeded = phase("pod", name) == "Succeeded"
        text = kubectl("logs", name, check=False) + ("" if succeeded else json.dumps(pod and pod["status"]))
        (self.logs / f"{name}.log").write_text(text, encoding="utf-8")
        kubectl("delete", "pod", name, "--ignore-not-found", "--wait=false")
        return succeeded


def make_bucket(bucket: str) -> None:
    """Make a bucket as soon as the S3 service listens."""

    def made() -> bool:
        try:
            Store(STORE).put(bucket, b"")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    wait_until(made, pause=0.5)  # until the S3 service listens
