"""TFX interface of the ArchiveScan node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.placeholder.placeholder import Placeholder
from tfx.types import component_spec, standard_artifacts

from components.archive_scan import executor
from components.common.fingerprint import code_fingerprint
from components.dicom_example_gen import IngestConfig
from components.sources.source import Source, source_to_json
from components.sources.spans import LATEST

FOUND: Final = ("source", "fingerprint", "span", "key_id", "reviews")


class ArchiveScanSpec(component_spec.ComponentSpec):
    """Outputs and parameters of ArchiveScan."""

    PARAMETERS = {
        "archive": component_spec.ExecutionParameter(type=str),
        "wanted_span": component_spec.ExecutionParameter(type=str),
        "newest_span": component_spec.ExecutionParameter(type=str),
        "before": component_spec.ExecutionParameter(type=int),
        "reviews_folder": component_spec.ExecutionParameter(type=str),
        "config": component_spec.ExecutionParameter(type=str),
        "code": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: dict[str, component_spec.ChannelParameter] = {}
    OUTPUTS = {name: component_spec.ChannelParameter(type=standard_artifacts.String) for name in FOUND}


class ArchiveScan(base_component.BaseComponent):
    """Find span, fingerprint, key and reviews of an archive, as strings for the parameters of other nodes.

    A runner must never take the outputs of this node from a cache, because this node detects changes.
    """

    SPEC_CLASS = ArchiveScanSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        source: Source,
        config: IngestConfig,
        span: str = LATEST,
        reviews: str = "",
        newest: Placeholder | None = None,
        before: int = 0,
    ):
        """Initialize the node.

        Args:
            source: Archive, at its location in the pods of the pipeline.
            config: Configuration of ingest; it names the key of the hashes.
            span: ``latest``, or the number of a span.
            reviews: Folder of reviews; empty for none.
            newest: Span that another ArchiveScan of this run found; it replaces ``span``, so that exams that arrive
                between the two nodes do not change the result.
            before: 0 for the span itself, 1 for the one before it, and so on.
        """
        spec = ArchiveScanSpec(
            archive=source_to_json(source),
            wanted_span=span,
            newest_span="" if newest is None else newest,
            before=before,
            reviews_folder=reviews,
            config=config.model_dump_json(),
            code=code_fingerprint("components.archive_scan.executor"),
            **{name: types.Channel(type=standard_artifacts.String) for name in FOUND},
        )
        super().__init__(spec=spec)

    def found(self) -> Mapping[str, Placeholder]:
        """Return the parameters for other nodes: name of the output -> placeholder."""
        return {name: self.outputs[name].future()[0].value for name in FOUND}
