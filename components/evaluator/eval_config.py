"""TFMA's configuration of this pipeline: models, slices, metrics and extractors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors import extractor
from tensorflow_model_analysis.proto import config_pb2

from components.evaluator.config import EvaluatorConfig
from components.evaluator.observations import WriteObservations
from components.evaluator.slices import AGE_BAND, SLICES, age_band
from components.evaluator.tfma_metrics import BASELINE, CANDIDATE, OBSERVATIONS
from components.statistics.scores import Level
from schema import features as f


def build_eval_config(
    config: EvaluatorConfig, temperatures: Mapping[str, float], minimum_views: int = 1, observations: str = ""
) -> config_pb2.EvalConfig:
    """Build the evaluation: models, slices and metrics.

    Args:
        config: Settings of the bootstrap.
        temperatures: Temperature of each exam model: `CANDIDATE` and, if a model was pushed before, `BASELINE`.
        minimum_views: An exam of fewer views has no grade.
        observations: Folder for the predictions of all views; empty to write none.

    Returns:
        TFMA's configuration. It has no thresholds. They cannot express all gates (slices with enough exams, paired
        exams), so ``gates.py`` judges all of them in one place.
    """
    models = []
    for name in (CANDIDATE, BASELINE):
        if name in temperatures:
            models.append(
                config_pb2.ModelSpec(
                    name=name,
                    signature_name="serving_default",
                    label_key=f.DENSITY,
                    prediction_key="probabilities",
                    inference_batch_size=32,
                    is_baseline=name == BASELINE,
                )
            )

    def metric(level: Level) -> config_pb2.MetricConfig:
        settings = {
            "level": level,
            "temperatures": dict(temperatures),
            "minimum_views": minimum_views,
            "draws": config.bootstrap_draws,
            "seed": config.seed,
            # TFX passes nothing but this configuration to `custom_extractors`.
            **({OBSERVATIONS: observations} if observations else {}),
        }
        return config_pb2.MetricConfig(
            class_name="DensityMetrics", module="components.evaluator.tfma_metrics", config=json.dumps(settings)
        )

    return config_pb2.EvalConfig(
        model_specs=models,
        slicing_specs=[config_pb2.SlicingSpec(feature_keys=keys) for keys in SLICES],
        metrics_specs=[
            config_pb2.MetricsSpec(metrics=[metric("exam"), metric("breast")], query_key=f.EXAM_ID),
            config_pb2.MetricsSpec(metrics=[metric("view")]),
        ],
    )


def _observers(eval_config: config_pb2.EvalConfig) -> list[Any]:
    """Return the extractor that writes the candidate's predictions, if a folder is configured."""
    settings = json.loads(eval_config.metrics_specs[0].metrics[0].config)
    if OBSERVATIONS not in settings:
        return []
    model = CANDIDATE if len(eval_config.model_specs) > 1 else ""
    return [extractor.Extractor(stage_name=_OBSERVE, ptransform=WriteObservations(settings[OBSERVATIONS], model))]


_SINGLE: Final = "TakeBatchesApart"
_STAGE: Final = "ExtractSlicingFeatures"
_OBSERVE: Final = "WriteObservations"
_BEFORE: Final = "ExtractSliceKeys"


def single_images(extracts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Split a batch, so that the model gets one image at a time.

    Beam chooses the size of batches by the clock, and the size of a batch changes the last bits of a network's output:
    the metrics would differ from run to run.
    """
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    for row in range(batch.num_rows):
        yield {**extracts, tfma.ARROW_RECORD_BATCH_KEY: batch.slice(row, 1)}


def _with_age_band(extracts: dict[str, Any]) -> dict[str, Any]:
    """Add the age band to the features of one image; TFMA's own features stay."""
    features = extracts[tfma.FEATURES_KEY]
    age = int(np.asarray(features[f.PATIENT_AGE]).ravel()[0])
    return {**extracts, tfma.FEATURES_KEY: {**features, AGE_BAND: np.array([age_band(age)], object)}}


def custom_extractors(eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any) -> list[Any]:
    """Return the extractors; TFX's Evaluator imports this function by its name.

    Args:
        eval_shared_model: Model or models.
        eval_config: TFMA's configuration.
        tensor_adapter_config: Format of the examples.

    Returns:
        TFMA's extractors for single images, with the slicing features before the slice keys.
    """
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    place = [each.stage_name for each in extractors].index(_BEFORE)
    return [
        extractor.Extractor(stage_name=_SINGLE, ptransform=beam.FlatMap(single_images)),
        *extractors[:place],
        *_observers(eval_config),
        extractor.Extractor(stage_name=_STAGE, ptransform=beam.Map(_with_age_band)),
        *extractors[place:],
    ]
