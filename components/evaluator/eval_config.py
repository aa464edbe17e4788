"""TFMA's EvalConfig of this pipeline."""

from __future__ import annotations

import json
from typing import Final

from google.protobuf import wrappers_pb2
from tensorflow_model_analysis.proto import config_pb2

from components.evaluator.config import EvaluatorConfig
from schema import features as f

CANDIDATE: Final = "candidate"
BASELINE: Final = "baseline"
SLICES: Final = (
    (),
    (f.ACQUISITION_SYSTEM,),
    (f.DENSITY,),
    (f.VIEW,),
    (f.ACQUISITION_SYSTEM, f.DENSITY),
)
_OVERALL: Final = config_pb2.SlicingSpec()


def _metric(level: str) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(
        class_name="DensityMetrics", module="components.evaluator.metrics", config=json.dumps({"level": level})
    )


def _at_least(floor: float) -> config_pb2.MetricThreshold:
    bound = wrappers_pb2.DoubleValue(value=floor)
    return config_pb2.MetricThreshold(value_threshold=config_pb2.GenericValueThreshold(lower_bound=bound))


def _loses_at_most(loss: float) -> config_pb2.MetricThreshold:
    # TFMA passes a change that is greater than the bound.
    change = config_pb2.GenericChangeThreshold(
        absolute=wrappers_pb2.DoubleValue(value=-loss - 1e-9), direction=config_pb2.HIGHER_IS_BETTER
    )
    return config_pb2.MetricThreshold(change_threshold=change)


def build_eval_config(config: EvaluatorConfig, *, has_baseline: bool) -> config_pb2.EvalConfig:
    """Builds the evaluation: models, slices, metrics and gates.

    Args:
        config: Gates.
        has_baseline: A model was pushed before, and is compared with.

    Returns:
        TFMA's configuration. Gates apply to the overall slice alone: ``thresholds`` would apply to every slice.
    """
    models = [
        config_pb2.ModelSpec(
            name=CANDIDATE,
            signature_name="serving_default",
            label_key=f.DENSITY,
            prediction_key="probabilities",
            inference_batch_size=32,
        )
    ]
    if has_baseline:
        baseline = config_pb2.ModelSpec()
        baseline.CopyFrom(models[0])
        baseline.name, baseline.is_baseline = BASELINE, True
        models.append(baseline)
    exam = config_pb2.MetricsSpec(metrics=[_metric("exam")], query_key=f.EXAM_ID)
    gates = [(name, _at_least(floor)) for name, floor in config.floors().items()]
    if has_baseline and config.maximum_kappa_loss is not None:
        gates.append(("exam_quadratic_kappa", _loses_at_most(config.maximum_kappa_loss)))
    for name, threshold in gates:
        exam.per_slice_thresholds[name].thresholds.append(
            config_pb2.PerSliceMetricThreshold(slicing_specs=[_OVERALL], threshold=threshold)
        )
    return config_pb2.EvalConfig(
        model_specs=models,
        slicing_specs=[config_pb2.SlicingSpec(feature_keys=keys) for keys in SLICES],
        metrics_specs=[exam, config_pb2.MetricsSpec(metrics=[_metric("view")])],
    )
