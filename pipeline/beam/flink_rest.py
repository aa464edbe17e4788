"""What the runner asks of a Flink cluster, through the REST service of its JobManager (Flink's ``rest_v1``)."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pipeline.beam.stage_job import ENTRY_CLASS

_LOG: Final = logging.getLogger(__name__)
_ANSWER: Final = 60.0  # seconds
_PATIENCE: Final = 60.0  # seconds that the JobManager may be away
_FIRST_POLL, _LONGEST_POLL = 0.05, 1.0  # seconds
_NEWS: Final = 10.0  # seconds between two looks at what went wrong
_LOST: Final = ("HTTP 404", "FlinkJobNotFoundException")  # Flink 2 says HTTP 500 and this of a status
_ENDED: Final = frozenset({"FINISHED", "FAILED", "CANCELED", "SUSPENDED"})


class FlinkError(RuntimeError):
    """Flink refused or lost a job, or cannot be reached; the message tells which."""


class FlinkRest:
    """A Flink session cluster."""

    def __init__(self, master: str):
        """Takes the address of the REST service, ``host:port``."""
        self._master = master

    def slots(self) -> int:
        """Counts the tasks that run at a time, free or not."""
        return int(self._ask("/overview")["slots-total"])

    def upload(self, jar: Path) -> str:
        """Gives the id that the cluster knows a jar by; what it has already is not sent again.

        Raises:
            FlinkError: The cluster takes no jars (``web.submit.enable``).
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
        answer = self._ask("/jars/upload", body, {"Content-Type": f"multipart/form-data; boundary={boundary}"})
        return str(answer["filename"]).rpartition("/")[2]

    def start(self, jar: str, arguments: Sequence[str]) -> str:
        """Starts a job; gives its id.

        Raises:
            FlinkError: Flink does not start it.
        """
        body = json.dumps({"entryClass": ENTRY_CLASS, "programArgsList": list(arguments)}).encode()
        return str(self._ask(f"/jars/{jar}/run", body, {"Content-Type": "application/json"})["jobid"])

    def wait(self, job: str) -> None:
        """Waits for a job's end; an exception that comes meanwhile, such as Ctrl-C, cancels it.

        What Flink begins again meanwhile, and why, is a warning.

        Raises:
            FlinkError: It did not finish; the message ends with Flink's.
        """
        try:
            state = self._end_of(job)
        except BaseException:
            self._cancel(job)
            raise
        if state != "FINISHED":
            raise FlinkError(f"Flink's job {job} is {state.lower()}. {self._reason(job)}")

    def _end_of(self, job: str) -> str:
        pause, last_answer = _FIRST_POLL, time.monotonic()
        news, told = last_answer + _NEWS, ""
        while True:
            try:
                state = str(self._ask(f"/jobs/{job}/status")["status"])
                last_answer = time.monotonic()
                if state in _ENDED:
                    return state
                if last_answer > news:
                    news, before, told = last_answer + _NEWS, told, _last_cause(self._failure(job))
                    if told != before:
                        _LOG.warning("Flink's job %s has begun tasks again: %s", job, told)
            except FlinkError as error:
                # A JobManager that comes back without high availability has forgotten its jobs.
                if any(sign in str(error) for sign in _LOST) or time.monotonic() - last_answer > _PATIENCE:
                    raise FlinkError(f"{error} The job is lost: run again, finished nodes are kept.") from error
            time.sleep(pause)
            pause = min(1.5 * pause, _LONGEST_POLL)

    def _reason(self, job: str) -> str:
        return self._failure(job) or "It gave no reason: see the JobManager's log."

    def _failure(self, job: str) -> str:
        """Gives the stack trace of what failed last, else nothing."""
        entries = self._ask(f"/jobs/{job}/exceptions").get("exceptionHistory", {}).get("entries", [])
        return str(entries[0]["stacktrace"]) if entries else ""

    def _cancel(self, job: str) -> None:
        with contextlib.suppress(FlinkError):  # what brought us here matters more
            self._ask(f"/jobs/{job}?mode=cancel", method="PATCH")

    def _ask(
        self, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None, method: str | None = None
    ) -> Any:
        request = urllib.request.Request(
            f"http://{self._master}/v1{path}", data=body, headers=dict(headers or {}), method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=_ANSWER) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            reason = _last_cause(_errors(error.read().decode(errors="replace")))
            raise FlinkError(f"Flink at {self._master} refused {path}: HTTP {error.code}. {reason}") from None
        except OSError as error:
            raise FlinkError(f"Flink at {self._master} cannot be reached ({error}).") from error
        return json.loads(text) if text else {}


def _errors(text: str) -> str:
    """Finds the stack traces in what the REST service says of a request that it refused."""
    try:
        return "\n".join(map(str, json.loads(text).get("errors", [])))
    except (ValueError, AttributeError):
        return text


def _last_cause(trace: str) -> str:
    """Finds the last cause of a stack trace."""
    causes = [
        line for line in trace.splitlines() if line[:1] not in ("\t", "") and "xception on server side" not in line
    ]
    return causes[-1].removeprefix("Caused by: ") if causes else ""
