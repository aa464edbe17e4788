"""Anomalies stop the run and name feature and split."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tensorflow_data_validation as tfdv
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import anomalies_pb2, schema_pb2
from tfx.types import artifact_utils, standard_artifacts

from components.example_validator.executor import AnomalyError, Executor, describe_anomalies
from schema import features as f

SCHEMA = Path(__file__).parents[3] / "schema" / "schema.pbtxt"
GOOD: dict[str, Any] = {
    f.IMAGE_HEIGHT: 450,
    f.IMAGE_WIDTH: 450,
    f.PIXEL_SPACING_MM: 0.5,
    f.VIEW: "CC_R",
    f.LATERALITY: "R",
    f.EXAM_ID: "e",
    f.PATIENT_ID: "p",
    f.DENSITY: "A",
    f.ACQUISITION_SYSTEM: "any",
    f.MANUFACTURER: "any",
    f.MODEL_NAME: "any",
    f.SOFTWARE_VERSION: "unknown",
    f.PATIENT_AGE: -1,
    f.ACQUISITION_YEAR: 2015,
    f.PECTORAL_STATUS: "not_applicable",
    f.PECTORAL_AREA_FRACTION: 0.0,
    f.BREAST_AREA_FRACTION: 0.4,
}


def validate(folder: Path, rows_by_split: dict[str, list[dict[str, Any]]]) -> list[Any]:
    """Run the executor on TFDV's statistics of the rows; return the anomalies artifact."""

    def artifact(kind: type, name: str) -> Any:
        made = kind()
        made.uri = str(folder / name)
        Path(made.uri).mkdir()
        return made

    schema = artifact(standard_artifacts.Schema, "schema")
    Path(schema.uri, "schema.pbtxt").write_bytes(SCHEMA.read_bytes())
    statistics = artifact(standard_artifacts.ExampleStatistics, "statistics")
    statistics.split_names = artifact_utils.encode_split_names(list(rows_by_split))
    options = tfdv.StatsOptions(schema=text_format.Parse(SCHEMA.read_text(), schema_pb2.Schema()))
    for split, rows in rows_by_split.items():
        made = tfdv.generate_statistics_from_dataframe(pd.DataFrame(rows), options)
        target = Path(statistics.uri, f"Split-{split}")
        target.mkdir()
        (target / "FeatureStats.pb").write_bytes(made.SerializeToString())
    anomalies = artifact(standard_artifacts.ExampleAnomalies, "anomalies")
    Executor().Do(
        {"statistics": [statistics], "schema": [schema]},
        {"anomalies": [anomalies]},
        {"exclude_splits": json.dumps([]), "code": "any"},
    )
    return [anomalies]


def rows(**change: Any) -> list[dict[str, Any]]:
    return [GOOD, {**GOOD, f.VIEW: "MLO_L", f.LATERALITY: "L", f.DENSITY: "D"}, {**GOOD, **change}]


def test_examples_that_match_pass_and_anomalies_are_written(tmp_path: Path) -> None:
    anomalies = validate(tmp_path, {"train": rows(), "test": rows()})
    for split in ("train", "test"):
        folder = Path(artifact_utils.get_split_uri(anomalies, split))
        (file,) = folder.iterdir()
        found = anomalies_pb2.Anomalies()
        found.ParseFromString(file.read_bytes())
        assert describe_anomalies(found) == []


@pytest.mark.parametrize(
    ("feature", "value"), [(f.DENSITY, "E"), (f.VIEW, "LM_R"), (f.PATIENT_AGE, 200), (f.BREAST_AREA_FRACTION, 1.5)]
)
def test_a_value_out_of_its_domain_stops_the_run(tmp_path: Path, feature: str, value: Any) -> None:
    with pytest.raises(AnomalyError) as error:
        validate(tmp_path, {"train": rows(), "eval": rows(**{feature: value})})
    text = str(error.value)
    assert f"[eval] {feature}: " in text
    assert "[train]" not in text
    assert "correct the archive, its labels or the schema" in text
    if isinstance(value, str):
        assert value in text


def test_a_missing_feature_stops_the_run(tmp_path: Path) -> None:
    without = [{name: value for name, value in row.items() if name != f.PATIENT_ID} for row in rows()]
    with pytest.raises(AnomalyError, match=rf"\[train\] {f.PATIENT_ID}: "):
        validate(tmp_path, {"train": without})


def test_anomalies_are_described_in_order() -> None:
    anomalies = anomalies_pb2.Anomalies()
    anomalies.anomaly_info["view"].description = "second"
    anomalies.anomaly_info["density"].description = "first"
    assert describe_anomalies(anomalies) == ["density: first", "view: second"]
    anomalies.dataset_anomaly_info.description = "too few"
    assert describe_anomalies(anomalies)[-1] == "whole data set: too few"
