"""Trainings at once: TFX's launcher in a thread of this process, its executor in a process of its own.

The networks of the views do not depend on each other, and one training does not fill two cores. ML Metadata is used by
one thread at a time, as before, so the record of a run is that of trainings one after the other.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context, parent_process
from multiprocessing.connection import wait
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from absl import logging
from tfx.orchestration import metadata
from tfx.orchestration.portable import data_types
from tfx.orchestration.portable.python_executor_operator import PythonExecutorOperator
from tfx.proto.orchestration import executable_spec_pb2, execution_invocation_pb2, execution_result_pb2, pipeline_pb2

from components.common.progress import PROGRESS_FILE_VARIABLE

_TRAINS: Final = ("Trainer", "TextureModel")
_MEMORY: Final = 4 * 2**30  # bytes of a training; one at 128 pixels was seen to take 1.2 GiB, one at 450 pixels 3
_MEMORY_FILE: Final = Path("/proc/meminfo")
_CONTAINER: Final = Path("/sys/fs/cgroup")  # of this process, if it is in a container (control groups, version 2)
# Imported once, in a process that all trainings are forked from. It runs nothing of TensorFlow, so it can be forked.
_IMPORTED_ONCE: Final = (
    "tfx.orchestration.portable.python_executor_operator",
    "components.trainer.run_fn",
    "components.texture_model.executor",
)


class TrainingError(RuntimeError):
    """A training in a process of its own failed; the message is that of its error."""


def trainings_at_once(configured: int, environment: Mapping[str, str]) -> int:
    """Return how many trainings run at once.

    Args:
        configured: ``runner.trainings``; 0 leaves it to the machine.
        environment: Environment variables.
    """
    if configured:
        return configured
    import tensorflow as tf  # slow, and only needed here

    if "TF_CONFIG" in environment or tf.config.list_physical_devices("GPU"):
        return 1
    return max(1, min(len(os.sched_getaffinity(0)), _available_memory() // _MEMORY))


def _available_memory() -> int:
    """Return the memory that is free for new work on this machine, or in this container, bytes."""
    [line] = [line for line in _MEMORY_FILE.read_text(encoding="ascii").splitlines() if line.startswith("MemAvailable")]
    free = int(line.split()[1]) * 1024
    limit, used = (_CONTAINER / name for name in ("memory.max", "memory.current"))
    if limit.is_file() and (text := limit.read_text().strip()).isdecimal():  # else "max"
        free = min(free, int(text) - int(used.read_text()))
    return free


def groups(nodes: Sequence[pipeline_pb2.PipelineNode], most: int) -> Iterator[list[pipeline_pb2.PipelineNode]]:
    """Divide nodes into parts: trainings that stand beside each other and do not depend on each other, or one node.

    Args:
        nodes: Nodes in the order of the run.
        most: Largest number of trainings at once; 1 gives one node per part.
    """
    group: list[pipeline_pb2.PipelineNode] = []
    for node in nodes:
        trains = most > 1 and node.node_info.id.split(".")[0] in _TRAINS
        needs = {other.node_info.id for other in group} & set(node.upstream_nodes)
        if group and (not trains or needs):
            yield group
            group = []
        if trains:
            group.append(node)
        else:
            yield [node]
    if group:
        yield group


class MetadataInTurn(metadata.Metadata):
    """ML Metadata that one thread uses at a time."""

    def __init__(self, connection: Any, turn: threading.RLock) -> None:
        """Create it.

        Args:
            connection: Connection for ML Metadata's client.
            turn: Lock that all threads share.
        """
        super().__init__(connection)
        self._turn = turn

    def __enter__(self) -> MetadataInTurn:
        """Wait for the turn, and open the store."""
        self._turn.acquire()
        try:
            super().__enter__()
        except BaseException:
            self._turn.release()
            raise
        return self

    def __exit__(
        self,
        exc_type: type[Exception] | None = None,
        exc_value: Exception | None = None,
        exc_tb: TracebackType | None = None,
    ) -> None:
        """Close the store, and give the turn on."""
        try:
            super().__exit__(exc_type, exc_value, exc_tb)
        finally:
            self._turn.release()


class ApartOperator(PythonExecutorOperator):
    """Run a node's executor in a process of its own, which ends with this one."""

    SUPPORTED_EXECUTOR_SPEC_TYPE = [executable_spec_pb2.PythonClassExecutableSpec]
    SUPPORTED_PLATFORM_CONFIG_TYPE: list[Any] = []

    def __init__(self, executor_spec: Any, platform_config: Any = None, *, progress_file: Path) -> None:
        """Create it, as TFX's launcher does.

        Args:
            executor_spec: Names the class of the executor.
            platform_config: Not used.
            progress_file: Where the executor writes its progress.
        """
        super().__init__(executor_spec, platform_config)
        self._progress_file = progress_file

    def run_executor(self, execution_info: data_types.ExecutionInfo) -> execution_result_pb2.ExecutorOutput:
        """Run it; see the base class.

        Raises:
            TrainingError: The executor failed, or its process was killed.
        """
        given = self._executor_spec.SerializeToString(), execution_info.to_proto().SerializeToString()
        processes = get_context("forkserver")
        processes.set_forkserver_preload(list(_IMPORTED_ONCE))
        with ProcessPoolExecutor(1, processes, initializer=_end_with_parent) as pool:
            try:
                output, problem = pool.submit(_run, *given, self.extra_flags, str(self._progress_file)).result()
            except BrokenProcessPool as error:
                raise TrainingError(
                    "Its process was killed, probably because memory ran out: set runner.trainings to 1, or use a"
                    " smaller batch or image size."
                ) from error
        if problem:
            raise TrainingError(problem)
        return execution_result_pb2.ExecutorOutput.FromString(output)


def _end_with_parent() -> None:
    """End this process when its parent does, however that ends."""
    parent = parent_process()
    assert parent is not None
    threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _run(spec: bytes, invocation: bytes, flags: list[str], progress_file: str) -> tuple[bytes, str]:
    """Run an executor in this process; return its output, or what is wrong: not every error can be sent."""
    os.environ[PROGRESS_FILE_VARIABLE] = progress_file
    operator = PythonExecutorOperator(executable_spec_pb2.PythonClassExecutableSpec.FromString(spec))
    operator.extra_flags = flags
    info = data_types.ExecutionInfo.from_proto(execution_invocation_pb2.ExecutionInvocation.FromString(invocation))
    try:
        return operator.run_executor(info).SerializeToString(), ""
    except Exception as error:
        logging.exception("Execution %d failed.", info.execution_id)
        return b"", str(error) or type(error).__name__
