"""TFMA's EvalConfig of this pipeline."""

from __future__ import annotations

import json
from collections.abc import Mapping

from tensorflow_model_analysis.proto import config_pb2

from components.evaluator.config import EvaluatorConfig
from components.evaluator.metrics import BASELINE, CANDIDATE
from components.evaluator.slices import SLICES
from components.statistics.scores import Level
from schema import features as f


def build_eval_config(
    config: EvaluatorConfig, temperatures: Mapping[str, float], minimum_views: int = 1
) -> config_pb2.EvalConfig:
    """Builds the evaluation: models, slices and metrics.

    Args:
        config: Bootstrap.
        temperatures: Of the exam models, by `CANDIDATE` and, where a model was pushed before, `BASELINE`.
        minimum_views: An exam of fewer views has no grade.

    Returns:
        TFMA's configuration. It has no thresholds: what they cannot express (slices of enough exams, paired exams) is
        judged in ``gates.py``, and one judge is better than two.
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
        }
        return config_pb2.MetricConfig(
            class_name="DensityMetrics", module="components.evaluator.metrics", config=json.dumps(settings)
        )

    return config_pb2.EvalConfig(
        model_specs=models,
        slicing_specs=[config_pb2.SlicingSpec(feature_keys=keys) for keys in SLICES],
        metrics_specs=[
            config_pb2.MetricsSpec(metrics=[metric("exam"), metric("breast")], query_key=f.EXAM_ID),
            config_pb2.MetricsSpec(metrics=[metric("view")]),
        ],
    )
