"""TFX interface of the MammogramPreprocessor node."""

from __future__ import annotations

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.dsl.placeholder.placeholder import Placeholder
from tfx.types import component_spec, standard_artifacts

from components.common.artifacts import QualityReport
from components.common.fingerprint import code_fingerprint
from components.mammogram_preprocessor import executor
from components.preprocessing.config import PreprocessConfig, QualityConfig
from components.review.folder import ReviewSource


class MammogramPreprocessorSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of MammogramPreprocessor."""

    PARAMETERS = {
        "config": component_spec.ExecutionParameter(type=str),
        "quality": component_spec.ExecutionParameter(type=str),
        "reviews": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {"examples": component_spec.ChannelParameter(type=standard_artifacts.Examples)}
    OUTPUTS = {
        "preprocessed_examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "quality_report": component_spec.ChannelParameter(type=QualityReport),
    }


class MammogramPreprocessor(base_beam_component.BaseBeamComponent):
    """Replaces the pectoral muscle, and normalises geometry and grey levels."""

    SPEC_CLASS = MammogramPreprocessorSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        examples: types.BaseChannel,
        config: PreprocessConfig,
        quality: QualityConfig | None = None,
        reviews: ReviewSource | Placeholder | None = None,
    ):
        """Make the node.

        Args:
            examples: Ingested examples.
            config: Method and output geometry.
            quality: Size of the quality report.
            reviews: Folder of reviews, or the output of ArchiveScan, which reads the folder when the pipeline runs. The
                node runs again if the content of the folder changes.
        """
        spec = MammogramPreprocessorSpec(
            examples=examples,
            config=config.model_dump_json(),
            quality=(quality or QualityConfig()).model_dump_json(),
            reviews=reviews.to_json() if isinstance(reviews, ReviewSource) else "" if reviews is None else reviews,
            code=code_fingerprint("components.mammogram_preprocessor.executor"),
            preprocessed_examples=types.Channel(type=standard_artifacts.Examples),
            quality_report=types.Channel(type=QualityReport),
        )
        super().__init__(spec=spec)
