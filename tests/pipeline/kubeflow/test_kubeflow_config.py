"""What the Kubeflow runner may be told, and what each node gets of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import ConfigError, load_config
from pipeline.kubeflow.compiling import platform_spec
from pipeline.kubeflow.executor_input import VOLUME_ROOT, LocationError, local_path
from pipeline.kubeflow_config import KubeflowConfig, NodeOverrides, NodeSettings


def test_a_node_gets_everybodys_under_its_kinds_under_its_own() -> None:
    config = KubeflowConfig(
        all_nodes=NodeSettings(retries=1, memory=3),
        nodes={"Trainer": NodeOverrides(gpus=1), "Trainer.CC_R": NodeOverrides(cpu=8, cache=False)},
    )
    one, other = config.settings_of("Trainer.CC_R"), config.settings_of("Trainer.MLO_L")
    assert (one.cpu, one.gpus, one.cache, one.retries, one.memory) == (8, 1, False, 1, 16)
    assert (other.cpu, other.gpus, other.cache) == (4, 1, True)
    assert config.settings_of("Pusher") == NodeSettings(retries=1, memory=3)


def test_the_scan_is_never_taken_from_the_cache() -> None:
    config = KubeflowConfig(nodes={"ArchiveScan": NodeOverrides(cache=True)})
    assert config.settings_of("ArchiveScan").cache is False


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("pipeline_root", "/mnt/runs", "minio://, s3:// or gs://"),
        ("pipeline_root", "minio://bucket/", "without a slash"),
        ("image", "breast-density", "pattern"),  # without a tag, a run cannot be repeated
        ("span", "newest", "pattern"),
        ("serving", "{claim: models, path: models}", "path"),
        ("all_nodes.gpu_resource", "gpu", "pattern"),
    ],
)
def test_wrong_values_name_the_key(key: str, value: str, said: str) -> None:
    with pytest.raises(ConfigError, match=rf"kubeflow\.{key}.*") as caught:
        load_config(None, [f"kubeflow.{key}={value}"])
    assert said in str(caught.value)


def test_artifacts_lie_where_the_launcher_copies_them() -> None:
    root = Path("/")
    # backend/src/v2/component/launcher_v2.go, LocalPathForURI
    assert local_path("minio://mlpipeline/v2/a", root) == Path("/minio/mlpipeline/v2/a")
    assert local_path("gs://bucket/a", root) == Path("/gcs/bucket/a")
    assert local_path("s3://bucket/a?region=eu", Path("/pod")) == Path("/pod/s3/bucket/a")
    # A volume as pipeline root is no folder of the launcher's.
    assert local_path("minio://mlpipeline/v2/a", Path(VOLUME_ROOT)) == Path("/artifacts/minio/mlpipeline/v2/a")
    for uri in ("/local/a", "oci://image", "gs://bucket/../other"):
        with pytest.raises(LocationError, match="Received"):
            local_path(uri, root)


def test_only_who_needs_them_gets_volumes_and_the_key() -> None:
    config = KubeflowConfig(
        artifacts_claim="shared", nodes={"Trainer": NodeOverrides(node_selector={"accelerator": "a100"})}
    )
    nodes = ("ArchiveScan", "DicomExampleGen", "Trainer.CC_R", "Pusher", "Evaluator")
    platform = platform_spec(nodes, config, "KEY", need_task_key=["DicomExampleGen", "Evaluator"])
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    claims = {name: [mount["constant"] for mount in found["pvcMount"]] for name, found in executors.items()}
    assert claims == {
        "exec-archive-scan": ["breast-density-data", "shared"],
        "exec-dicom-example-gen": ["breast-density-data", "shared"],
        "exec-trainer-cc-r": ["shared"],
        "exec-pusher": ["breast-density-models", "shared"],
        "exec-evaluator": ["shared"],
    }
    secret = {"secretName": "breast-density-hash-key", "keyToEnv": [{"secretKey": "key", "envVar": "KEY"}]}
    shared = {
        "secretName": "breast-density-task-key",
        "keyToEnv": [{"secretKey": "key", "envVar": "BREAST_DENSITY_TASK_KEY"}],
    }
    assert {name: found["secretAsEnv"] for name, found in executors.items() if "secretAsEnv" in found} == {
        "exec-archive-scan": [secret],
        "exec-dicom-example-gen": [secret, shared],
        "exec-evaluator": [shared],
    }
    assert executors["exec-trainer-cc-r"]["nodeSelector"] == {"labels": {"accelerator": "a100"}}
    assert executors["exec-pusher"]["pvcMount"][1]["mountPath"] == VOLUME_ROOT
