"""The manifests, and nodes of a compiled pipeline as pods, on a real Kubernetes of one node: `make test-kubernetes`.

The tests are in the order in which they run: each leaves what the next one needs.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format

from pipeline.kubeflow.driver import Request
from pipeline.kubeflow.package import Package, check_values, parse_spec, read_package
from pipeline.kubeflow.walk import FinishedTask, walk
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from tests.e2e.conftest import PIPELINE
from tests.known import known
from tests.kubernetes import cluster
from tests.kubernetes.cluster import NAMESPACE, STORE, ClusterPods, apply, get, kubectl, make_bucket, phase
from tests.kubernetes.launcher import Store
from tests.waiting import LONG, wait_until

PROJECT = Path(__file__).resolve().parents[2]
WORK = Path(os.environ.get("KUBERNETES_WORK", "."))
IMAGE = os.environ.get("KUBERNETES_IMAGE", "")
KEY = "0123456789abcdef0123456789abcdef"
EXAMS = 24
CLAIMS = ("breast-density-data", "breast-density-artifacts", "breast-density-models")
begun = time.monotonic()


def say(text: str) -> None:
    """Writes a line of the transcript."""
    print(f"{time.monotonic() - begun:6.0f} s  {text}", flush=True)


def folder_of(claim: str) -> Path:
    return WORK / "volumes" / claim


@pytest.fixture(scope="module")
def ready() -> None:
    """The namespace as Kubeflow leaves it, volumes, Secrets, and the tree of manifests."""
    for claim in CLAIMS:
        folder_of(claim).mkdir(parents=True)
        os.chown(folder_of(claim), 10001, 10001)
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "pipeline-runner", "namespace": NAMESPACE},
    }
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}, account)
    kubectl("apply", "--server-side", "--filename", os.environ["KUBERNETES_TFJOBS"])
    apply(*cluster.volumes({claim: folder_of(claim) for claim in CLAIMS}))
    for name in ("breast-density-hash-key", "breast-density-task-key"):
        kubectl("create", "secret", "generic", name, f"--from-literal=key={KEY}")
    kubectl("create", "configmap", cluster.LAUNCHER, f"--from-file={PROJECT / 'tests/kubernetes/launcher.py'}")
    make_bucket("hospital")


@pytest.fixture(scope="module")
def archive(ready: None) -> Path:
    """Phantoms on the volume of the archive."""
    phantoms = PhantomConfig(exams=EXAMS, seed=5, distribution="uniform", reduction=8, workers=2)
    generate_phantoms(phantoms, folder_of(CLAIMS[0]))
    return folder_of(CLAIMS[0])


def test_the_tree_is_applied_by_the_server(ready: None) -> None:
    told = kubectl("apply", "--server-side", "--kustomize", str(PROJECT / "kubeflow" / "manifests"))
    lines = told.splitlines()
    assert lines
    assert all(line.endswith("serverside-applied") for line in lines)
    wait_until(lambda: all(phase("pvc", claim) == "Bound" for claim in CLAIMS), pause=0.5)
    say(f"{len(lines)} objects applied by the server, {len(CLAIMS)} claims bound")
    # Images that no registry gives here, and more cores than the node has: pods that wait would hold them.
    for kind, name in (
        ("deployment", "breast-density-flink-jobmanager"),
        ("deployment", "breast-density-flink-taskmanager"),
        ("deployment", "breast-density-metadata"),
        ("statefulset", "breast-density-metadata-db"),
    ):
        kubectl("scale", kind, name, "--replicas=0")
    kubectl("delete", "hpa", "breast-density-serving")
    kubectl("scale", "deployment", "breast-density-serving", "--replicas=0")


@pytest.mark.parametrize(
    ("verb", "resource", "account", "allowed"),
    [
        ("create", "tfjobs.kubeflow.org", "pipeline-runner", True),
        ("get", "tfjobs.kubeflow.org", "pipeline-runner", True),
        ("delete", "tfjobs.kubeflow.org", "pipeline-runner", True),
        ("list", "tfjobs.kubeflow.org", "pipeline-runner", False),
        ("get", "secrets", "pipeline-runner", False),
        ("create", "pods", "pipeline-runner", False),
        ("create", "tfjobs.kubeflow.org", "default", False),
        ("get", "pods", "default", False),
    ],
)
def test_what_accounts_may_do(verb: str, resource: str, account: str, allowed: bool) -> None:
    who = f"system:serviceaccount:{NAMESPACE}:{account}"
    told = kubectl("auth", "can-i", verb, resource, f"--as={who}", check=False)
    assert told.strip().splitlines()[-1] == ("yes" if allowed else "no"), told


def settings() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(PIPELINE))
    document["ingest"]["shard_size"] = 4
    node = {"cpu": 0.9, "memory": 4.0}
    kinds = ("DicomExampleGen", "MammogramPreprocessor", "Transform", "Trainer", "Evaluator", "GradCamExplainer")
    return {
        "base": "small",
        "pipeline": document,
        "data": {"folder": "/data/images", "labels": "/data/labels.csv"},
        "kubeflow": {
            "image": IMAGE,
            "pipeline_root": "minio://hospital/density",
            "all_nodes": {**node, "backoff_seconds": 1},
            "nodes": dict.fromkeys(kinds, node),
        },
    }


def compiled(folder: Path, document: dict[str, Any]) -> Any:
    from typer.testing import CliRunner

    from pipeline.cli import app

    config, package = folder / "settings.yaml", folder / "pipeline.yaml"
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = CliRunner().invoke(app, ["compile", str(config), "--runner", "kubeflow", "--out", str(package)])
    assert done.exit_code == 0, done.output
    return read_package(package)


def files_of(name: str) -> list[Path]:
    """Files that a pod has written to its folder of artifacts."""
    pod = get("pod", name)
    if not pod:
        return []
    folder = WORK / "kubelet" / "pods" / pod["metadata"]["uid"] / "volumes" / "kubernetes.io~empty-dir" / "kfp-0"
    with contextlib.suppress(FileNotFoundError):
        return [path for path in folder.rglob("*") if path.is_file()]
    return []


def kill_process(name: str) -> None:
    """Ends all processes of a pod at once, as a machine without memory does."""
    uid = known(get("pod", name))["metadata"]["uid"]
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if uid in (process / "cgroup").read_text() and b"launcher.py" in (process / "cmdline").read_bytes():
                os.kill(int(process.name), signal.SIGKILL)


def kill_when(pods: ClusterPods, task: str, killed: list[str]) -> None:
    """Kills a task's first pod as soon as it has written a shard."""

    def watch() -> None:
        wait_until(lambda: task in pods.attempts, limit=LONG, pause=0.5)
        name = pods.attempts[task][0]
        wait_until(
            lambda: any(path.suffix == ".gz" and task in path.parts for path in files_of(name)), limit=LONG, pause=0.5
        )
        kill_process(name)
        killed.append(name)
        say(f"killed {name}")

    threading.Thread(target=watch, daemon=True).start()


def store_files(uri: str) -> dict[str, bytes]:
    store, prefix = Store(STORE), uri.removeprefix("minio://")
    return {key.removeprefix(f"{prefix}/"): store.get(key) for key in store.keys(prefix)}


def records(files: dict[str, bytes], folder: Path) -> list[tuple[str, str]]:
    """Exam and view of all records of examples."""
    import tensorflow as tf

    from components.common.shards import read_shard
    from schema import features as f

    found = []
    for name, data in files.items():
        if not name.endswith(".gz"):
            continue
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        for record in read_shard(str(path)):
            feature = tf.train.Example.FromString(record).features.feature
            exam, view = (feature[key].bytes_list.value[0].decode() for key in (f.EXAM_ID, f.VIEW))
            found.append((exam, view))
    return found


def up_to(package: Package, last: str) -> Package:
    """The package with a task and what it depends on: a whole run takes a quarter of an hour on two cores."""
    spec = parse_spec(json_format.MessageToDict(package.spec))
    tasks, kept = spec.root.dag.tasks, [last]
    for task in kept:
        kept.extend(tasks[task].dependent_tasks)
    for task in set(tasks) - set(kept):
        del tasks[task]
    return Package(spec, package.platform)


def test_ingest_and_preprocessing_run_as_pods_though_one_is_killed(archive: Path, tmp_path: Path) -> None:
    package = up_to(compiled(tmp_path, settings()), "mammogram-preprocessor")
    logs = WORK / "logs-of-pods"
    logs.mkdir()
    made: list[ClusterPods] = []
    killed: list[str] = []

    def pods_of(run: str) -> ClusterPods:
        pods = ClusterPods(package, run, logs)
        made.append(pods)
        kill_when(pods, "mammogram-preprocessor", killed)
        return pods

    def on_task(finished: FinishedTask, number: int, count: int) -> None:
        pods = len(made[0].attempts[finished.task])
        say(f"[{number}/{count}] {finished.task:24} {finished.seconds:6.1f} s  {pods} pods")

    request = Request(check_values(package, {}), package.pipeline_root)
    done = walk(package, tmp_path / "walk", request, 2, on_task, pods_of)
    assert [finished.task for finished in done] == ["archive-scan", "dicom-example-gen", "mammogram-preprocessor"]
    by_task = {finished.task: finished.output for finished in done}
    # The one that was killed ran again, and no other.
    attempts = {task: len(names) for task, names in made[0].attempts.items()}
    assert attempts == {"archive-scan": 1, "dicom-example-gen": 1, "mammogram-preprocessor": 2}
    assert killed == made[0].attempts["mammogram-preprocessor"][:1]

    def uri(task: str, name: str) -> str:
        [found] = by_task[task].artifacts[name].artifacts
        return str(found.uri)

    # Nothing lost, nothing twice.
    ingested = records(store_files(uri("dicom-example-gen", "examples")), tmp_path / "ingested")
    found = records(store_files(uri("mammogram-preprocessor", "preprocessed_examples")), tmp_path / "preprocessed")
    assert len(set(ingested)) == EXAMS * 4
    assert Counter(found) == Counter(ingested)
    say(f"{len(found)} views preprocessed, each once")
    kept = [key for key in Store(STORE).keys("hospital/density") if key.endswith("/executor-logs")]
    assert len(kept) == len(done)
    assert KEY.encode() not in b"".join(map(Store(STORE).get, kept))
