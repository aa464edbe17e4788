"""The files under serving/deploy. TensorFlow Serving, Kubernetes, KServe and Compose do not run here."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.gateway.config import load_gateway_config
from serving.server.config import METRICS_PATH, VersionPolicy
from serving.server.text_protos import read_model_config, read_monitoring_config

DEPLOY = Path(__file__).parents[2] / "serving" / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
IMAGE = "tensorflow/serving:2.16.1"
STATUS_PATH = "/v1/models/breast_density"
# Flags of tensorflow_model_server 2.16 that a deployment may use; source: tensorflow_serving/model_servers/main.cc.
KNOWN_FLAGS = {
    "port",
    "rest_api_port",
    "rest_api_num_threads",
    "rest_api_timeout_in_ms",
    "model_config_file",
    "model_config_file_poll_wait_seconds",
    "monitoring_config_file",
    "allow_version_labels_for_unavailable_models",
    "grpc_channel_arguments",
    "grpc_max_threads",
    "file_system_poll_wait_seconds",
    "tensorflow_intra_op_parallelism",
    "tensorflow_inter_op_parallelism",
    "ssl_config_file",
}


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def compose() -> dict[str, Any]:
    return load(DEPLOY / "docker-compose.yml")["services"]


def pod_spec() -> dict[str, Any]:
    return load(KUBERNETES / "deployment.yaml")["spec"]["template"]["spec"]


def flags(arguments: list[str]) -> dict[str, str]:
    assert all(re.fullmatch(r"--\w+=\S+", argument) for argument in arguments)
    return dict(argument[2:].split("=", 1) for argument in arguments)


def values(node: Any) -> Iterator[tuple[str, Any]]:
    """Yield every key and value of a document, at any depth."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield key, value
            yield from values(value)
    elif isinstance(node, list):
        for value in node:
            yield from values(value)


@pytest.mark.parametrize(
    ("name", "policy", "labels"),
    [
        ("models.config", VersionPolicy(count=2), {}),
        (
            "models.canary.config",
            VersionPolicy(kind="specific", versions=(1, 2)),
            {"stable": 1, "canary": 2},
        ),
    ],
)
def test_model_configs(name: str, policy: VersionPolicy, labels: dict[str, int]) -> None:
    path = KUBERNETES / name
    message = text_format.Parse(path.read_text(), model_server_config_pb2.ModelServerConfig())
    assert [config.name for config in message.model_config_list.config] == ["breast_density"]
    model = read_model_config(path)
    assert (model.policy, model.labels) == (policy, labels)
    # A label on a version that the policy does not load would answer nothing.
    assert set(labels.values()) <= model.policy.choose({1, 2})


def test_monitoring_config() -> None:
    assert read_monitoring_config(KUBERNETES / "monitoring.config") == METRICS_PATH


@pytest.mark.parametrize("version", ["1.30", "1.37"])
def test_kubernetes_schemas(version: str) -> None:
    names = load(KUBERNETES / "kustomization.yaml")["resources"]
    assert {*names, "kustomization.yaml"} == {path.name for path in KUBERNETES.glob("*.yaml")}
    for name in names:
        kubernetes_validate.validate(load(KUBERNETES / name), version, strict=True)


def test_kustomize_builds_what_the_pods_mount() -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    built = subprocess.run([kubectl, "kustomize", str(KUBERNETES)], capture_output=True, text=True, check=True)
    documents = list(yaml.safe_load_all(built.stdout))
    for document in documents:
        kubernetes_validate.validate(document, "1.37", strict=True)
    assert {d["metadata"].get("namespace", "breast-density") for d in documents} == {"breast-density"}
    (config,) = [d for d in documents if d["kind"] == "ConfigMap"]
    assert {"configMap": {"name": config["metadata"]["name"]}}.items() <= pod_spec()["volumes"][1].items()
    for flag in ("model_config_file", "monitoring_config_file"):
        path = Path(flags(pod_spec()["containers"][0]["args"])[flag])
        assert str(path.parent) == "/etc/serving"
        assert config["data"][path.name] == (KUBERNETES / path.name).read_text()


def test_pods() -> None:
    spec = pod_spec()
    (container,) = spec["containers"]
    assert container["image"] == IMAGE
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert set(container["resources"]) == {"requests", "limits"}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"] == {"path": STATUS_PATH, "port": "http"}
    ports = {port["name"]: str(port["containerPort"]) for port in container["ports"]}
    given = flags(container["args"])
    assert ports == {"grpc": given["port"], "http": given["rest_api_port"]}
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert str(read_model_config(KUBERNETES / "models.config").base_path.parent) in mounts


def test_kubernetes_objects_meet() -> None:
    deployment = load(KUBERNETES / "deployment.yaml")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert "replicas" not in deployment["spec"]  # each apply would undo the autoscaler
    service = load(KUBERNETES / "service.yaml")["spec"]
    assert service["selector"] == labels
    names = {port["name"] for port in pod_spec()["containers"][0]["ports"]}
    assert {port["targetPort"] for port in service["ports"]} == names
    policy = load(KUBERNETES / "networkpolicy.yaml")["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert all(rule["from"] and rule["ports"] for rule in policy["ingress"])
    assert "egress" not in policy
    budget = load(KUBERNETES / "poddisruptionbudget.yaml")["spec"]
    assert budget["selector"]["matchLabels"] == labels
    scaler = load(KUBERNETES / "hpa.yaml")["spec"]
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert budget["minAvailable"] < scaler["minReplicas"]  # else no node could be drained
    claim = load(KUBERNETES / "pvc.yaml")["metadata"]["name"]
    assert pod_spec()["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim


def test_kserve() -> None:
    service = load(DEPLOY / "kserve" / "inferenceservice.yaml")
    assert (service["apiVersion"], service["kind"]) == ("serving.kserve.io/v1beta1", "InferenceService")
    predictor = service["spec"]["predictor"]
    model = predictor["model"]
    assert model["modelFormat"]["name"] == "tensorflow"
    assert model["runtimeVersion"] == IMAGE.rpartition(":")[2]
    claim = load(KUBERNETES / "pvc.yaml")["metadata"]["name"]
    assert model["storageUri"] == f"pvc://{claim}/breast_density"
    assert [port["containerPort"] for port in model["ports"]] == [9000]
    for probe in ("readinessProbe", "livenessProbe"):
        assert model[probe]["httpGet"] == {"path": f"/v1/models/{service['metadata']['name']}", "port": 8080}
    assert predictor["securityContext"]["runAsNonRoot"] is True


def test_compose() -> None:
    services = compose()
    server, gateway = services["tensorflow-serving"], services["gateway"]
    assert server["image"] == IMAGE
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["user"] == "10001:10001"
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    given = flags(server["command"])
    assert {port.rpartition(":")[2] for port in server["ports"]} == {given["port"], given["rest_api_port"]}
    for flag in ("model_config_file", "monitoring_config_file"):
        assert (KUBERNETES / Path(given[flag]).name).is_file()
    base_path = read_model_config(KUBERNETES / "models.config").base_path
    assert any(volume.endswith(f":{base_path}:ro") for volume in server["volumes"])
    config = load_gateway_config(DEPLOY / "gateway.compose.yaml")
    assert config.model.address == f"tensorflow-serving:{given['port']}"
    assert config.dicom is not None
    ports = {port.rpartition(":")[2] for port in gateway["ports"]}
    assert ports == {str(config.http.port), str(config.dicom.port)}
    assert any(volume.endswith(f":{config.spool.parent}") for volume in gateway["volumes"])
    assert f"{config.http.token_variable}_FILE" in gateway["environment"]


def test_flags_are_known_and_batching_is_off() -> None:
    kserve = load(DEPLOY / "kserve" / "inferenceservice.yaml")["spec"]["predictor"]["model"]["args"]
    for arguments in (compose()["tensorflow-serving"]["command"], pod_spec()["containers"][0]["args"], kserve):
        given = flags(arguments)
        assert set(given) <= KNOWN_FLAGS
        assert given["grpc_channel_arguments"] == f"grpc.max_receive_message_length={64 << 20}"
    # It joins requests: exams of two clients with one exam_id would be averaged.
    for path in DEPLOY.rglob("*"):
        assert not path.is_file() or "enable_batching" not in path.read_text()


def test_nothing_is_privileged() -> None:
    for path in [*DEPLOY.rglob("*.yaml"), *DEPLOY.rglob("*.yml")]:
        for key, value in values(load(path)):
            assert (
                key not in ("privileged", "hostNetwork", "hostPID", "hostIPC", "hostPath", "network_mode") or not value
            )
            assert key != "image" or (":" in value and not value.endswith(":latest"))
