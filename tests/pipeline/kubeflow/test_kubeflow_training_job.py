"""Training on several machines: the TFJob, and the real Kubernetes client against a small server of its API."""

from __future__ import annotations

import json
import re
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
    assert re.fullmatch(r"trainer-cc-r-[0-9a-f]{10}", manifest["metadata"]["name"])
    # Fields of manifests/base/crds/kubeflow.org_tfjobs.yaml of Kubeflow's training operator.
    assert set(manifest["spec"]) <= {"runPolicy", "successPolicy", "enableDynamicWorker", "tfReplicaSpecs"}
    policy = manifest["spec"]["runPolicy"]
    assert set(policy) <= {"cleanPodPolicy", "backoffLimit", "ttlSecondsAfterFinished", "activeDeadlineSeconds"}
    assert policy["activeDeadlineSeconds"] == 72 * 3600
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
        self.left = 0  # how often a job of the same name is still there
        self.under_way = 2
        self.active: list[int] = [3]

    def answer(self, method: str, path: str) -> tuple[int, Any]:
        self.asked.append((method, path))
        if self.refusal and method == "POST":
            return self.refusal, {"message": "no"}
        if method == "POST":
            self.left -= 1
            return (409, {"reason": "AlreadyExists"}) if self.left >= 0 else (201, {})
        queries = len([1 for asked, _ in self.asked if asked == "GET"])
        created = {"type": "Created", "status": "True"}
        active = self.active[min(queries, len(self.active)) - 1]
        status = {"replicaStatuses": {"Worker": {"active": active} if active else {}}}
        return 200, {"status": status | {"conditions": [created] + [self.ends] * (queries > self.under_way)}}


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
    name = start_and_wait(api, "kubeflow", job, ["true"], 0.0)
    assert name == tf_job(job, ["true"])["metadata"]["name"] != tf_job(job, ["false"])["metadata"]["name"]
    assert fake.asked == [("POST", JOBS), *[("GET", f"{JOBS}/{name}")] * 3]


def test_a_failure_is_told(job: TrainingJob, kubernetes: tuple[FakeKubernetes, Any]) -> None:
    fake, api = kubernetes
    fake.ends = {"type": "Failed", "status": "True", "message": "worker 1 ran out of memory"}
    with pytest.raises(TrainingJobError, match=r"trainer-cc-r-\w+ failed: worker 1 ran out of memory"):
        start_and_wait(api, "kubeflow", job, ["true"], 0.0)
    assert "DELETE" not in {method for method, _ in fake.asked}  # its pods' logs stay for a day


@pytest.mark.parametrize(("status", "said"), [(403, "manifests/training"), (404, "operator"), (409, "still there")])
def test_a_refusal_says_what_to_do(
    job: TrainingJob, kubernetes: tuple[FakeKubernetes, Any], status: int, said: str
) -> None:
    fake, api = kubernetes
    fake.refusal = status
    with pytest.raises(TrainingJobError, match=said):
        start_and_wait(api, "kubeflow", job, ["true"], 0.0)


def test_a_job_of_an_earlier_attempt_is_replaced(job: TrainingJob, kubernetes: tuple[FakeKubernetes, Any]) -> None:
    fake, api = kubernetes
    fake.ends, fake.left = {"type": "Succeeded", "status": "True"}, 2
    start_and_wait(api, "kubeflow", job, ["true"], 0.0)
    assert [method for method, _ in fake.asked] == ["POST", "DELETE", "POST", "DELETE", "POST", "GET", "GET", "GET"]
    # Gone only when its pods are, which write the same files.
    assert all("propagationPolicy=Foreground" in path for method, path in fake.asked if method == "DELETE")


@pytest.mark.parametrize(
    ("active", "limits", "said"),
    [
        ([0], {"start_minutes": 0.0005}, "had fewer than 3 machines for 0.0005 minutes; now it has 0. Give"),
        ([2], {"start_minutes": 0.0005}, "now it has 2. Give the cluster room for 3 pods of 2.5 cores, 8 GB and 1"),
        ([3, 3, 3, 2], {"start_minutes": 0.0005}, "now it has 2"),  # one is lost, and there is no room for another
        ([3], {"hours": 0.00001}, "has not ended after 1e-05 hours: set kubeflow.training_hours"),
    ],
)
def test_the_wait_has_a_limit(
    job: TrainingJob, kubernetes: tuple[FakeKubernetes, Any], active: list[int], limits: dict[str, float], said: str
) -> None:
    fake, api = kubernetes
    fake.under_way, fake.active = 10_000, active
    with pytest.raises(TrainingJobError, match=re.escape(said)):
        start_and_wait(api, "kubeflow", job.model_copy(update=limits), ["true"], 0.001)
    method, path = fake.asked[-1]
    assert method == "DELETE"  # it holds no machines
    assert path.startswith(f"{JOBS}/trainer-cc-r-")


def test_the_pod_that_waits_asks_for_little() -> None:
    settings = CONFIG.with_waiting(["Trainer.CC_R"]).settings_of("Trainer.CC_R")
    assert (settings.cpu, settings.memory, settings.gpus) == (0.1, 1, 0)
    assert CONFIG.settings_of("Trainer.CC_R").gpus == 1
    assert settings.retries == CONFIG.settings_of("Trainer.CC_R").retries
