"""TFX interface of the TextureModel node."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import component_spec, standard_artifacts

from components.common.artifacts import TextureArraysArtifact
from components.common.fingerprint import code_fingerprint
from components.texture.config import TextureConfig
from components.texture_model import executor


class TextureModelSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of TextureModel."""

    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {"texture_model": component_spec.ChannelParameter(type=TextureArraysArtifact)}


class TextureModel(base_component.BaseComponent):
    """Fits trees and a logistic regression to the texture of the training views."""

    SPEC_CLASS = TextureModelSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(self, examples: types.BaseChannel, config: TextureConfig):
        """Create the node.

        Args:
            examples: Preprocessed examples; the node reads the train split.
            config: Settings of the texture model.
        """
        spec = TextureModelSpec(
            examples=examples,
            config=config.model_dump_json(),
            code=code_fingerprint("components.texture_model.executor"),
            texture_model=types.Channel(type=TextureArraysArtifact),
        )
        super().__init__(spec=spec)
