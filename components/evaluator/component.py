"""TFX interface of the Evaluator node."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.common.fingerprint import code_fingerprint
from components.evaluator import executor
from components.evaluator.config import EvaluatorConfig


class EvaluatorSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of the Evaluator."""

    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "minimum_views": component_spec.ExecutionParameter(type=int),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "baseline_model": component_spec.ChannelParameter(type=standard_artifacts.Model),
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema),
        "training_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples, optional=True),
    }
    OUTPUTS = {
        "evaluation": component_spec.ChannelParameter(type=standard_artifacts.ModelEvaluation),
        "blessing": component_spec.ChannelParameter(type=standard_artifacts.ModelBlessing),
    }


class Evaluator(base_beam_component.BaseBeamComponent):
    """Evaluates the exam model with TFMA per slice, and judges it by gates and against the latest pushed model."""

    SPEC_CLASS = EvaluatorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        model: types.BaseChannel,
        baseline_model: types.BaseChannel,
        schema: types.BaseChannel,
        config: EvaluatorConfig,
        minimum_views: int = 1,
        training_examples: types.BaseChannel | None = None,
    ):
        """Create the node.

        Args:
            examples: Preprocessed examples; the node reads the test split, and the train split for the baseline of grey
                statistics.
            model: Exam model.
            baseline_model: Output of BaselineModel.
            schema: Schema of the examples.
            config: Gates.
            minimum_views: An exam with fewer views gets no grade from the model and counts as ungraded.
            training_examples: Examples that the networks learned from, if they are a selection; the baseline of grey
                statistics learns from the same.
        """
        spec = EvaluatorSpec(
            examples=examples,
            model=model,
            baseline_model=baseline_model,
            schema=schema,
            training_examples=training_examples,
            config=config.model_dump_json(),
            minimum_views=minimum_views,
            code=code_fingerprint("components.evaluator.executor"),
            evaluation=types.Channel(type=standard_artifacts.ModelEvaluation),
            blessing=types.Channel(type=standard_artifacts.ModelBlessing),
        )
        super().__init__(spec=spec)
