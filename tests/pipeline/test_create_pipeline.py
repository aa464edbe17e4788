"""``create_pipeline``: the nodes of the design, their wiring, and parameters that name no place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tfx.dsl.compiler import compiler

from components.report_generator.executor import read_nodes
from components.review.folder import review_source
from components.sources.source import FolderSource
from pipeline.config import find_config, load_config
from pipeline.local.runner import SCHEMA_FILE
from pipeline.pipeline import Archive, ArchivePart, RunPaths, create_pipeline
from schema.features import VIEWS

pytestmark = pytest.mark.slow

ARCHIVE = Archive((ArchivePart(FolderSource(Path("/the/archive"), Path("/the/labels.csv")), "fingerprint"),), "key id")
CONFIG = load_config(find_config("demo")).pipeline


def nodes(config: Any = CONFIG, schema: Path = SCHEMA_FILE, last: str | None = None, **places: str) -> dict[str, Any]:
    where = {"root": "/the/root", "serving": "/the/serving"} | places
    pipeline = create_pipeline(config, ARCHIVE, RunPaths(**where, schema=str(schema)), last=last)
    return {node.id: node for node in pipeline.components}


def properties(by_id: dict[str, Any]) -> dict[str, dict[str, str]]:
    return {name: {k: str(v) for k, v in node.exec_properties.items()} for name, node in by_id.items()}


def test_nodes_are_those_of_the_design_and_one_that_finds_the_baseline() -> None:
    trainers = [f"Trainer.{view}" for view in VIEWS]
    ids = list(nodes())
    before = ["DicomExampleGen", "MammogramPreprocessor", "StatisticsGen", "ImportSchemaGen", "ExampleValidator"]
    before += ["DriftMonitor"]
    after = [
        "ExamEnsemble",
        "BaselineModel",
        "Evaluator",
        "GradCamExplainer",
        "InfraCheck",
        "Pusher",
        "ReportGenerator",
    ]
    assert sorted(ids) == sorted([*before, "Transform", *trainers, *after])


def test_upstream_nodes_are_those_of_the_design() -> None:
    by_id = nodes()
    upstream = {name: {node.id for node in by_id[name].upstream_nodes} for name in by_id}
    assert upstream["DicomExampleGen"] == set()
    assert upstream["MammogramPreprocessor"] == {"DicomExampleGen"}
    assert "ExampleValidator" in upstream["Transform"]  # anomalies stop the run before anything is trained
    assert upstream["ExamEnsemble"] == {"MammogramPreprocessor", *(f"Trainer.{view}" for view in VIEWS)}
    assert upstream["Pusher"] == {"ExamEnsemble", "Evaluator", "GradCamExplainer", "InfraCheck"}
    assert {"Evaluator", "GradCamExplainer", "InfraCheck", "Pusher"} <= upstream["ReportGenerator"]


def test_drift_is_looked_at_beside_training_or_before_it_or_not_at_all() -> None:
    def upstream(*overrides: str) -> dict[str, set[str]]:
        by_id = nodes(load_config(find_config("demo"), overrides).pipeline)
        return {name: {node.id for node in by_id[name].upstream_nodes} for name in by_id}

    found = upstream()
    assert found["DriftMonitor"] == {"MammogramPreprocessor", "ImportSchemaGen", "ExampleValidator"}
    assert [name for name, nodes_before in found.items() if "DriftMonitor" in nodes_before] == ["ReportGenerator"]
    assert "DriftMonitor" in upstream("pipeline.drift.on_drift=stop")["Transform"]
    without = upstream("pipeline.drift.enabled=false")
    assert set(found) - set(without) == {"DriftMonitor"}


@pytest.mark.parametrize(("sides", "expected"), [("mirrored", {"Trainer.CC", "Trainer.MLO"}), ("one", {"Trainer.ALL"})])
def test_views_share_a_network(sides: str, expected: set[str]) -> None:
    by_id = nodes(load_config(find_config("demo"), [f"pipeline.trainer.sides={sides}"]).pipeline)
    trainers = {name for name in by_id if name.startswith("Trainer.")}
    assert trainers == expected
    for name in ("ExamEnsemble", "GradCamExplainer"):
        assert by_id[name].exec_properties["mirrored"] == 1
    for name in ("ExamEnsemble", "ReportGenerator"):
        assert trainers <= {node.id for node in by_id[name].upstream_nodes}


def test_a_pipeline_may_end_with_a_node_and_has_what_that_needs() -> None:
    whole = nodes()
    until = nodes(last="ExamEnsemble")
    judging = {"BaselineModel", "Evaluator", "GradCamExplainer", "InfraCheck", "Pusher", "ReportGenerator"}
    judging |= {"DriftMonitor"}  # it alerts, and nothing waits for it
    assert set(whole) - set(until) == judging
    assert properties(until) == {name: values for name, values in properties(whole).items() if name in until}
    assert set(nodes(last="StatisticsGen")) == {"DicomExampleGen", "MammogramPreprocessor", "StatisticsGen"}
    assert "ExampleValidator" in until  # not by its outputs: anomalies stop the run
    assert "ExampleValidator" in nodes(last="DriftMonitor")


@pytest.mark.parametrize("last", ["ExampleValidator", "DriftMonitor", "ExamEnsemble"])
def test_a_pipeline_that_ends_with_a_node_refers_to_none_that_is_left_out(last: str) -> None:
    pipeline = create_pipeline(CONFIG, ARCHIVE, RunPaths("/the/root", "/the/serving", str(SCHEMA_FILE)), last=last)
    assert last in {node.pipeline_node.node_info.id for node in compiler.Compiler().compile(pipeline).nodes}


def test_a_selection_is_an_option_that_touches_what_learns_and_nothing_that_judges() -> None:
    assert "ExamSelector" not in nodes()
    chosen = load_config(find_config("demo"), ["pipeline.selection.train=BIRADS"]).pipeline
    by_id = nodes(chosen)
    selected = by_id["ExamSelector"].outputs["selected_examples"]
    learning = {"Transform", "ExamEnsemble", *(f"Trainer.{view}" for view in VIEWS)}
    assert {name for name, node in by_id.items() if node.inputs.get("examples") == selected} == learning
    preprocessed = by_id["MammogramPreprocessor"].outputs["preprocessed_examples"]
    judging = {"ExamSelector", "StatisticsGen", "DriftMonitor", "Evaluator", "GradCamExplainer", "InfraCheck"}
    assert {name for name, node in by_id.items() if node.inputs.get("examples") == preprocessed} == judging
    assert by_id["DriftMonitor"].inputs["selected_examples"] == selected
    assert "selected_examples" not in nodes()["DriftMonitor"].inputs
    assert by_id["Evaluator"].inputs["training_examples"] == selected, "the baseline learns from the same exams"
    assert "training_examples" not in nodes()["Evaluator"].inputs


def test_the_mixed_classifier_is_an_option_that_reads_what_the_trainers_read() -> None:
    assert "TextureModel" not in nodes()
    assert "texture_model" not in nodes()["ExamEnsemble"].inputs
    chosen = load_config(find_config("demo"), ["pipeline.ensemble.mixed=true", "pipeline.selection.train=BIRADS"])
    by_id = nodes(chosen.pipeline)
    texture = by_id["TextureModel"]
    assert texture.inputs["examples"] == by_id["Trainer.CC_R"].inputs["examples"]
    assert by_id["ExamEnsemble"].inputs["texture_model"] == texture.outputs["texture_model"]
    pipeline = create_pipeline(chosen.pipeline, ARCHIVE, RunPaths("/the/root", "/the/serving", str(SCHEMA_FILE)))
    assert "TextureModel" in {node.pipeline_node.node_info.id for node in compiler.Compiler().compile(pipeline).nodes}


def test_the_tuner_is_an_option_whose_result_the_trainers_take() -> None:
    assert "Tuner" not in nodes()
    by_id = nodes(load_config(find_config("demo"), ["pipeline.tuner.enabled=true"]).pipeline)
    assert "Transform" in {node.id for node in by_id["Tuner"].upstream_nodes}
    for view in VIEWS:
        assert by_id[f"Trainer.{view}"].inputs["hyperparameters"] == by_id["Tuner"].outputs["best_hyperparameters"]
    assert '"code"' in str(by_id["Tuner"].exec_properties["custom_config"])


def test_only_source_and_serving_folder_are_named_in_parameters() -> None:
    found = {
        (name, key)
        for name, values in properties(nodes()).items()
        for key, value in values.items()
        if any(place in value for place in ("/the/", str(SCHEMA_FILE), str(SCHEMA_FILE.parents[1])))
    }
    served = {(node, "serving_dir") for node in ("BaselineModel", "DriftMonitor", "Pusher")}
    assert found == {("DicomExampleGen", "source"), *served}


def test_the_same_schema_elsewhere_changes_no_parameter(tmp_path: Path) -> None:
    moved = tmp_path / "moved.pbtxt"
    moved.write_bytes(SCHEMA_FILE.read_bytes())
    before = properties(nodes())
    assert properties(nodes(schema=moved)) == before
    moved.write_bytes(SCHEMA_FILE.read_bytes() + b"\n# edited\n")
    after = properties(nodes(schema=moved))
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"ImportSchemaGen"}


@pytest.mark.parametrize(
    ("override", "touched"),
    [
        ("pipeline.ingest.split_seed=9", {"DicomExampleGen"}),
        ("pipeline.preprocess.method=none", {"MammogramPreprocessor", "ExamEnsemble"}),  # the model carries its recipe
        ("pipeline.quality.doubtful_overlays=3", {"MammogramPreprocessor"}),
        ("pipeline.drift.on_drift=stop", {"DriftMonitor"}),
        ("pipeline.trainer.epochs=3", {f"Trainer.{view}" for view in VIEWS}),
        ("pipeline.ensemble.minimum_views=2", {"ExamEnsemble", "Evaluator"}),
        ("pipeline.evaluator.minimum_exam_accuracy=0.9", {"Evaluator"}),
        ("pipeline.explainer.pictures_a_group=3", {"GradCamExplainer"}),
    ],
)
def test_a_setting_touches_its_node_and_the_report(override: str, touched: set[str]) -> None:
    other = load_config(find_config("demo"), [override]).pipeline
    before, after = properties(nodes()), properties(nodes(other))
    assert {name for name in before if before[name] != after[name]} == touched | {"ReportGenerator"}


def test_every_node_with_code_of_ours_carries_its_fingerprint() -> None:
    lacking = {
        name
        for name, values in properties(nodes()).items()
        if "code" not in values and '"code"' not in values.get("custom_config", "")
    }
    assert lacking == {"StatisticsGen"}  # TFX's own code and nothing of ours


def test_the_model_carries_the_recipe_of_ingest_and_preprocessing() -> None:
    recipe = json.loads(properties(nodes())["ExamEnsemble"]["preprocessing"])
    assert recipe["longest_side"] == CONFIG.ingest.longest_side
    assert recipe["preprocess"] == CONFIG.preprocess.model_dump(mode="json")


def test_a_changed_review_touches_the_preprocessor_alone(tmp_path: Path) -> None:
    def built() -> dict[str, dict[str, str]]:
        archive = replace(ARCHIVE, reviews=review_source(tmp_path))
        places = RunPaths("/the/root", "/the/serving", str(SCHEMA_FILE))
        return properties({node.id: node for node in create_pipeline(CONFIG, archive, places).components})

    none, empty = properties(nodes()), built()
    review = tmp_path / f"{'0' * 32}_MLO_L_{'0' * 16}.json"
    review.write_text('{"accept": true}')
    accepted = built()
    assert built() == accepted
    review.write_text('{"muscle": "absent"}')
    for before, after in ((none, empty), (empty, accepted), (accepted, built())):
        assert {name for name in before if before[name] != after[name]} == {"MammogramPreprocessor"}


def test_a_warm_start_takes_the_latest_pushed_model_before_training() -> None:
    by_id = nodes(load_config(find_config("demo"), ["pipeline.trainer.warm_start=latest"]).pipeline)
    assert {node.id for node in by_id["WarmStart"].upstream_nodes} == {"Transform"}
    for view in VIEWS:
        assert "WarmStart" in {node.id for node in by_id[f"Trainer.{view}"].upstream_nodes}


def test_the_report_knows_code_data_and_parents_of_every_node() -> None:
    by_id = nodes()
    told = {info.node: info for info in read_nodes(by_id["ReportGenerator"].exec_properties["nodes"])}
    assert set(told) == set(by_id) - {"ReportGenerator"}
    assert told["DicomExampleGen"].data == "fingerprint"
    assert told["Evaluator"].code == by_id["Evaluator"].exec_properties["code"]
    assert told["Trainer.CC_R"].code, "it is in the custom_config"
    assert told["Trainer.CC_R"].parents == ("MammogramPreprocessor", "Transform", "ImportSchemaGen")
    assert by_id["ReportGenerator"].exec_properties["origin"] == ""
