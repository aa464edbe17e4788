"""TFX interface of the ExamEnsemble node."""

from __future__ import annotations

from collections.abc import Mapping

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.common.artifacts import TextureArraysArtifact
from components.common.fingerprint import code_fingerprint
from components.exam_ensemble import executor
from components.exam_ensemble.config import EnsembleConfig
from components.exam_model.recipe import PreprocessingRecipe
from components.transform.config import ImageConfig
from schema.features import VIEWS


class ExamEnsembleSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of ExamEnsemble."""

    PARAMETERS = {
        "image": component_spec.ExecutionParameter(type=str),
        "preprocessing": component_spec.ExecutionParameter(type=str),
        "config": component_spec.ExecutionParameter(type=str),
        "mirrored": component_spec.ExecutionParameter(type=int),
        "origin": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        **{view: component_spec.ChannelParameter(type=standard_artifacts.Model) for view in VIEWS},
        executor.TEXTURE_MODEL: component_spec.ChannelParameter(type=TextureArraysArtifact, optional=True),
    }
    OUTPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}


class ExamEnsemble(base_component.BaseComponent):
    """Combines the view networks to one calibrated exam model with every serving signature."""

    SPEC_CLASS = ExamEnsembleSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        networks: Mapping[str, types.BaseChannel],
        examples: types.BaseChannel,
        image: ImageConfig,
        recipe: PreprocessingRecipe,
        config: EnsembleConfig,
        mirrored: bool = False,
        origin: str = "",
    ):
        """Create the node.

        Args:
            networks: Model of the Trainer for each view; several views may share one. The mixed classifier needs
                ``texture_model`` too, the output of TextureModel.
            examples: Preprocessed examples. The eval split calibrates; the contract has the counts of train and eval.
            image: Input of the networks.
            recipe: Preprocessing of the images; the model contains it.
            config: Combination and calibration.
            mirrored: The networks are trained on left breasts and get right breasts flipped.
            origin: Where the exams come from, if they are not exams of patients.
        """
        spec = ExamEnsembleSpec(
            **networks,
            examples=examples,
            image=image.model_dump_json(),
            preprocessing=recipe.model_dump_json(),
            config=config.model_dump_json(),
            mirrored=int(mirrored),
            origin=origin,
            code=code_fingerprint("components.exam_ensemble.executor"),
            model=types.Channel(type=standard_artifacts.Model),
        )
        super().__init__(spec=spec)
