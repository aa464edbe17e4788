"""Between what open-source Kubeflow hands a node and what TFX takes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.kubeflow.executor_input import LocationError, for_backend, for_tfx, prepare_folders, title_of
from pipeline.kubeflow.parameters import ParameterError, ParameterPlace

EXAMPLES = "title: tfx.Examples\ntype: object\n"
REPORT = "title: breast_density.IngestReport\ntype: object\n"
INPUTS = json_format.ParseDict(
    {
        "artifacts": {
            "examples": {"artifactType": {"instanceSchema": EXAMPLES}},
            "report": {"artifactType": {"instanceSchema": REPORT}},
        },
        "parameters": {"config": {"parameterType": "STRING"}},
    },
    spec_pb2.ComponentInputsSpec(),
)
ROOT = "minio://mlpipeline/run/task"


def given() -> spec_pb2.ExecutorInput:
    """As the driver fills it in: input artifacts without type, or with an empty schema."""
    return json_format.ParseDict(
        {
            "inputs": {
                "parameterValues": {"config": '{"epochs": 2}', "epochs": 7},
                "artifacts": {
                    "examples": {"artifacts": [{"name": "1", "uri": f"{ROOT}/examples", "metadata": {"span": 3}}]},
                    "report": {"artifacts": [{"uri": f"{ROOT}/report", "type": {"instanceSchema": ""}}]},
                },
            },
            "outputs": {
                "artifacts": {
                    "model": {"artifacts": [{"uri": f"{ROOT}/model", "type": {"instanceSchema": "title: tfx.Model"}}]},
                    "span": {"artifacts": [{"uri": f"{ROOT}/span", "type": {"schemaTitle": "tfx.String"}}]},
                    # Kubeflow's driver adds it, and the launcher holds the file open.
                    "executor-logs": {
                        "artifacts": [{"uri": f"{ROOT}/executor-logs", "type": {"schemaTitle": "system.Artifact"}}]
                    },
                },
                "outputFile": "/tmp/out.json",
            },
        },
        spec_pb2.ExecutorInput(),
    )


def test_several_artifacts_of_an_input_are_put_together(tmp_path: Path) -> None:
    split = given()
    for number in range(1, 11):  # examples-10 comes after examples-9
        split.inputs.artifacts[f"examples-{number}"].artifacts.add(uri=f"{ROOT}/examples-{number}")
    made = for_tfx(split, INPUTS, {}, {}, tmp_path)
    assert set(made.inputs.artifacts) == {"examples", "report"}
    together = made.inputs.artifacts["examples"].artifacts
    assert [Path(artifact.uri).name for artifact in together] == ["examples", *(f"examples-{n}" for n in range(1, 11))]
    assert {title_of(artifact.type) for artifact in together} == {"tfx.Examples"}


PLACES = {"epochs": ParameterPlace("config", ("epochs",))}


def test_types_come_from_the_component_and_uris_become_paths(tmp_path: Path) -> None:
    made = for_tfx(given(), INPUTS, PLACES, {}, tmp_path)
    examples = made.inputs.artifacts["examples"].artifacts[0]
    assert title_of(examples.type) == "tfx.Examples"
    assert examples.uri == str(tmp_path / "minio/mlpipeline/run/task/examples")
    assert examples.metadata["span"] == 3
    report = made.inputs.artifacts["report"].artifacts[0]
    assert title_of(report.type) == "components.common.artifacts.IngestReport"
    assert made.outputs.output_file == "/tmp/out.json"


def test_tfx_finds_the_classes() -> None:
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils
    from tfx.types.standard_artifacts import Examples

    from components.common.artifacts import IngestReport

    made = for_tfx(given(), INPUTS, PLACES, {}, Path("/"))
    assert set(kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict(made.outputs.artifacts)) == {"model", "span"}
    found = kubeflow_v2_entrypoint_utils.parse_raw_artifact_dict(made.inputs.artifacts)
    assert isinstance(found["examples"][0], Examples)
    assert found["examples"][0].span == 3
    assert isinstance(found["report"][0], IngestReport)


def test_run_parameters_get_to_their_places() -> None:
    made = for_tfx(given(), INPUTS, PLACES, {}, Path("/"))
    assert json.loads(made.inputs.parameter_values["config"].string_value) == {"epochs": 7}
    assert "epochs" not in made.inputs.parameter_values
    with pytest.raises(ParameterError, match="batch has no value"):
        for_tfx(given(), INPUTS, {"batch": ParameterPlace("config", ("batch",))}, {}, Path("/"))


def test_an_artifact_of_several_inputs_is_put_under_each(tmp_path: Path) -> None:
    made = for_tfx(given(), INPUTS, {}, {"report": "examples", "examples-1": "examples"}, tmp_path)
    report, examples = made.inputs.artifacts["report"].artifacts[0], made.inputs.artifacts["examples"].artifacts
    assert report.uri == examples[0].uri == examples[1].uri
    assert report.name == "1"
    assert report.metadata["span"] == 3
    # Each has the type of its own input.
    assert title_of(report.type) == "components.common.artifacts.IngestReport"
    with pytest.raises(LocationError, match="The input schema is missing, which is report too"):
        for_tfx(given(), INPUTS, {}, {"report": "schema"}, tmp_path)


def test_other_stores_are_refused() -> None:
    other = given()
    other.inputs.artifacts["examples"].artifacts[0].uri = "/somewhere/else"
    with pytest.raises(LocationError, match="somewhere/else"):
        for_tfx(other, INPUTS, PLACES, {}, Path("/"))


def test_empty_inputs_get_a_folder_and_old_outputs_go(tmp_path: Path) -> None:
    made = for_tfx(given(), INPUTS, PLACES, {}, tmp_path)
    task = tmp_path / "minio/mlpipeline/run/task"
    (task / "model").mkdir(parents=True)
    (task / "model" / "half.txt").write_text("of a try that failed")
    (task / "span").write_text("the same")
    (task / "executor-logs").write_text("begun")
    prepare_folders(made, lambda path: shutil.rmtree(path) if path.is_dir() else path.unlink())
    assert (task / "examples").is_dir()  # an artifact without files: object stores keep no folders
    assert (task / "model").is_dir()
    assert not any((task / "model").iterdir())
    assert (task / "executor-logs").read_text() == "begun"
    assert not (task / "span").exists()  # a value is a file, which TFX writes


def test_uris_go_back(tmp_path: Path) -> None:
    made = for_tfx(given(), INPUTS, PLACES, {}, tmp_path)
    output = spec_pb2.ExecutorOutput()
    output.artifacts["model"].artifacts.add(uri=made.outputs.artifacts["model"].artifacts[0].uri)
    model = output.artifacts["model"].artifacts[0]
    model.metadata["current_model_uri"] = made.inputs.artifacts["examples"].artifacts[0].uri
    model.metadata["blessed"] = 1
    back = for_backend(output, given(), tmp_path).artifacts["model"].artifacts[0]
    assert back.uri == f"{ROOT}/model"
    assert dict(back.metadata.items()) == {"current_model_uri": f"{ROOT}/examples", "blessed": 1}


def test_a_node_works_on_the_volume_and_reports_the_object_stores_uri(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipeline.kubeflow import entrypoint

    monkeypatch.delenv(entrypoint.ROOT_VARIABLE, raising=False)
    uri, told = "minio://bucket/run/schema", tmp_path / "out" / "output_metadata.json"
    told.parent.mkdir()
    filled = {
        "inputs": {"parameterValues": {"schema_text": "feature { name: 'view' }", "code": "0"}},
        "outputs": {
            "artifacts": {"schema": {"artifacts": [{"uri": uri, "type": {"schemaTitle": "tfx.Schema"}}]}},
            "outputFile": str(told),
        },
    }
    texts = {"parameters": {name: {"parameterType": "STRING"} for name in ("schema_text", "code")}}
    entrypoint.main(
        [
            *("--executor_class_path", "components.import_schema_gen.executor.Executor"),
            *("--json_serialized_invocation_args", json.dumps(filled)),
            *("--json_serialized_inputs_spec_args", json.dumps(texts)),
            *("--artifacts_root", str(tmp_path / "volume")),
        ]
    )
    assert (tmp_path / "volume/minio/bucket/run/schema/schema.pbtxt").is_file()
    assert json.loads(told.read_text())["artifacts"]["schema"]["artifacts"][0]["uri"] == uri
