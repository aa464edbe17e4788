"""TFX interface of the ArchiveScan node."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from tfx import types
from tfx.dsl.components.base import base_component, executor_spec
from tfx.dsl.placeholder.placeholder import Placeholder
from tfx.types import component_spec, standard_artifacts

from components.archive_scan import executor
from components.archive_scan.scan import LATEST
from components.common.fingerprint import code_fingerprint
from components.dicom_example_gen import IngestConfig
from components.sources.source import Source
from components.sources.source_json import source_to_json

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
    """Finds span, fingerprint, key and reviews of an archive, as strings for the parameters of other nodes.

    A runner must never take its outputs from a cache: it is the node that notices what changed.
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
        """Makes the node.

        Args:
            source: Archive, as the pods that run the pipeline see it.
            config: How the archive will be read; names the key of the hashes.
            span: ``latest``, or the number of a span.
            reviews: Folder of reviews; empty for none.
            newest: Span that another ArchiveScan of this run found, in the place of ``span``: a delivery that arrives
                between the two must not shift what they find.
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
        """Gives what other nodes take as parameters, by the name of the output."""
        return {name: self.outputs[name].future()[0].value for name in FOUND}
