"""TFX executor of the Evaluator: TFMA's executor with our configuration, an optional baseline, gates and summary."""

from __future__ import annotations

import json
import os
from typing import Any, Final

from tfx import types
from tfx.components.evaluator import constants
from tfx.components.evaluator import executor as tfma_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import path_utils, proto_utils

from components.common.shards import split_folder, write_text
from components.evaluator.config import EvaluatorConfig
from components.evaluator.eval_config import build_eval_config, custom_extractors
from components.evaluator.familiarity import FAMILIARITY_FILE, measure_familiarity
from components.evaluator.grey_baseline import compare_with_grey
from components.evaluator.observations import take_exam_scores
from components.evaluator.readers import compare_with_readers
from components.evaluator.results import Compared, summarise
from components.evaluator.slices import METRICS_FILE
from components.evaluator.tfma_metrics import BASELINE, CANDIDATE
from components.exam_model.versions import baseline_version
from components.statistics.calibration import load_temperature
from components.statistics.selective import selective_curve

Artifacts = dict[str, list[types.Artifact]]
_OBSERVATIONS: Final = "observations"  # in the evaluation's folder, until the summary is written
_EXTRACTORS = f"{custom_extractors.__module__}.{custom_extractors.__name__}"


def _temperature(model: types.Artifact) -> float:
    return load_temperature(path_utils.serving_model_path(model.uri))


def _bless(blessing: types.Artifact, model: types.Artifact, baseline: types.Artifact | None, blessed: bool) -> None:
    """Write the blessing as TFX's executor does; it writes none here, because TFMA has no thresholds."""
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if baseline is not None:
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.id)
    value = constants.BLESSED_VALUE if blessed else constants.NOT_BLESSED_VALUE
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)
    name = constants.BLESSED_FILE_NAME if blessed else constants.NOT_BLESSED_FILE_NAME
    write_text(os.path.join(blessing.uri, name), "")


class Executor(tfma_executor.Executor):
    """Evaluates the exam model on the test split and decides on its blessing."""

    def Do(self, input_dict: Artifacts, output_dict: Artifacts, exec_properties: dict[str, Any]) -> None:  # noqa: N802
        """Run TFMA, write ``exam_metrics.json`` beside its results, and bless the model if it passes the gates.

        Args:
            input_dict: ``examples``, ``model``, ``schema``, ``baseline_model`` (possibly without a model), optionally
                ``training_examples``.
            output_dict: ``evaluation``, ``blessing``.
            exec_properties: ``config``, JSON of EvaluatorConfig; ``minimum_views`` of the exam model.
        """
        config = EvaluatorConfig.model_validate_json(exec_properties["config"])
        inputs = dict(input_dict)
        model = artifact_utils.get_single_instance(inputs[standard_component_specs.MODEL_KEY])
        baseline = artifact_utils.get_single_instance(inputs[standard_component_specs.BASELINE_MODEL_KEY])
        version = baseline_version(baseline.uri)
        compared = Compared(version, _temperature(baseline)) if version is not None else None
        temperatures = {CANDIDATE: _temperature(model)}
        if compared is None:
            del inputs[standard_component_specs.BASELINE_MODEL_KEY]
        else:
            temperatures[BASELINE] = compared.temperature
        evaluation = artifact_utils.get_single_uri(output_dict[standard_component_specs.EVALUATION_KEY])
        observations = os.path.join(evaluation, _OBSERVATIONS)
        minimum_views = exec_properties["minimum_views"]
        eval_config = build_eval_config(config, temperatures, minimum_views, observations)
        properties = {
            standard_component_specs.EVAL_CONFIG_KEY: proto_utils.proto_to_json(eval_config),
            standard_component_specs.EXAMPLE_SPLITS_KEY: json.dumps(["test"]),
            "custom_extractors": _EXTRACTORS,
        }
        training = inputs.pop("training_examples", None) or inputs[standard_component_specs.EXAMPLES_KEY]
        super().Do(inputs, output_dict, properties)
        scores = take_exam_scores(observations, temperatures[CANDIDATE], minimum_views)
        train, test = (
            split_folder(artifact_utils.get_single_uri(artifacts), split)
            for artifacts, split in ((training, "train"), (inputs[standard_component_specs.EXAMPLES_KEY], "test"))
        )
        grey = compare_with_grey(train, test, scores, config.bootstrap_draws, config.seed)
        selective = selective_curve(scores, config.bootstrap_draws, config.seed)
        summary = summarise(evaluation, config, temperatures[CANDIDATE], compared, grey, selective)
        readers = compare_with_readers(test, scores, config.bootstrap_draws)
        if readers:
            summary["readers"] = [pair.model_dump(mode="json") for pair in readers]
        write_text(os.path.join(evaluation, METRICS_FILE), json.dumps(summary, indent=1))
        familiarity = measure_familiarity(path_utils.serving_model_path(model.uri), test)
        write_text(os.path.join(evaluation, FAMILIARITY_FILE), json.dumps(familiarity, indent=1))
        blessing = artifact_utils.get_single_instance(output_dict[standard_component_specs.BLESSING_KEY])
        _bless(blessing, model, baseline if compared else None, summary["blessed"])
