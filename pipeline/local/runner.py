"""Run the pipeline on this machine: TFX's launcher node by node, with Beam's runner inside."""

from __future__ import annotations

import datetime
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

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
from pipeline.local.trainings import ApartOperator, MetadataInTurn, groups
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
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name)
        else:
            os.environ[name] = before


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


@dataclass(frozen=True)
class _Run:
    """A compiled pipeline that runs.

    Attributes:
        ir: The pipeline.
        deployment: Executors and connections.
        connection: Of ML Metadata.
        turn: Whose turn it is to use ML Metadata.
        scratch: Folder for the progress files.
        observer: Notified when a node begins and ends.
    """

    ir: pipeline_pb2.Pipeline
    deployment: Any
    connection: Connection
    turn: threading.RLock
    scratch: Path
    observer: RunObserver

    def launch(self, node: pipeline_pb2.PipelineNode, apart: bool) -> NodeResult:
        """Run a node; with ``apart``, its executor in a process of its own.

        Raises:
            NodeError: It failed.
        """
        name = node.node_info.id
        started = time.monotonic()
        number = 1 + [other.pipeline_node.node_info.id for other in self.ir.nodes].index(name)
        executor = runner_utils.extract_executor_spec(self.deployment, name)
        with _progress_file(self.scratch / (f"progress.{name}.tsv" if apart else "progress.tsv")) as progress:
            operators = {type(executor): partial(ApartOperator, progress_file=progress)} if apart else {}
            with self.turn:
                self.observer.start(name, number, len(self.ir.nodes), progress)
            try:
                with nullcontext() if apart else _environment(PROGRESS_FILE_VARIABLE, str(progress)):
                    info = launcher.Launcher(
                        pipeline_node=node,
                        mlmd_connection=MetadataInTurn(self.connection, self.turn),
                        pipeline_info=self.ir.pipeline_info,
                        pipeline_runtime_spec=self.ir.runtime_spec,
                        executor_spec=executor,
                        custom_driver_spec=runner_utils.extract_custom_driver_spec(self.deployment, name),
                        custom_executor_operators=operators,
                    ).launch()
            except Exception as error:
                logging.exception("Node %s failed.", name)
                raise NodeError(name, error) from error
            with self.turn:
                cached, outputs = _outcome(self.connection, info.execution_id)
                result = NodeResult(name, cached, time.monotonic() - started, outputs)
                self.observer.finish(result)
        return result


def run(pipeline: tfx_pipeline.Pipeline, scratch: Path, observer: RunObserver, trainings: int = 1) -> list[NodeResult]:
    """Run a pipeline as TFX's LocalDagRunner does, and report each node.

    Args:
        pipeline: Pipeline with a metadata connection.
        scratch: Folder for the progress files.
        observer: Notified when a node begins and ends.
        trainings: Largest number of trainings at once; see :mod:`pipeline.local.trainings`.

    Returns:
        The nodes' results, in the order of the pipeline.

    Raises:
        NodeError: A node failed; the first one of several. The outputs of finished nodes are kept, and the next run
            continues there.
    """
    ir: pipeline_pb2.Pipeline = compiler.Compiler().compile(pipeline)
    run_id = datetime.datetime.now().isoformat()
    runtime_parameter_utils.substitute_runtime_parameter(ir, {constants.PIPELINE_RUN_ID_PARAMETER_NAME: run_id})
    deployment = runner_utils.extract_local_deployment_config(ir)
    choice = deployment.metadata_connection_config
    connection = getattr(choice, choice.WhichOneof("connection_config"))
    running = _Run(ir, deployment, connection, threading.RLock(), scratch, observer)
    results: list[NodeResult] = []
    for group in groups([node.pipeline_node for node in ir.nodes], trainings):
        if len(group) == 1:
            results.append(running.launch(group[0], apart=False))
            continue
        with ThreadPoolExecutor(trainings) as pool:
            futures = [pool.submit(running.launch, node, apart=True) for node in group]
        results += [future.result() for future in futures]
    return results
