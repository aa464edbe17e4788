"""TFX executor of the Evaluator: TFMA's, with our configuration, an optional baseline, and our summary."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx import types
from tfx.components.evaluator import executor as tfma_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components.baseline_model.baseline import baseline_version
from components.common.shards import write_text
from components.evaluator.config import EvaluatorConfig
from components.evaluator.eval_config import build_eval_config
from components.evaluator.results import METRICS_FILE, summarise

Artifacts = dict[str, list[types.Artifact]]


class Executor(tfma_executor.Executor):
    """Evaluates the exam model on the test split and blesses it, or not."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Runs TFMA and writes ``exam_metrics.json`` beside its results.

        Args:
            input_dict: ``examples``, ``model``, ``schema``, ``baseline_model`` (maybe without a model inside).
            output_dict: ``evaluation``, ``blessing``.
            exec_properties: ``config``, JSON of EvaluatorConfig.
        """
        config = EvaluatorConfig.model_validate_json(exec_properties["config"])
        inputs = dict(input_dict)
        key = standard_component_specs.BASELINE_MODEL_KEY
        version = baseline_version(artifact_utils.get_single_uri(inputs[key]))
        if version is None:
            del inputs[key]
        eval_config = build_eval_config(config, has_baseline=version is not None)
        properties = {
            standard_component_specs.EVAL_CONFIG_KEY: proto_utils.proto_to_json(eval_config),
            standard_component_specs.EXAMPLE_SPLITS_KEY: json.dumps(["test"]),
        }
        super().Do(inputs, output_dict, properties)
        blessing = artifact_utils.get_single_instance(output_dict[standard_component_specs.BLESSING_KEY])
        evaluation = artifact_utils.get_single_uri(output_dict[standard_component_specs.EVALUATION_KEY])
        summary = summarise(
            evaluation,
            config,
            blessed=blessing.get_int_custom_property("blessed") == 1,
            baseline_version=version,
        )
        write_text(os.path.join(evaluation, METRICS_FILE), json.dumps(summary, indent=1))
