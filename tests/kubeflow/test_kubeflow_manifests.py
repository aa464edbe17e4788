"""kubeflow/manifests: one tree, valid by Kubernetes' schemas, whose parts meet each other and the pipeline."""

from __future__ import annotations

import copy
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import kubernetes_validate
import pytest
import yaml
from apache_beam.options.pipeline_options import FlinkRunnerOptions

from pipeline.beam.config import PortableBeam
from pipeline.beam.requirements import KEY_VARIABLE
from pipeline.beam.staged import task_pool
from pipeline.beam.staged.stage_job import SOURCE
from pipeline.cli import app
from pipeline.kubeflow.executor_input import VOLUME_ROOT
from pipeline.kubeflow_config import KubeflowConfig

MANIFESTS = Path(__file__).resolve().parents[2] / "kubeflow" / "manifests"
REQUIREMENTS = Path(__file__).resolve().parents[1] / "e2e" / "flink-requirements.txt"
SERVING = MANIFESTS.parents[1] / "serving" / "deploy" / "kubernetes"
PARTS = ("volumes", "flink", "metadata", "training", "serving")
Document = dict[str, Any]


def resources(folder: Path) -> Iterator[Path]:
    """The files of a kustomization, and of those that it takes in."""
    for name in yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]:
        path = (folder / name).resolve()
        yield from resources(path) if path.is_dir() else [path]


def load(part: str) -> list[Document]:
    return [document for path in resources(MANIFESTS / part) for document in yaml.safe_load_all(path.read_text())]


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


def test_every_file_is_in_the_tree() -> None:
    taken = {path for path in resources(MANIFESTS) if path.name != "kustomization.yaml"}
    there = {path.resolve() for folder in (MANIFESTS, SERVING) for path in folder.rglob("*.yaml")}
    assert taken == {path for path in there if path.name != "kustomization.yaml"}
    assert {path.name for path in MANIFESTS.iterdir() if path.is_dir()} == set(PARTS)


def broken_references(documents: list[Document]) -> list[str]:
    """What names something that the tree does not have: volumes, settings, pods, accounts."""
    names = {(d["kind"], d["metadata"]["name"]) for d in documents}
    names.add(("ConfigMap", "breast-density-serving"))  # made by kustomize
    found = []
    workloads = [d for d in documents if d["kind"] in ("Deployment", "StatefulSet")]
    for document in workloads:
        name, spec = document["metadata"]["name"], pod(document)
        labels = document["spec"]["template"]["metadata"]["labels"]
        if not document["spec"]["selector"]["matchLabels"].items() <= labels.items():
            found.append(f"{name}: its selector is not of its pods")
        own = {claim["metadata"]["name"] for claim in document["spec"].get("volumeClaimTemplates", [])}
        volumes = own | {volume["name"] for volume in spec.get("volumes", [])}
        for volume in spec.get("volumes", []):
            claim = volume.get("persistentVolumeClaim", {}).get("claimName")
            settings = volume.get("configMap", {}).get("name")
            if claim and ("PersistentVolumeClaim", claim) not in names:
                found.append(f"{name}: no claim {claim}")
            if settings and ("ConfigMap", settings) not in names:
                found.append(f"{name}: no settings {settings}")
        for container in spec["containers"]:
            mounts = {mount["name"] for mount in container.get("volumeMounts", [])}
            ports = {port["name"] for port in container.get("ports", [])}
            probes = [container.get(probe, {}) for probe in ("readinessProbe", "livenessProbe", "startupProbe")]
            asked = {p.get(kind, {}).get("port") for p in probes for kind in ("tcpSocket", "httpGet")} - {None}
            found += [f"{name}: no volume {mount}" for mount in mounts - volumes]
            found += [f"{name}: no port {port}" for port in asked - ports if isinstance(port, str)]
    for document in documents:
        if document["kind"] == "Service":
            wanted = document["spec"]["selector"].items()
            chosen = [d for d in workloads if wanted <= d["spec"]["template"]["metadata"]["labels"].items()]
            named = {p["containerPort"]: p["name"] for d in chosen for c in pod(d)["containers"] for p in c["ports"]}
            if len(chosen) != 1:
                found.append(f"service {document['metadata']['name']}: {len(chosen)} workloads")
            for port in document["spec"]["ports"]:
                target = port.get("targetPort", port["port"])
                if target not in named and target not in named.values():
                    found.append(f"service {document['metadata']['name']}: nobody listens on {target}")
        if document["kind"] == "RoleBinding" and ("Role", document["roleRef"]["name"]) not in names:
            found.append(f"no role {document['roleRef']['name']}")
    return found


def whole_tree() -> list[Document]:
    return [document for path in resources(MANIFESTS) for document in yaml.safe_load_all(path.read_text())]


def test_the_parts_name_each_other_rightly() -> None:
    assert broken_references(whole_tree()) == []


@pytest.mark.parametrize(
    ("kind", "name", "path", "value"),
    [
        ("Deployment", "breast-density-flink-taskmanager", "spec.replica", 2),  # a field that there is not
        ("Deployment", "breast-density-metadata", "spec.replicas", "two"),
        ("Deployment", "breast-density-serving", "spec.template.spec.containers.0.ports.0.containerPort", "grpc"),
        ("PersistentVolumeClaim", "breast-density-artifacts", "spec.accessModes", "ReadWriteMany"),
        ("Role", "breast-density-training", "rules.0.verbs", None),
        ("NetworkPolicy", "breast-density-flink", "spec.ingress.0.froms", []),
    ],
)
def test_schemas_refuse_a_wrong_manifest(kind: str, name: str, path: str, value: object) -> None:
    changed = copy.deepcopy(one(whole_tree(), kind, name))
    *parents, last = path.split(".")
    node: Any = changed
    for parent in parents:
        node = node[int(parent)] if parent.isdecimal() else node[parent]
    if value is None:
        del node[last]
    else:
        node[last] = value
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(changed, "1.30", strict=True)


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("volumes/artifacts.yaml", "breast-density-artifacts", "artifacts", "no claim breast-density-artifacts"),
        ("flink/config.yaml", "name: breast-density-flink", "name: flink", "no settings breast-density-flink"),
        ("metadata/services.yaml", "port: 3306", "port: 3307", "nobody listens on 3307"),
        ("metadata/server.yaml", "tcpSocket: {port: grpc}", "tcpSocket: {port: rpc}", "no port rpc"),
        ("training/rbac.yaml", "kind: Role\n  name: breast-density-training", "kind: Role\n  name: x", "no role x"),
    ],
)
def test_a_name_that_nobody_has_is_found(file: str, old: str, new: str, said: str, tmp_path: Path) -> None:
    shutil.copytree(MANIFESTS, tmp_path / "kubeflow" / "manifests")
    shutil.copytree(SERVING, tmp_path / "serving" / "deploy" / "kubernetes")
    changed = tmp_path / "kubeflow" / "manifests" / file
    text = changed.read_text(encoding="utf-8")
    assert old in text
    changed.write_text(text.replace(old, new), encoding="utf-8")
    tree = resources(tmp_path / "kubeflow" / "manifests")
    found = broken_references([document for path in tree for document in yaml.safe_load_all(path.read_text())])
    assert said in " ".join(found)


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
    task, beams, pool = worker["containers"]
    config = KubeflowConfig()
    assert config.data is not None
    assert pool["image"] == beams["image"] == config.image
    # Beam's job server asks TaskManagers to ask their own pool; it listens to its own pod only.
    assert beams["command"] == ["breast-density", "worker-pool", "--port", "50000"]
    assert "worker-pool" in {command.name for command in app.registered_commands}
    named = [mount for mount in pool["volumeMounts"] if mount["name"] != "pool"]
    assert beams["volumeMounts"] == named
    # Tasks find the pool's socket, the pool its key.
    assert pool["command"][:3] == ["python", "-m", task_pool.__name__]
    socket = PurePath(pool["command"][3])
    (variable,) = re.findall(r'VARIABLE = "(\w+)"', SOURCE.read_text())
    (named,) = task["env"]
    assert (named["name"], named["value"]) == (variable, str(socket))
    shared = [[m for m in c["volumeMounts"] if m["mountPath"] == str(socket.parent)] for c in (task, pool)]
    assert shared[0] == shared[1] == [{"name": "pool", "mountPath": str(socket.parent)}]
    assert worker["securityContext"]["fsGroup"] == pool["securityContext"]["runAsGroup"]  # the socket's group
    (key,) = pool["env"]
    assert key["name"] == KEY_VARIABLE
    assert key["valueFrom"]["secretKeyRef"] == config.task_key.model_dump()
    mounts = {mount["mountPath"]: mount for mount in pool["volumeMounts"]}
    assert mounts[config.data.path]["name"] == "data"
    assert mounts[VOLUME_ROOT]["name"] == "artifacts"
    volumes = [v for v in worker["volumes"] if "persistentVolumeClaim" in v]
    claims = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in volumes}
    assert claims == {"data": config.data.claim, "artifacts": "breast-density-artifacts"}
    assert task["image"] == manager["containers"][0]["image"]
    flink = yaml.safe_load(one(documents, "ConfigMap", "breast-density-flink")["data"]["config.yaml"])
    assert flink["restart-strategy"]["type"] == "fixed-delay"  # the default is none
    assert PortableBeam.model_fields["slots"].default == flink["taskmanager"]["numberOfTaskSlots"]
    service = one(documents, "Service", "breast-density-flink")
    assert flink["jobmanager"]["rpc"]["address"] == service["metadata"]["name"]
    labels = one(documents, "Deployment", "breast-density-flink-jobmanager")["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == labels
    ports = {port["name"]: port["containerPort"] for port in manager["containers"][0]["ports"]}
    assert {port["name"]: port["port"] for port in service["spec"]["ports"]} == ports
    size = int(flink["taskmanager"]["memory"]["process"]["size"].removesuffix("m"))
    assert task["resources"]["limits"]["memory"] == f"{size // 1024}Gi"


def test_the_flink_that_was_tested() -> None:
    image = pod(one(load("flink"), "Deployment", "breast-density-flink-taskmanager"))["containers"][0]["image"]
    tested = re.search(r"^apache-flink-libraries==(\S+)", REQUIREMENTS.read_text(), re.MULTILINE)
    assert tested is not None
    assert image == f"flink:{tested[1]}-java17"  # the class of its job is of Java 17
    # Beam publishes a job server for it.
    assert tested[1].rpartition(".")[0] in FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS


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
