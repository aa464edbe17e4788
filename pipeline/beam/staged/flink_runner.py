"""Run fused stages of Beam as Flink jobs: each part of a stage's input is a Flink task.

Neither Java nor PyFlink is needed on this machine. The job is one class (:mod:`stage_job`), sent to the REST service of
the JobManager (Flink's ``rest_v1``). Each task asks the pool of Python workers beside its TaskManager
(:mod:`task_pool`). PyFlink would start a Python process for each job and TaskManager, and requires a version of Beam
that is years older than ours.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import FlinkRunnerOptions, PipelineOptions

from pipeline.beam.requirements import find_task_key
from pipeline.beam.staged.stage_files import TaskFiles
from pipeline.beam.staged.stage_job import ENTRY_CLASS, JAR
from pipeline.beam.staged.stage_tasks import Reading, StageTask, TaskReport
from pipeline.beam.staged.staged_runner import Execute, StagedRunner, python_reason

_LOG: Final = logging.getLogger(__name__)
_RESPONSE_TIMEOUT: Final = 60.0  # seconds
_OUTAGE_TIMEOUT: Final = 60.0  # seconds that the JobManager may be unreachable
_FIRST_POLL, _LONGEST_POLL = 0.05, 1.0  # seconds
_FAILURE_POLL: Final = 10.0  # seconds between two queries for failures
_LOST: Final = ("HTTP 404", "FlinkJobNotFoundException")  # Flink 2 returns HTTP 500 and this name
_ENDED: Final = frozenset({"FINISHED", "FAILED", "CANCELED", "SUSPENDED"})


class FlinkError(RuntimeError):
    """Flink refused or lost a job, or cannot be reached; the message says which."""


class FlinkRest:
    """A Flink session cluster."""

    def __init__(self, master: str):
        """Store the address of the REST service, ``host:port``."""
        self._master = master

    def slots(self) -> int:
        """Return the number of task slots, free or occupied."""
        return int(self._ask("/overview")["slots-total"])

    def upload(self, jar: Path) -> str:
        """Upload a jar unless the cluster has it already; return its id.

        Raises:
            FlinkError: The cluster does not accept jars (``web.submit.enable``).
        """
        content = jar.read_bytes()
        name = f"{jar.stem}-{hashlib.sha256(content).hexdigest()[:16]}.jar"
        for known in self._ask("/jars")["files"]:
            if known["name"] == name:
                return str(known["id"])
        boundary = uuid.uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="jarfile"; filename="{name}"\r\n'
            "Content-Type: application/x-java-archive\r\n\r\n"
        )
        body = head.encode() + content + f"\r\n--{boundary}--\r\n".encode()
        response = self._ask("/jars/upload", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
        return str(response["filename"]).rpartition("/")[2]

    def start(self, jar: str, arguments: Sequence[str]) -> str:
        """Start a job and return its id.

        Raises:
            FlinkError: Flink does not start the job.
        """
        body = json.dumps({"entryClass": ENTRY_CLASS, "programArgsList": list(arguments)}).encode()
        return str(self._ask(f"/jars/{jar}/run", body, {"Content-Type": "application/json"})["jobid"])

    def wait(self, job: str) -> None:
        """Wait for the end of a job. An exception during the wait, such as Ctrl-C, cancels the job.

        A warning is logged when Flink restarts tasks; it contains the reason.

        Raises:
            FlinkError: The job did not finish; the message ends with Flink's reason.
        """
        try:
            state = self._end_of(job)
        except BaseException:
            self._cancel(job)
            raise
        if state != "FINISHED":
            raise FlinkError(f"Flink's job {job} is {state.lower()}. {self._reason(job)}")

    def _end_of(self, job: str) -> str:
        pause, last_response = _FIRST_POLL, time.monotonic()
        next_query, logged = last_response + _FAILURE_POLL, ""
        while True:
            try:
                state = str(self._ask(f"/jobs/{job}/status")["status"])
                last_response = time.monotonic()
                if state in _ENDED:
                    return state
                if last_response > next_query:
                    next_query, before = last_response + _FAILURE_POLL, logged
                    logged = _last_cause(self._failure(job))
                    if logged != before:
                        _LOG.warning("Flink's job %s has restarted tasks: %s", job, logged)
            except FlinkError as error:
                # A JobManager that restarts without high availability has forgotten its jobs.
                if any(sign in str(error) for sign in _LOST) or time.monotonic() - last_response > _OUTAGE_TIMEOUT:
                    raise FlinkError(f"{error} The job is lost: run again, finished nodes are kept.") from error
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_POLL)

    def _reason(self, job: str) -> str:
        return self._failure(job) or "Flink gave no reason: see the JobManager's log."

    def _failure(self, job: str) -> str:
        """Return the stack trace of the last failure; empty if there is none."""
        entries = self._ask(f"/jobs/{job}/exceptions").get("exceptionHistory", {}).get("entries", [])
        return str(entries[0]["stacktrace"]) if entries else ""

    def _cancel(self, job: str) -> None:
        with contextlib.suppress(FlinkError):  # the error that caused the cancellation matters more
            self._ask(f"/jobs/{job}?mode=cancel", method="PATCH")

    def _ask(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, method: str | None = None
    ) -> Any:
        request = urllib.request.Request(
            f"http://{self._master}/v1{path}", data=body, headers=dict(headers or {}), method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=_RESPONSE_TIMEOUT) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            reason = _last_cause(_errors(error.read().decode(errors="replace")))
            raise FlinkError(f"Flink at {self._master} refused {path}: HTTP {error.code}. {reason}") from None
        except OSError as error:
            raise FlinkError(f"Flink at {self._master} cannot be reached ({error}).") from error
        return json.loads(text) if text else {}


def _errors(text: str) -> str:
    """Return the stack traces in the response to a refused request."""
    try:
        return "\n".join(map(str, json.loads(text).get("errors", [])))
    except (ValueError, AttributeError):
        return text


def _last_cause(trace: str) -> str:
    """Return the last cause of a stack trace."""
    causes = [
        line for line in trace.splitlines() if line[:1] not in ("\t", "") and "xception on server side" not in line
    ]
    return causes[-1].removeprefix("Caused by: ") if causes else ""


class FlinkStageOptions(PipelineOptions):
    """Options of :class:`FlinkStageRunner`, in addition to Beam's ``--flink_master``."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument("--flink_partitions", type=int, default=0, help="per stage; 0: twice the cluster's slots")
        parser.add_argument("--flink_scratch", default="", help="folder that the driver and all workers can open")


class FlinkStageError(RuntimeError):
    """A stage failed on Flink; the message ends with the worker's error."""


class FlinkStageRunner(StagedRunner):
    """Run a batch pipeline on Flink."""

    def engine(self, options: PipelineOptions) -> tuple[Execute, int, str]:
        """Connect to Flink."""
        own = options.view_as(FlinkStageOptions)
        if not own.flink_scratch:
            raise ValueError("--flink_scratch is missing: name a folder that the driver and all workers can open.")
        key = find_task_key(os.environ)
        flink = FlinkRest(options.view_as(FlinkRunnerOptions).flink_master)
        slots = flink.slots()
        if not slots:
            raise FlinkError("The Flink cluster has no TaskManager: start one, with a pool of workers beside it.")
        jar, number = flink.upload(JAR), itertools.count()

        def execute(task: StageTask, readings: Sequence[Reading]) -> list[TaskReport]:
            stage = f"stage-{next(number)}"
            files = TaskFiles(FileSystems.join(task.files.folder, stage), key)
            files.write_tasks(task, readings)
            job = flink.start(jar, [files.folder, str(len(readings)), f"breast-density {stage}"])
            try:
                flink.wait(job)
            except FlinkError as error:
                raise FlinkStageError(python_reason(str(error))) from None
            return files.read_reports(len(readings))

        return execute, own.flink_partitions or 2 * slots, own.flink_scratch
