"""TFX executor of ExampleValidator. TFX's own executor continues despite anomalies; this one stops the run."""

from __future__ import annotations

import os
from typing import Any, Final

import tensorflow_data_validation as tfdv
from tensorflow_metadata.proto.v0 import anomalies_pb2
from tfx import types
from tfx.components.example_validator import executor as tfdv_executor
from tfx.components.example_validator import labels
from tfx.components.util import value_utils
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils, writer_utils

# In schema/schema.pbtxt: all features except the image bytes, for which StatisticsGen computes no statistics.
_ENVIRONMENT: Final = "STATISTICS"


class AnomalyError(ValueError):
    """The examples do not match ``schema/schema.pbtxt``."""


def describe_anomalies(anomalies: anomalies_pb2.Anomalies) -> list[str]:
    """Return one line per anomalous feature: its name and the anomaly."""
    lines = [f"{name}: {info.description}" for name, info in sorted(anomalies.anomaly_info.items())]
    if anomalies.HasField("dataset_anomaly_info"):
        lines.append(f"whole data set: {anomalies.dataset_anomaly_info.description}")
    return lines


class Executor(tfdv_executor.Executor):
    """Validates, then stops the run on any anomaly."""

    def _Validate(self, inputs: dict[str, Any], outputs: dict[str, Any]) -> anomalies_pb2.Anomalies:  # noqa: N802
        """Validate one split as TFX does, in the environment of the statistics."""
        schema = value_utils.GetSoleValue(inputs, standard_component_specs.SCHEMA_KEY)
        statistics = value_utils.GetSoleValue(inputs, standard_component_specs.STATISTICS_KEY)
        folder = value_utils.GetSoleValue(outputs, labels.SCHEMA_DIFF_PATH)
        anomalies = tfdv.validate_statistics(statistics, schema, environment=_ENVIRONMENT)
        writer_utils.write_anomalies(os.path.join(folder, tfdv_executor.DEFAULT_FILE_NAME), anomalies)
        return anomalies

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> Any:
        """Run TFDV.

        Raises:
            AnomalyError: A split has anomalies; the message lists them.
        """
        properties = {name: value for name, value in exec_properties.items() if name != "code"}
        output = super().Do(input_dict, output_dict, properties)
        artifact = artifact_utils.get_single_instance(output_dict["anomalies"])
        found = []
        for split in artifact_utils.decode_split_names(artifact.split_names):
            anomalies = anomalies_pb2.Anomalies()
            uri = artifact_utils.get_split_uri([artifact], split)
            anomalies.ParseFromString(io_utils.read_bytes_file(os.path.join(uri, tfdv_executor.DEFAULT_FILE_NAME)))
            found += [f"[{split}] {line}" for line in describe_anomalies(anomalies)]
        if found:
            raise AnomalyError(
                "The examples do not match schema/schema.pbtxt; correct the archive, its labels or the schema: "
                + "; ".join(found)
            )
        return output
