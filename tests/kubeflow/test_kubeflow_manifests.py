"""kubeflow/manifests: one tree, valid by Kubernetes' schemas, whose parts meet each other and the pipeline."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipeline.kubeflow.config import KubeflowConfig
from pipeline.kubeflow.locations import bucket_folder

MANIFESTS = Path(__file__).resolve().parents[2] / "kubeflow" / "manifests"
PARTS = ("volumes", "flink", "metadata", "training")
Document = dict[str, Any]


def load(part: str) -> list[Document]:
    names = yaml.safe_load((MANIFESTS / part / "kustomization.yaml").read_text())["resources"]
    return [document for name in names for document in yaml.safe_load_all((MANIFESTS / part / name).read_text())]


def one(documents: list[Document], kind: str, name: str) -> Document:
    (found,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return found


def pod(document: Document) -> Document:
    return document["spec"]["template"]["spec"]


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_schemas(part: str, version: str) -> None:
    for document in load(part):
        kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("part", PARTS)
def test_every_file_is_in_the_tree(part: str) -> None:
    names = yaml.safe_load((MANIFESTS / part / "kustomization.yaml").read_text())["resources"]
    assert {*names, "kustomization.yaml"} == {path.name for path in (MANIFESTS / part).iterdir()}


def test_the_tree_builds_into_one_namespace() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    built = subprocess.run([kubectl, "kustomize", str(MANIFESTS)], capture_output=True, text=True, check=True)
    documents = list(yaml.safe_load_all(built.stdout))
    assert {document["metadata"]["namespace"] for document in documents} == {"kubeflow"}
    # The namespace of serving/deploy/kubernetes has a policy that Kubeflow's own pods would not pass.
    assert "Namespace" not in {document["kind"] for document in documents}
    for document in documents:
        kubernetes_validate.validate(document, "1.37", strict=True)
    claims = {d["metadata"]["name"] for d in documents if d["kind"] == "PersistentVolumeClaim"}
    config = KubeflowConfig()
    assert config.data is not None
    assert claims == {config.data.claim, config.serving.claim, "breast-density-artifacts"}
    # TensorFlow Serving reads what the Pusher writes.
    serving = pod(one(documents, "Deployment", "breast-density-serving"))
    (models,) = [v for v in serving["volumes"] if v["name"] == "models"]
    assert models["persistentVolumeClaim"]["claimName"] == config.serving.claim
    (mount,) = [m for m in serving["containers"][0]["volumeMounts"] if m["name"] == "models"]
    assert mount["mountPath"] == config.serving.path


def test_flinks_workers_see_what_the_nodes_see() -> None:
    documents = load("flink")
    manager, worker = (
        pod(one(documents, "Deployment", f"breast-density-flink-{n}")) for n in ("jobmanager", "taskmanager")
    )
    task, pool = worker["containers"]
    config = KubeflowConfig()
    assert config.data is not None
    assert pool["image"] == config.image
    assert pool["command"] == ["/opt/apache/beam/boot", "--worker_pool"]
    mounts = {mount["mountPath"]: mount for mount in pool["volumeMounts"]}
    assert mounts[config.data.path]["name"] == "data"
    assert mounts[bucket_folder(config.pipeline_root)]["name"] == "artifacts"
    claims = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in worker["volumes"] if v["name"] != "config"}
    assert claims == {"data": config.data.claim, "artifacts": "breast-density-artifacts"}
    # Beam's job server stages files for workers in a folder that all three see.
    server = pod(one(documents, "Deployment", "breast-density-flink-jobserver"))["containers"][0]
    staged = next(flag.partition("=")[2] for flag in server["args"] if flag.startswith("--artifacts-dir="))
    shared = [[m for m in c["volumeMounts"] if m["mountPath"] == staged] for c in (server, task, pool)]
    assert shared[0] == shared[1] == shared[2] != []
    assert task["image"] == manager["containers"][0]["image"]
    flink = yaml.safe_load(one(documents, "ConfigMap", "breast-density-flink")["data"]["config.yaml"])
    service = one(documents, "Service", "breast-density-flink")
    assert flink["jobmanager"]["rpc"]["address"] == service["metadata"]["name"]
    labels = one(documents, "Deployment", "breast-density-flink-jobmanager")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels
    ports = {port["name"]: port["containerPort"] for port in manager["containers"][0]["ports"]}
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == ports
    size = int(flink["taskmanager"]["memory"]["process"]["size"].removesuffix("m"))
    assert task["resources"]["limits"]["memory"] == f"{size // 1024}Gi"


def test_the_flink_that_beam_knows() -> None:
    from apache_beam.options.pipeline_options import FlinkRunnerOptions

    image = pod(one(load("flink"), "Deployment", "breast-density-flink-taskmanager"))["containers"][0]["image"]
    version = image.partition(":")[2].rpartition(".")[0]
    assert version in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    server = pod(one(load("flink"), "Deployment", "breast-density-flink-jobserver"))["containers"][0]["image"]
    worker = re.search(r"^ARG BEAM_IMAGE=\S+:(\S+)$", (MANIFESTS.parent / "Dockerfile").read_text(), re.MULTILINE)
    assert worker is not None
    assert server == f"apache/beam_flink{version}_job_server:{worker[1]}"


def test_metadata_is_in_mysql_behind_a_secret() -> None:
    documents = load("metadata")
    database = pod(one(documents, "StatefulSet", "breast-density-metadata-db"))["containers"][0]
    server = pod(one(documents, "Deployment", "breast-density-metadata"))["containers"][0]
    flags = dict(flag[2:].split("=", 1) for flag in server["args"])
    services = {d["metadata"]["name"]: d["spec"] for d in documents if d["kind"] == "Service"}
    assert flags["mysql_config_host"] in services
    assert int(flags["mysql_config_port"]) == services[flags["mysql_config_host"]]["ports"][0]["port"]
    given = {entry["name"]: entry for entry in database["env"]}
    assert flags["mysql_config_database"] == given["MYSQL_DATABASE"]["value"]
    known = {entry["name"] for entry in server["env"]}
    assert {flags["mysql_config_user"], flags["mysql_config_password"]} == {f"$({name})" for name in known}
    for entry in [*server["env"], *(e for e in database["env"] if e["name"] != "MYSQL_DATABASE")]:
        assert entry["valueFrom"]["secretKeyRef"]["name"] == "breast-density-metadata"


@pytest.mark.parametrize("part", ["flink", "metadata"])
def test_pods_are_contained(part: str) -> None:
    for document in load(part):
        if document["kind"] not in ("Deployment", "StatefulSet"):
            continue
        spec = pod(document)
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["automountServiceAccountToken"] is False
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]) == {"requests", "limits"}
            assert ":" in container["image"]
            assert not container["image"].endswith(":latest")
