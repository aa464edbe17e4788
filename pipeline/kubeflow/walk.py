"""Run a compiled pipeline on this machine without a cluster.

This does what Kubeflow's driver and launcher do: it resolves the inputs of each task, copies artifacts from the store
to an empty folder that replaces a pod, starts the container's command with ``{{$}}`` filled in, and copies outputs
back. If the pipeline root is a volume, one folder replaces the volume for all tasks, and nothing is copied. The command
line, the parameters and the entry point are those of a cluster. The image, scheduling, the cache and retries are not
covered.

Folders replace the object store. Like an object store, they keep only files: an empty folder is not copied from one
node to the next.

Source: kubeflow/pipelines, backend/src/v2/driver and backend/src/v2/component/launcher_v2.go
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.kubeflow.entrypoint import ROOT_VARIABLE
from pipeline.kubeflow.executor_input import local_path
from pipeline.kubeflow.package import Package
from pipeline.kubeflow.parameters import Value
from pipeline.kubeflow.specification import ARTIFACTS_ROOT


def _copy_files(source: Path, target: Path) -> None:
    files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    for file in files:
        copied = target / file.relative_to(source) if source.is_dir() else target
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copied)


def download(uri: str, store: Path, pod: Path) -> None:
    """Copy an artifact to a pod, as the launcher does before the node's command."""
    _copy_files(local_path(uri, store), local_path(uri, pod))


def upload(uri: str, pod: Path, store: Path) -> None:
    """Copy what a node's command has written to the store."""
    _copy_files(local_path(uri, pod), local_path(uri, store))


_PROJECT: Final = Path(__file__).resolve().parents[2]
_LOG_LINES: Final = 8
_OUTPUT_FILE: Final = "tmp/kfp_outputs/output_metadata.json"


class WalkError(RuntimeError):
    """A task's command failed; the message contains the path of its log and the last lines."""


@dataclass(frozen=True)
class FinishedTask:
    """A task that finished without an error.

    Attributes:
        task: Name of the task.
        seconds: Duration, s.
        output: What its command wrote, including the outputs' URIs.
    """

    task: str
    seconds: float
    output: spec_pb2.ExecutorOutput


def executor_input(
    package: Package,
    task: str,
    values: Mapping[str, Value],
    done: Mapping[str, FinishedTask],
    run: str,
    pod: Path,
) -> spec_pb2.ExecutorInput:
    """Resolve a task's inputs and name its outputs, as the driver does.

    Artifacts are as the backend passes them: with metadata, without type.

    Args:
        package: The pipeline.
        task: Name of the task.
        values: Values of run parameters.
        done: Finished tasks by name.
        run: Name of the run.
        pod: Folder that replaces the pod's root.
    """
    spec = package.spec
    given = spec.root.dag.tasks[task].inputs
    outputs = spec.components[spec.root.dag.tasks[task].component_ref.name].output_definitions
    found = spec_pb2.ExecutorInput()
    for name, parameter in given.parameters.items():
        kind = parameter.WhichOneof("kind")
        if kind == "runtime_value":
            value = parameter.runtime_value.constant
        elif kind == "component_input_parameter":
            value = _run_value(spec, parameter.component_input_parameter, values)
        else:
            made = parameter.task_output_parameter
            value = done[made.producer_task].output.parameter_values[made.output_parameter_key]
        found.inputs.parameter_values[name].CopyFrom(value)
    for name, artifact in given.artifacts.items():
        source = artifact.task_output_artifact
        made = done[source.producer_task].output.artifacts[source.output_artifact_key].artifacts[0]
        found.inputs.artifacts[name].artifacts.add(name=made.name, uri=made.uri, metadata=made.metadata)
    for name, declared in outputs.artifacts.items():
        uri = f"{spec.default_pipeline_root}/{spec.pipeline_info.name}/{run}/{task}/{name}"
        found.outputs.artifacts[name].artifacts.add(name=f"{run}/{task}/{name}", uri=uri, type=declared.artifact_type)
    for name in outputs.parameters:
        found.outputs.parameters[name].output_file = str(pod / "tmp" / "kfp" / "outputs" / name)
    found.outputs.output_file = str(pod / _OUTPUT_FILE)
    return found


def _run_value(spec: spec_pb2.PipelineSpec, name: str, values: Mapping[str, Value]) -> struct_pb2.Value:
    if name not in values:
        return spec.root.input_definitions.parameters[name].default_value
    value = values[name]
    return struct_pb2.Value(string_value=value) if isinstance(value, str) else struct_pb2.Value(number_value=value)


def _environment(package: Package, executor: str, root: Path) -> dict[str, str]:
    """Return a task's environment: this process's, with the artifact root, without secrets of other tasks."""
    executors: Mapping[str, Any] = package.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    def secrets(settings: Mapping[str, Any]) -> set[str]:
        return {pair["envVar"] for secret in settings.get("secretAsEnv", ()) for pair in secret["keyToEnv"]}

    everyone = set().union(*map(secrets, executors.values()))
    hidden = everyone - secrets(executors.get(executor, {}))
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    path = os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", os.defpath)))
    return kept | {"PATH": path, "PYTHONPATH": str(_PROJECT), ROOT_VARIABLE: str(root)}


def _last_lines(log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return "\n".join(lines[-_LOG_LINES:])


def run_task(
    package: Package, task: str, values: Mapping[str, Value], done: Mapping[str, FinishedTask], run: str, folder: Path
) -> FinishedTask:
    """Run one task, as the launcher does.

    Raises:
        WalkError: Its command failed.
    """
    started = time.monotonic()
    pod, store = folder / "pods" / task, folder / "store"
    given = executor_input(package, task, values, done, run, pod)
    label = package.spec.components[package.spec.root.dag.tasks[task].component_ref.name].executor_label
    container = package.containers()[task]
    on_volume = ARTIFACTS_ROOT in container.args
    for name in () if on_volume else given.inputs.artifacts:
        download(given.inputs.artifacts[name].artifacts[0].uri, store, pod)
    file = pod / _OUTPUT_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    filled = json_format.MessageToJson(given, indent=None)
    command = [part.replace("{{$}}", filled) for part in (*container.command, *container.args)]
    log = folder / "logs" / f"{task}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        ended = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=_environment(package, label, folder / "volume" if on_volume else pod),
            cwd=pod,
            check=False,
        )
    if ended.returncode:
        raise WalkError(f"Task {task} ended with exit code {ended.returncode}. The log {log} ends:\n{_last_lines(log)}")
    made = json_format.Parse(file.read_bytes(), spec_pb2.ExecutorOutput())
    for name in () if on_volume else given.outputs.artifacts:
        upload(given.outputs.artifacts[name].artifacts[0].uri, pod, store)
    return FinishedTask(task, time.monotonic() - started, made)


def walk(
    package: Package,
    folder: Path,
    values: Mapping[str, Value],
    jobs: int,
    on_task: Callable[[FinishedTask, int, int], None],
    run: str = "walk",
) -> Sequence[FinishedTask]:
    """Run all tasks, each after the tasks that it depends on.

    Args:
        package: The pipeline.
        folder: Folder for the store (``store``) or the volume (``volume``), the pods (``pods``) and their logs
            (``logs``).
        values: Typed run parameters.
        jobs: Maximum number of tasks that run at the same time.
        on_task: Called after each task with the task, its number, and the number of all tasks.
        run: Name of the run.

    Returns:
        The tasks in the order in which they finished.

    Raises:
        WalkError: A task's command failed. Running tasks are finished, and no other task is started.
    """
    tasks = package.spec.root.dag.tasks
    done: dict[str, FinishedTask] = {}
    begun: set[str] = set()
    folder = folder.resolve()
    with ThreadPoolExecutor(jobs) as pool:
        running: set[Future[FinishedTask]] = set()
        while len(done) < len(tasks):
            for task in sorted(set(tasks) - begun):
                if len(running) < jobs and all(other in done for other in tasks[task].dependent_tasks):
                    begun.add(task)
                    running.add(pool.submit(run_task, package, task, values, dict(done), run, folder))
            ended, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                finished = future.result()
                done[finished.task] = finished
                on_task(finished, len(done), len(tasks))
    return list(done.values())
