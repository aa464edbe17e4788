"""Run the pipeline on this machine: TFX's launcher node by node, with Beam's runner inside."""

from __future__ import annotations

import datetime
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

from absl import logging
from ml_metadata.proto import metadata_store_pb2
from tfx.dsl.compiler import compiler, constants
from tfx.orchestration import metadata
from tfx.orchestration import pipeline as tfx_pipeline
from tfx.orchestration.local import runner_utils
from tfx.orchestration.portable import launcher, runtime_parameter_utils
from tfx.proto.orchestration import pipeline_pb2

from components.common.progress import PROGRESS_FILE_VARIABLE
from components.dicom_example_gen.plan.identity import find_key
from components.review.folder import review_source
from components.sources.source import archive_fingerprint
from components.sources.spans import find_spans
from pipeline.beam.config import beam_arguments, image_beam_arguments
from pipeline.beam.requirements import require
from pipeline.config import RunConfig
from pipeline.console import NodeResult
from pipeline.metadata import Connection, prepare
from pipeline.pipeline import Archive, ArchivePart, Machinery, RunPaths, create_pipeline
from pipeline.sources import source_of

DATA_FILES: Final = ("../../schema/schema.pbtxt",)
SCHEMA_FILE: Final = (Path(__file__).resolve().parent / DATA_FILES[0]).resolve()


def _reason(cause: Exception) -> str:
    """Return the message of an error: Beam passes on the whole traceback of a worker as its text."""
    lines = [line for line in str(cause).splitlines() if line.strip()]
    if not lines:
        return type(cause).__name__
    if not lines[0].startswith("Traceback"):
        return lines[0]
    ended = [line for line in lines if not line.startswith((" ", "Traceback", "During handling", "The above"))]
    return ended[-1].partition(" [while running")[0] if ended else lines[-1]


class NodeError(RuntimeError):
    """A node failed; its cause is the original error."""

    def __init__(self, node: str, cause: Exception):
        super().__init__(f"Node {node} failed: {_reason(cause)}")
        self.node = node


class RunObserver(Protocol):
    """Shows a run's progress."""

    def start(self, node: str, number: int, count: int, progress_file: Path) -> None:
        """Note that a node begins; it writes its progress to ``progress_file``."""

    def finish(self, result: NodeResult) -> None:
        """Note that a node finished without an error."""


def run_paths(output: Path, name: str) -> RunPaths:
    """Return the paths of a run: ``artifacts/`` and ``serving/NAME/`` in its output folder."""
    output = output.resolve()
    return RunPaths(str(output / "artifacts"), str(output / "serving" / name), str(SCHEMA_FILE))


def build(config: RunConfig, last: str | None = None) -> tfx_pipeline.Pipeline:
    """Build the pipeline of a configuration for this machine.

    Args:
        config: Configuration with data.
        last: Id of the last node; None for the whole pipeline.

    Raises:
        ValueError: The configuration has no data.
        BeamRunnerError: Something that Beam's runner needs is missing.
        ManifestError: The archive, its labels or its spans cannot be used.
        ReviewFolderError: The folder of reviews cannot be read.
        MetadataError: ML Metadata cannot be reached.
    """
    if config.data is None:
        raise ValueError("The configuration names no archive: give data.folder and data.labels, or data.manifest.")
    require(config.beam, config.output, os.environ)
    spans = find_spans(source_of(config.data))
    key = find_key(config.pipeline.ingest, os.environ)
    return create_pipeline(
        config.pipeline,
        Archive(
            tuple(ArchivePart(part.source, archive_fingerprint(part.source), part.span) for part in spans),
            key.key_id,
            review_source(config.data.reviews) if config.data.reviews else None,
            "computed phantoms" if config.phantoms else "",
        ),
        run_paths(config.output, config.pipeline.name),
        Machinery(
            beam_arguments(config.beam, str(config.output.resolve())),
            # Threads help where OpenCV and codecs release the GIL; TFX's own nodes are faster without them.
            image_beam_arguments(config.beam, config.runner.workers),
            prepare(config.metadata, config.output, os.environ),
        ),
        last=last,
    )


@contextmanager
def _progress_file(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    before = os.environ.get(PROGRESS_FILE_VARIABLE)
    os.environ[PROGRESS_FILE_VARIABLE] = str(path)
    try:
        yield path
    finally:
        if before is None:
            os.environ.pop(PROGRESS_FILE_VARIABLE)
        else:
            os.environ[PROGRESS_FILE_VARIABLE] = before
        path.unlink(missing_ok=True)


def _outcome(connection: Connection, execution_id: int) -> tuple[bool, dict[str, str]]:
    """Return from ML Metadata whether an execution was cached, and the URI of each output.

    The launcher's own result contains folders that a cached execution never wrote.
    """
    with metadata.Metadata(connection) as handle:
        [execution] = handle.store.get_executions_by_id([execution_id])
        events = handle.store.get_events_by_execution_ids([execution_id])
        keys = {e.artifact_id: e.path.steps[0].key for e in events if e.type == metadata_store_pb2.Event.OUTPUT}
        artifacts = handle.store.get_artifacts_by_id(list(keys))
    cached = execution.last_known_state == metadata_store_pb2.Execution.CACHED
    return cached, {keys[artifact.id]: artifact.uri for artifact in artifacts}


def run(pipeline: tfx_pipeline.Pipeline, scratch: Path, observer: RunObserver) -> list[NodeResult]:
    """Run a pipeline as TFX's LocalDagRunner does, and report each node.

    Args:
        pipeline: Pipeline with a metadata connection.
        scratch: Folder for the progress file.
        observer: Notified when a node begins and ends.

    Returns:
        The nodes' results, in the order in which they ran.

    Raises:
        NodeError: A node failed. The outputs of finished nodes are kept, and the next run continues there.
    """
    ir: pipeline_pb2.Pipeline = compiler.Compiler().compile(pipeline)
    run_id = datetime.datetime.now().isoformat()
    runtime_parameter_utils.substitute_runtime_parameter(ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id})
    deployment = runner_utils.extract_local_deployment_config(ir)
    choice = deployment.metadata_connection_config
    connection = getattr(choice, choice.WhichOneof("connection_config"))
    results = []
    for number, node in enumerate(ir.nodes, start=1):
        spec = node.pipeline_node
        name = spec.node_info.id
        started = time.monotonic()
        with _progress_file(scratch / "progress.tsv") as progress:
            observer.start(name, number, len(ir.nodes), progress)
            try:
                info = launcher.Launcher(
                    pipeline_node=spec,
                    mlmd_connection=metadata.Metadata(connection),
                    pipeline_info=ir.pipeline_info,
                    pipeline_runtime_spec=ir.runtime_spec,
                    executor_spec=runner_utils.extract_executor_spec(deployment, name),
                    custom_driver_spec=runner_utils.extract_custom_driver_spec(deployment, name),
                ).launch()
            except Exception as error:
                logging.exception("Node %s failed.", name)
                raise NodeError(name, error) from error
            cached, outputs = _outcome(connection, info.execution_id)
            result = NodeResult(name, cached, time.monotonic() - started, outputs)
            observer.finish(result)
        results.append(result)
    return results
