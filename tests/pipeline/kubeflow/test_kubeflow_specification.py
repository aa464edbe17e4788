"""The compiled package: valid by Kubeflow's own protocol buffers, and free of what open-source Kubeflow cannot run."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from pipeline.config import ConfigError, RunConfig, load_config
from pipeline.kubeflow.package import Package, SpecificationError, check_specification, check_values, read_package
from pipeline.kubeflow.parameters import ParameterError
from pipeline.kubeflow.specification import kubeflow_name
from schema.software import installed_version

pytestmark = pytest.mark.slow

DATA = ("data.folder=/data/span-{SPAN}/images", "data.labels=/data/span-{SPAN}/labels.csv")
TASKS = {
    "archive-scan",
    "dicom-example-gen",
    "mammogram-preprocessor",
    "statistics-gen",
    "import-schema-gen",
    "example-validator",
    "drift-monitor",
    "transform",
    "trainer-cc-r",
    "trainer-cc-l",
    "trainer-mlo-r",
    "trainer-mlo-l",
    "exam-ensemble",
    "baseline-model",
    "evaluator",
    "grad-cam-explainer",
    "infra-check",
    "pusher",
    "report-generator",
}


def config(*overrides: str) -> RunConfig:
    return load_config(None, [*DATA, *overrides])


@pytest.fixture(scope="module")
def package() -> Package:
    from pipeline.kubeflow.compiling import compile_pipeline

    nodes = "kubeflow.nodes={Trainer: {gpus: 1, retries: 4}, Pusher: {cache: false, retries: 0}}"
    return compile_pipeline(config("pipeline.trainer.epochs=60", nodes, "kubeflow.image_gpu=density:1-gpu"))


@pytest.fixture(scope="module")
def spec(package: Package) -> dict[str, Any]:
    return json_format.MessageToDict(package.spec)


def test_it_has_the_nodes_of_create_pipeline(package: Package) -> None:
    assert set(package.spec.root.dag.tasks) == TASKS
    assert package.spec.schema_version == "2.1.0"
    assert package.spec.pipeline_info.name == "breast-density"
    assert package.spec.default_pipeline_root == "minio://mlpipeline/v2/artifacts/breast-density"


def test_the_file_is_what_the_client_sends(package: Package, tmp_path: Path) -> None:
    from kfp.client import client as kfp_client

    file = tmp_path / "pipeline.yaml"
    file.write_text(package.to_yaml(), encoding="utf-8")
    assert read_package(file).spec == package.spec
    # The client's own reader, with the protocol buffers of kfp-pipeline-spec.
    sent = kfp_client._extract_pipeline_yaml(str(file)).to_dict()
    assert set(sent) == {"pipeline_spec", "platform_spec"}
    assert sent["pipeline_spec"] == json_format.MessageToDict(package.spec)
    assert sent["platform_spec"] == package.platform


def test_names_are_those_that_argo_takes(spec: dict[str, Any]) -> None:
    names = {*spec["root"]["dag"]["tasks"], *spec["components"], *spec["deploymentSpec"]["executors"]}
    assert all(re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", name) for name in names)
    assert kubeflow_name("Trainer.CC_R") == "trainer-cc-r"
    assert kubeflow_name("GradCamExplainer") == "grad-cam-explainer"
    assert kubeflow_name("breast_density") == "breast-density"


def test_the_archive_is_looked_up_on_the_cluster(spec: dict[str, Any]) -> None:
    tasks = spec["root"]["dag"]["tasks"]
    scan, ingest = tasks["archive-scan"], tasks["dicom-example-gen"]
    assert "{SPAN}" in scan["inputs"]["parameters"]["archive"]["runtimeValue"]["constant"]
    assert not scan.get("cachingOptions", {}).get("enableCache", False)
    made = ingest["inputs"]["parameters"]
    for name in ("source", "fingerprint", "span", "key_id"):
        # TFX names the task archive-scan_task, which there is not.
        assert made[name] == {"taskOutputParameter": {"producerTask": "archive-scan", "outputParameterKey": name}}
    assert "archive-scan" in ingest["dependentTasks"]
    assert tasks["mammogram-preprocessor"]["inputs"]["parameters"]["reviews"]["taskOutputParameter"]


def test_nodes_get_command_resources_retries_and_cache(spec: dict[str, Any]) -> None:
    executors = {name: found["container"] for name, found in spec["deploymentSpec"]["executors"].items()}
    for container in executors.values():
        assert container["command"] == ["python", "-m", "pipeline.kubeflow.entrypoint"]
        assert container["args"][2:4] == ["--json_serialized_invocation_args", "{{$}}"]
        assert container["resources"]["cpuLimit"] >= container["resources"]["cpuRequest"] > 0
        assert container["resources"]["memoryLimit"] >= container["resources"]["memoryRequest"] > 0
        assert "lifecycle" not in container
    trainer = executors["exec-trainer-cc-r"]
    assert trainer["image"] == "density:1-gpu"
    assert trainer["resources"]["accelerator"] == {"type": "nvidia.com/gpu", "count": "1"}
    assert executors["exec-pusher"]["image"] == f"breast-density:{installed_version()}"
    assert "--direct_num_workers=4" in executors["exec-dicom-example-gen"]["args"]
    assert not [arg for arg in executors["exec-evaluator"]["args"] if arg.startswith("--direct_")]
    tasks = spec["root"]["dag"]["tasks"]
    assert tasks["trainer-cc-r"]["retryPolicy"]["maxRetryCount"] == 4
    assert "retryPolicy" not in tasks["pusher"]
    cached = {name for name, task in tasks.items() if task.get("cachingOptions", {}).get("enableCache", False)}
    assert cached == TASKS - {"archive-scan", "pusher"}


def test_run_parameters_are_kubeflows(spec: dict[str, Any]) -> None:
    declared = spec["root"]["inputDefinitions"]["parameters"]
    assert declared["epochs"] == {"parameterType": "NUMBER_INTEGER", "defaultValue": 60}
    assert declared["data_folder"] == {"parameterType": "STRING", "defaultValue": "/data/span-{SPAN}/images"}
    assert declared["minimum_exam_accuracy"] == {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.5}
    taken = {
        name: {key for key, value in task["inputs"]["parameters"].items() if "componentInputParameter" in value}
        for name, task in spec["root"]["dag"]["tasks"].items()
        if "parameters" in task.get("inputs", {})
    }
    assert taken["trainer-mlo-l"] == {"epochs", "batch_size", "learning_rate"}
    assert {"distribution", "split_seed"} == taken["dicom-example-gen"]
    assert {"data_folder", "data_labels", "span"} == taken["archive-scan"]
    assert (
        "epochs=custom_config/config/epochs"
        in (spec["deploymentSpec"]["executors"]["exec-trainer-cc-r"]["container"]["args"])
    )


def test_the_key_is_where_identifiers_are_hashed(package: Package) -> None:
    executors = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    with_key = [name for name, found in executors.items() if "secretAsEnv" in found]
    assert with_key == ["exec-archive-scan", "exec-dicom-example-gen"]


def test_nodes_that_use_beam_share_a_key_with_flinks_workers() -> None:
    from pipeline.kubeflow.compiling import compile_pipeline

    flink = config("beam={runner: flink, master: 'f:8081'}", "kubeflow.artifacts_claim=shared")
    package = compile_pipeline(flink)
    executors = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    sharing = {
        name.removeprefix("exec-")
        for name, found in executors.items()
        if "breast-density-task-key" in [secret["secretName"] for secret in found.get("secretAsEnv", ())]
    }
    assert sharing == {
        *("dicom-example-gen", "mammogram-preprocessor", "statistics-gen", "transform"),
        *("drift-monitor", "evaluator", "grad-cam-explainer"),
    }
    # On the volume that both see: Beam opens no object store.
    ingest = package.containers()["dicom-example-gen"]
    assert "--flink_scratch=/artifacts/scratch" in ingest.args


def test_platform_matches_its_protocol_buffer(package: Package) -> None:
    from kfp.kubernetes import kubernetes_executor_config_pb2 as pb2

    for found in package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        json_format.ParseDict(found, pb2.KubernetesExecutorConfig())


def test_several_spans_are_inputs_beside_each_other() -> None:
    from pipeline.kubeflow.compiling import compile_pipeline

    found = compile_pipeline(config("kubeflow.spans=3", "kubeflow.artifacts_claim=shared"))
    tasks = found.spec.root.dag.tasks
    more = {f"{node}-before-{n}" for node in ("archive-scan", "dicom-example-gen") for n in (1, 2)}
    assert set(tasks) == TASKS | more
    for task, name, output in (
        ("mammogram-preprocessor", "examples", "examples"),
        ("report-generator", "ingest_report", "ingest_report"),
    ):
        made = {
            key: (given.task_output_artifact.producer_task, given.task_output_artifact.output_artifact_key)
            for key, given in tasks[task].inputs.artifacts.items()
        }
        assert made[name] == ("dicom-example-gen", output)
        for number in (1, 2):
            assert made[f"{name}-{number}"] == (f"dicom-example-gen-before-{number}", output)
            assert f"dicom-example-gen-before-{number}" in tasks[task].dependent_tasks
    # Those before count from what the first scan found, and no scan is cached.
    newest = tasks["archive-scan-before-2"].inputs.parameters["newest_span"].task_output_parameter
    assert (newest.producer_task, newest.output_parameter_key) == ("archive-scan", "span")
    assert not tasks["archive-scan-before-2"].caching_options.enable_cache
    executors = found.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    ingest = executors["exec-dicom-example-gen"]
    assert ingest == executors["exec-dicom-example-gen-before-2"]
    # The volume that is the pipeline root: all nodes see it, and are told where.
    assert {mount["constant"]: mount["mountPath"] for mount in ingest["pvcMount"]}["shared"] == "/artifacts"
    assert len(executors) == len(tasks)
    for container in found.containers().values():
        assert "--artifacts_root /artifacts" in " ".join(container.args)


def test_run_parameters_are_checked_before_they_are_sent(package: Package) -> None:
    assert check_values(package, {"epochs": "3", "distribution": "AOUP"}) == {"epochs": 3, "distribution": "AOUP"}
    for given, said in (
        ({"epochs": "0"}, r"epochs: .*greater than or equal to 1.*Received: 0"),
        ({"distribution": "AOUPP"}, "a distribution is one of"),
        ({"minimum_exam_accuracy": "2"}, "less than or equal to 1"),
    ):
        with pytest.raises(ParameterError, match=said):
            check_values(package, given)


def test_the_pod_of_a_training_on_several_machines_asks_for_little() -> None:
    from pipeline.kubeflow.compiling import compile_pipeline

    nodes = "kubeflow.nodes={Trainer: {gpus: 1, cpu: 8, memory: 32, node_selector: {gpu: t4}, retries: 4}}"
    several = ("pipeline.trainer.strategy=multi_worker", "kubeflow.artifacts_claim=shared")
    package = compile_pipeline(config(nodes, *several, "kubeflow.image_gpu=density:1-gpu"))
    waiting = package.containers()["trainer-cc-r"]
    assert (waiting.resources.cpu_request, waiting.resources.memory_limit) == (0.1, 1)
    assert not waiting.resources.HasField("accelerator")
    assert waiting.image != "density:1-gpu"
    platform = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-trainer-cc-r"]
    assert "nodeSelector" not in platform
    assert package.spec.root.dag.tasks["trainer-cc-r"].retry_policy.max_retry_count == 4
    job = json.loads(waiting.args[list(waiting.args).index("--training_job") + 1])
    assert (job["image"], job["cpu"], job["memory"], job["gpus"]) == ("density:1-gpu", 8, 32, 1)
    assert job["node_selector"] == {"gpu": "t4"}


@pytest.mark.parametrize(
    ("sides", "connected", "shared"),
    [
        ("mirrored", {"CC_L": "trainer-cc", "MLO_L": "trainer-mlo"}, {"CC_R": "CC_L", "MLO_R": "MLO_L"}),
        ("one", {"CC_L": "trainer-all"}, {"CC_R": "CC_L", "MLO_L": "CC_L", "MLO_R": "CC_L"}),
    ],
)
def test_an_artifact_is_connected_once(sides: str, connected: dict[str, str], shared: dict[str, str]) -> None:
    from pipeline.kubeflow.compiling import compile_pipeline

    package = compile_pipeline(config(f"pipeline.trainer.sides={sides}"))
    tasks, containers = package.spec.root.dag.tasks, package.containers()
    for task in ("exam-ensemble", "grad-cam-explainer", "report-generator"):
        inputs = tasks[task].inputs.artifacts
        networks = {
            name: inputs[name].task_output_artifact.producer_task for name in inputs if name[:2] in ("CC", "ML")
        }
        assert networks == connected
        assert set(package.spec.components[f"comp-{task}"].input_definitions.artifacts) == set(inputs)
        arguments = " ".join(f"--shared_input {name}={source}" for name, source in shared.items())
        assert arguments in " ".join(containers[task].args)
    assert "--shared_input" not in containers["evaluator"].args


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {
                "root.dag.tasks.exam-ensemble.inputs.artifacts.CC_L": {
                    "taskOutputArtifact": {"producerTask": "trainer-cc-r", "outputArtifactKey": "model"}
                }
            },
            "its inputs CC_L and CC_R are the same artifact, which ML Metadata refuses",
        ),
        (
            {"components.comp-pusher.outputDefinitions.artifacts.log": {"artifactType": {"schemaTitle": "system.Log"}}},
            "one of Kubeflow's own",
        ),
        ({"root.dag.tasks.Trainer_1": {"taskInfo": {"name": "Trainer_1"}}}, "names consist of letters"),
        ({"root.dag.tasks.pusher.dependentTasks": ["nobody"]}, "depends on nobody"),
        (
            {"root.dag.tasks.pusher.inputs.artifacts.model.taskOutputArtifact.producerTask": "nobody"},
            "no task produces",
        ),
        ({"root.dag.tasks.pusher.inputs.parameters.code.runtimeValue.constant": "x" * 200_000}, "command line allows"),
        ({"deploymentSpec.executors.exec-pusher": {"resolver": {}}}, "resolvers"),
        ({"deploymentSpec.executors.exec-pusher.container.lifecycle": {"preCacheCheck": {}}}, "driver hook"),
        ({"components.comp-pusher.outputDefinitions.artifacts.pushed_model.artifactType": {}}, "no title"),
        ({"schemaVersion": "2.0.0"}, "2.1.0"),
    ],
)
def test_what_would_not_run_is_told(spec: dict[str, Any], change: dict[str, Any], said: str) -> None:
    from pipeline.kubeflow.package import parse_spec

    changed = copy.deepcopy(spec)
    ((key, value),) = change.items()
    *parents, last = key.split(".")
    node = changed
    for parent in parents:
        node = node[parent]
    node[last] = value
    with pytest.raises(SpecificationError, match=said):
        check_specification(parse_spec(changed))


def test_no_package_is_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    for text, said in (
        ("a: 1\n", "two documents"),
        ("a: 1\n---\nb: 1\n", "not a pipeline specification"),
        ("{", "YAML"),
    ):
        file.write_text(text)
        with pytest.raises(SpecificationError, match=said):
            read_package(file)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (
            ["data.folder=images", "data.labels=/data/labels.csv"],
            "data.folder must be a URI, or an absolute path in the pods",
        ),
        (["data.reviews=reviews"], "data.reviews must be an absolute path in the pods"),
        (["pipeline.trainer.strategy=multi_worker"], "artifacts_claim is missing: machines"),
        (["beam={runner: spark, master: 'local[2]'}"], "direct, portable or flink there. Received: spark"),
        (
            ["beam={runner: portable, worker_pool: 'localhost:50000', job_endpoint: 'j:8099'}"],
            "artifacts_claim is missing",
        ),
        (["beam={runner: flink, master: 'f:8081'}"], "artifacts_claim is missing"),
    ],
)
def test_what_a_pod_has_not_is_refused(overrides: list[str], said: str) -> None:
    from pipeline.kubeflow.compiling import build_cluster_pipeline

    with pytest.raises(ConfigError, match=said):
        build_cluster_pipeline(config(*overrides))
