"""Run parameters: which there are, how they are typed, and how they get into a node's configuration."""

from __future__ import annotations

import json

import pytest
import yaml

from pipeline.config import load_config
from pipeline.kubeflow.parameters import (
    ParameterError,
    ParameterPlace,
    RunParameter,
    config_value,
    place_of,
    run_parameters,
    typed_values,
    with_value,
)


def parameters(*overrides: str) -> dict[str, RunParameter]:
    config = load_config(None, ["data.folder=/data/images", "data.labels=/data/labels.csv", *overrides])
    return {parameter.name: parameter for parameter in run_parameters(config.model_dump(mode="json"))}


def test_there_is_one_for_each_key_with_a_value() -> None:
    found = parameters("pipeline.trainer.epochs=60", "pipeline.evaluator.maximum_kappa_loss=null")
    assert found["epochs"].default == 60
    assert found["data_folder"].default == "/data/images"
    assert found["span"].default == "latest"
    assert found["distribution"].default == "none"
    assert found["minimum_exam_accuracy"].default == 0.5
    assert "maximum_kappa_loss" not in found  # a gate that is off
    assert "data_manifest" not in found


@pytest.mark.parametrize("name", ["AOUP", "thesis_birads"])
def test_a_distribution_goes_by_its_name(name: str) -> None:
    assert parameters(f"pipeline.ingest.distribution={name}")["distribution"].default == name


def test_a_distribution_without_a_name_is_no_run_parameter() -> None:
    assert "distribution" not in parameters("pipeline.ingest.distribution={train: AOUP}")


def test_values_get_into_json_into_json_in_json_and_into_yaml() -> None:
    nested = json.dumps({"view": "CC_R", "config": json.dumps({"epochs": 2, "learning_rate": 0.5})})
    found = json.loads(with_value(nested, ("config", "epochs"), 7.0))  # Kubeflow's numbers are all floats
    assert json.loads(found["config"]) == {"epochs": 7, "learning_rate": 0.5}
    assert found["view"] == "CC_R"
    text = yaml.safe_dump({"trainer": {"epochs": 2}})
    assert yaml.safe_load(with_value(text, ("trainer", "epochs"), 7)) == {"trainer": {"epochs": 7}}
    assert with_value("latest", (), "12") == "12"
    assert json.loads(with_value('{"distribution": null}', ("distribution",), config_value("AOUP"))) == {
        "distribution": "AOUP"
    }
    assert config_value("none") is None
    with pytest.raises(ParameterError, match="no key epoch"):
        with_value(nested, ("config", "epoch"), 7)


def test_nodes_keep_them_where_their_configuration_is() -> None:
    epochs = RunParameter("epochs", "pipeline.trainer.epochs", 2)
    assert place_of(epochs, "Trainer") == ParameterPlace("custom_config", ("config", "epochs"))
    assert place_of(epochs, "ReportGenerator") == ParameterPlace("configuration", ("trainer", "epochs"))
    assert place_of(epochs, "Evaluator") is None
    assert place_of(RunParameter("span", "kubeflow.span", "latest"), "ArchiveScan") == ParameterPlace("wanted_span", ())
    assert ParameterPlace.parse(str(ParameterPlace("custom_config", ("config", "epochs")))) == ParameterPlace(
        "custom_config", ("config", "epochs")
    )


def test_what_a_person_gives_is_typed_and_checked() -> None:
    known = [RunParameter("epochs", "", 2), RunParameter("gate", "", 0.5), RunParameter("span", "", "latest")]
    assert typed_values({"epochs": "60", "gate": "1", "span": "3"}, known) == {"epochs": 60, "gate": 1.0, "span": "3"}
    with pytest.raises(ParameterError, match=r"run parameter epoch does not exist: give one of epochs, gate, span"):
        typed_values({"epoch": "60"}, known)
    with pytest.raises(ParameterError, match=r"epochs must be a whole number. Received: 1\.5"):
        typed_values({"epochs": "1.5"}, known)
