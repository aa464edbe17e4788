"""TFX interface of the DicomExampleGen node."""

from __future__ import annotations

import dataclasses
import json

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.dsl.placeholder.placeholder import Placeholder
from tfx.types import component_spec, standard_artifacts

from components.common.artifacts import IngestReport
from components.common.fingerprint import code_fingerprint
from components.dicom_example_gen import executor
from components.dicom_example_gen.config import IngestConfig
from components.sources.source import Source, source_to_json
from components.sources.spans import Span


class DicomExampleGenSpec(component_spec.ComponentSpec):
    """Inputs, outputs and parameters of DicomExampleGen."""

    PARAMETERS = {
        "source": component_spec.ExecutionParameter(type=str),
        "fingerprint": component_spec.ExecutionParameter(type=str),
        "config": component_spec.ExecutionParameter(type=str),
        "key_id": component_spec.ExecutionParameter(type=str),
        "span": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {
        "examples": component_spec.ChannelParameter(type=standard_artifacts.Examples),
        "ingest_report": component_spec.ChannelParameter(type=IngestReport),
    }


class DicomExampleGen(base_beam_component.BaseBeamComponent):
    """Convert an archive of mammograms to tf.Examples, one per view."""

    SPEC_CLASS = DicomExampleGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        source: Source | Placeholder,
        fingerprint: str | Placeholder,
        config: IngestConfig,
        key_id: str | Placeholder,
        span: Span | Placeholder | None = None,
    ):
        """Initialize the node. A placeholder stands for a value that ArchiveScan finds while the pipeline runs.

        Args:
            source: Archive.
            fingerprint: ``archive_fingerprint`` of the source; if the archive changes, the node runs again.
            config: Configuration of ingest.
            key_id: ``HashKey.key_id`` of the key that the executor will find; with another key, the node runs again.
            span: Span of the archive, if it is one of several. A span may have no images for some splits.
        """
        spec = DicomExampleGenSpec(
            source=source if isinstance(source, Placeholder) else source_to_json(source),
            fingerprint=fingerprint,
            config=config.model_dump_json(),
            key_id=key_id,
            span=json.dumps(dataclasses.asdict(span)) if isinstance(span, Span) else "" if span is None else span,
            code=code_fingerprint("components.dicom_example_gen.executor"),
            examples=types.Channel(type=standard_artifacts.Examples),
            ingest_report=types.Channel(type=IngestReport),
        )
        super().__init__(spec=spec)
