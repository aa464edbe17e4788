"""Training on several machines: the TFJob, and the real Kubernetes client against a small server of its API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import kubernetes_validate
import pytest

from pipeline.kubeflow.training_job import (
    TrainingJob,
    TrainingJobError,
    is_first_machine,
    is_machine,
    start_and_wait,
    tf_job,
    training_job,
)
from pipeline.kubeflow_config import KubeflowConfig, NodeOverrides

JOBS = "/apis/kubeflow.org/v1/namespaces/kubeflow/tfjobs"
CONFIG = KubeflowConfig(
    artifacts_claim="shared", training_workers=3, nodes={"Trainer": NodeOverrides(gpus=1, cpu=2.5, memory=8)}
)


@pytest.fixture
def job() -> TrainingJob:
    made = training_job("Trainer.CC_R", "density:1", CONFIG)
    return TrainingJob.model_validate_json(made.model_dump_json())  # as it gets into a container's argument


def test_the_machines_are_pods_that_kubernetes_takes(job: TrainingJob) -> None:
    manifest = tf_job(job, ["python", "-m", "pipeline.kubeflow.entrypoint", "--x", "{}"])
    assert (manifest["apiVersion"], manifest["kind"]) == ("kubeflow.org/v1", "TFJob")
    assert manifest["metadata"]["generateName"] == "trainer-cc-r-"
    # Fields of manifests/base/crds/kubeflow.org_tfjobs.yaml of Kubeflow's training operator.
    assert set(manifest["spec"]) <= {"runPolicy", "successPolicy", "enableDynamicWorker", "tfReplicaSpecs"}
    assert set(manifest["spec"]["runPolicy"]) <= {"cleanPodPolicy", "backoffLimit", "ttlSecondsAfterFinished"}
    worker = manifest["spec"]["tfReplicaSpecs"]["Worker"]
    assert set(worker) == {"replicas", "restartPolicy", "template"}
    assert worker["replicas"] == 3
    metadata = {"name": "worker-0", **worker["template"]["metadata"]}
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": worker["template"]["spec"]},
        "1.30",
        strict=True,
    )
    (container,) = worker["template"]["spec"]["containers"]
    assert container["name"] == "tensorflow"
    assert container["resources"]["limits"] == {"cpu": "2500m", "memory": "8000M", "nvidia.com/gpu": 1}
    assert container["volumeMounts"] == [{"name": "artifacts", "mountPath": "/artifacts"}]


@pytest.mark.parametrize(("kind", "index", "first"), [("worker", 0, True), ("worker", 1, False), ("ps", 0, False)])
def test_the_first_machine_writes(kind: str, index: int, first: bool) -> None:
    environment = {"TF_CONFIG": json.dumps({"cluster": {}, "task": {"type": kind, "index": index}})}
    assert is_machine(environment)
    assert is_first_machine(environment) is first
    assert not is_machine({})


class FakeKubernetes:
    """Answers as the API does for one job: as many times under way as it is told, then ended."""

    def __init__(self) -> None:
        self.ends: dict[str, Any] = {}
        self.refusal = 0
        self.asked: list[tuple[str, str]] = []

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        self.asked.append((method, path))
        if self.refusal:
            return self.refusal, {"message": "no"}
        if method == "POST":
            return 201, {"metadata": {"name": "trainer-cc-r-x1"}}
        under_way = len([1 for asked, _ in self.asked if asked == "GET"]) < 3
        created = {"type": "Created", "status": "True"}
        return 200, {"status": {"conditions": [created] if under_way else [created, self.ends]}}


@pytest.fixture
def kubernetes() -> Iterator[tuple[FakeKubernetes, Any]]:
    from kubernetes import client

    fake = FakeKubernetes()

    class Handler(BaseHTTPRequestHandler):
        def _serve(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = fake.answer(self.command, self.path)
            payload = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)

        do_GET = do_POST = do_DELETE = _serve  # noqa: N815 - the names that http.server calls

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    configuration = client.Configuration(host=f"http://127.0.0.1:{server.server_address[1]}")
    yield fake, client.CustomObjectsApi(client.ApiClient(configuration))
    server.shutdown()
    thread.join()
    server.server_close()


def test_it_waits_for_the_end(job: TrainingJob, kubernetes: tuple[FakeKubernetes, Any]) -> None:
    fake, api = kubernetes
    fake.ends = {"type": "Succeeded", "status": "True"}
    assert start_and_wait(api, "kubeflow", tf_job(job, ["true"]), 0.0) == "trainer-cc-r-x1"
    assert fake.asked == [("POST", JOBS), *[("GET", f"{JOBS}/trainer-cc-r-x1")] * 3]


def test_a_failure_is_told(job: TrainingJob, kubernetes: tuple[FakeKubernetes, Any]) -> None:
    fake, api = kubernetes
    fake.ends = {"type": "Failed", "status": "True", "message": "worker 1 ran out of memory"}
    with pytest.raises(TrainingJobError, match="trainer-cc-r-x1 failed: worker 1 ran out of memory"):
        start_and_wait(api, "kubeflow", tf_job(job, ["true"]), 0.0)


@pytest.mark.parametrize(("status", "said"), [(403, "manifests/training"), (404, "training operator")])
def test_a_refusal_says_what_to_do(
    job: TrainingJob, kubernetes: tuple[FakeKubernetes, Any], status: int, said: str
) -> None:
    fake, api = kubernetes
    fake.refusal = status
    with pytest.raises(TrainingJobError, match=said):
        start_and_wait(api, "kubeflow", tf_job(job, ["true"]), 0.0)
