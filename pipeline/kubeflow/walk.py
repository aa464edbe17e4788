"""Run a compiled pipeline on this machine without a cluster.

Kubeflow's driver (``driver.py``) and launcher are imitated for each task. The launcher copies artifacts from the store
to an empty folder that replaces a pod, opens the log file, starts the container's command with ``{{$}}`` filled in, and
copies outputs back. If the pipeline root is a volume, one folder replaces the volume for all tasks. The command line,
the parameters and the entry point are those of a cluster. The image, scheduling and retries are not covered.

Folders replace the object store. Like an object store, they keep only files: an empty folder is not copied from one
node to the next.

Source: kubeflow/pipelines 2.17, backend/src/v2/component/launcher_v2.go
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
from typing import Any, Final, Protocol

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.kubeflow.driver import LOGS, Driven, Driver, DriverError, Request
from pipeline.kubeflow.entrypoint import ROOT_VARIABLE
from pipeline.kubeflow.executor_input import local_path
from pipeline.kubeflow.package import Package
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


class WalkError(RuntimeError):
    """A task failed; if its command did, the message contains the path of its log and the last lines."""


@dataclass(frozen=True)
class FinishedTask:
    """A task that finished without an error.

    Attributes:
        task: Name of the task.
        seconds: Duration, s.
        output: What its command wrote, including the outputs' URIs.
        cached: The output is that of an earlier execution, and no command was started.
    """

    task: str
    seconds: float
    output: spec_pb2.ExecutorOutput
    cached: bool = False


class Pods(Protocol):
    """Where the commands of a walk run."""

    def root(self, task: str) -> Path:
        """Return the folder that is the root of a task's pod, as the paths in its ExecutorInput have it."""

    def run(self, driven: Driven) -> spec_pb2.ExecutorOutput:
        """Run a task that the driver has prepared, and return what its command wrote, with all parameters.

        Raises:
            WalkError: The task failed.
        """


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


def _prepare_pod(driven: Driven, pod: Path, store: Path) -> None:
    """Make an empty pod, copy the inputs to it, and make the folders that outputs will be in."""
    if pod.exists():
        shutil.rmtree(pod)
    for artifacts in driven.given.inputs.artifacts.values():
        download(artifacts.artifacts[0].uri, store, pod)
    outputs = driven.given.outputs
    files = [Path(outputs.output_file), *(Path(parameter.output_file) for parameter in outputs.parameters.values())]
    files += [local_path(artifacts.artifacts[0].uri, pod) for artifacts in outputs.artifacts.values()]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)


def _executor_output(driven: Driven) -> spec_pb2.ExecutorOutput:
    """Read what the command wrote: its output file, and the file of each parameter that is not in it.

    Raises:
        WalkError: A parameter is missing.
    """
    file = Path(driven.given.outputs.output_file)
    found = spec_pb2.ExecutorOutput()
    if file.is_file():  # the launcher does not insist on it
        json_format.Parse(file.read_bytes(), found)
    for name, parameter in driven.given.outputs.parameters.items():
        if name in found.parameter_values:
            continue
        one = Path(parameter.output_file)
        if not one.is_file():
            raise WalkError(f"Task {driven.task} wrote no parameter {name}.")
        found.parameter_values[name].string_value = one.read_text(encoding="utf-8")
    return found


def filled_command(package: Package, driven: Driven) -> list[str]:
    """Return the command of a task's container, with the ExecutorInput filled in."""
    container = package.containers()[driven.task]
    filled = json_format.MessageToJson(driven.given, indent=None)
    return [part.replace("{{$}}", filled) for part in (*container.command, *container.args)]


@dataclass(frozen=True)
class _LocalPods:
    """Runs commands on this machine, as the launcher does in a pod.

    Attributes:
        package: The pipeline.
        folder: Folder of the walk.
        name: Name of the run.
    """

    package: Package
    folder: Path
    name: str

    def root(self, task: str) -> Path:
        return self.folder / "pods" / self.name / task

    def run(self, driven: Driven) -> spec_pb2.ExecutorOutput:
        package, task = self.package, driven.task
        pod, store, log = self.root(task), self.folder / "store", self.folder / "logs" / self.name / f"{task}.log"
        _prepare_pod(driven, pod, store)
        label = package.spec.components[package.spec.root.dag.tasks[task].component_ref.name].executor_label
        root = self.folder / "volume" if ARTIFACTS_ROOT in package.containers()[task].args else pod
        in_pod = local_path(driven.given.outputs.artifacts[LOGS].artifacts[0].uri, pod)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            os.link(log, in_pod)  # one file: the artifact in the pod, and what the user reads
            ended = subprocess.run(
                filled_command(package, driven),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=_environment(package, label, root),
                cwd=pod,
                check=False,
            )
        if ended.returncode:
            raise WalkError(
                f"Task {task} ended with exit code {ended.returncode}. The log {log} ends:\n{_last_lines(log)}"
            )
        if not in_pod.is_file() or not in_pod.samefile(log):
            raise WalkError(f"Task {task} removed its output {LOGS}, the file that the launcher writes its log to.")
        made = _executor_output(driven)
        for artifacts in driven.given.outputs.artifacts.values():
            upload(artifacts.artifacts[0].uri, pod, store)
        return made


def _run_task(pods: Pods, driven: Driven) -> FinishedTask:
    started = time.monotonic()
    made = pods.run(driven)
    return FinishedTask(driven.task, time.monotonic() - started, made)


def walk(
    package: Package,
    folder: Path,
    request: Request,
    jobs: int,
    on_task: Callable[[FinishedTask, int, int], None],
    pods_of: Callable[[str], Pods] | None = None,
) -> Sequence[FinishedTask]:
    """Run all tasks, each after the tasks that it depends on.

    A walk in the folder of an earlier one is a second run: tasks with the same cache key are not started again.

    Args:
        package: The pipeline.
        folder: Folder for the metadata, the store (``store``) or the volume (``volume``), the pods (``pods``) and their
            logs (``logs``).
        request: What the run is started with.
        jobs: Maximum number of tasks that run at the same time.
        on_task: Called after each task with the task, its number, and the number of all tasks.
        pods_of: Returns the pods of a run by its name; None to run the commands on this machine.

    Returns:
        The tasks in the order in which they finished.

    Raises:
        WalkError: A task failed. Running tasks are finished, and no other task is started.
    """
    tasks = package.spec.root.dag.tasks
    folder = folder.resolve()
    driver = Driver(package, request, folder)
    pods = pods_of(driver.run) if pods_of else _LocalPods(package, folder, driver.run)
    done: dict[str, FinishedTask] = {}
    begun: set[str] = set()

    def finish(finished: FinishedTask) -> None:
        done[finished.task] = finished
        on_task(finished, len(done), len(tasks))

    def start(task: str) -> Driven | None:
        begun.add(task)
        driven = driver.start(task, pods.root(task))
        if driven.cached is None:
            return driven
        finish(FinishedTask(task, 0.0, driven.cached, cached=True))
        return None

    with ThreadPoolExecutor(jobs) as pool:
        running: dict[Future[FinishedTask], Driven] = {}
        try:
            while len(done) < len(tasks):
                ready = (
                    task for task in sorted(set(tasks) - begun) if all(o in done for o in tasks[task].dependent_tasks)
                )
                task = next(ready, None) if len(running) < jobs else None
                if task is not None:
                    if driven := start(task):
                        running[pool.submit(_run_task, pods, driven)] = driven
                    continue
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    driven = running.pop(future)
                    if future.exception():
                        driver.fail(driven)
                    finished = future.result()
                    driver.publish(driven, finished.output)
                    finish(finished)
        except DriverError as error:
            raise WalkError(str(error)) from error
    return list(done.values())
