"""The gateway under faults: what it accepted must be graded, rightly, whatever happens to its process or its disk."""

from __future__ import annotations

import io
import os
import secrets
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import httpx
import pydicom
import yaml
from pydicom.uid import generate_uid

from benchmarks.server_faults import free_port, until
from serving.client.grading import GradingPolicy, exam_document, grade_exam
from serving.client.local_model import LocalModel
from serving.gateway.config import TOKEN_VARIABLE

_TOLERANCE: Final = 2e-6  # answers have six digits
_UNREACHED: Final = (httpx.HTTPError, OSError)
_SENDERS: Final = 2


@dataclass
class Deliveries:
    """What became of the studies that were sent.

    Attributes:
        accepted: Number of the exam by the key under which it was accepted.
        refused: Uploads that were refused, by HTTP status.
        cut: Uploads whose answer never came: not accepted as far as their sender knows, who sends anew.
        graded: Accepted studies that were graded.
        wrong: Of those, the ones with other probabilities than the model's own.
    """

    accepted: dict[str, int] = field(default_factory=dict)
    refused: Counter[int] = field(default_factory=Counter)
    cut: int = 0
    graded: int = 0
    wrong: int = 0

    @property
    def lost(self) -> int:
        """Accepted and not graded."""
        return len(self.accepted) - self.graded

    def row(self, what: str) -> str:
        """Write a row of the table."""
        codes = ", ".join(f"{count} {code}" for code, count in sorted(self.refused.items())) or "0"
        return f"| {what} | {len(self.accepted)} | {self.graded} | {self.wrong} | {self.lost} | {codes} | {self.cut} |"


HEADER: Final = (
    "| fault | studies accepted | graded | wrong | lost | refused, by status | uploads cut |\n"
    "| --- | ---: | ---: | ---: | ---: | --- | ---: |"
)


def _upload_of(folder: Path) -> list[tuple[str, tuple[str, bytes]]]:
    """Read an exam's files under new UIDs: another study with the same images."""
    files, study = [], generate_uid()
    for path in sorted(folder.iterdir()):
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID, dataset.SOPInstanceUID = study, generate_uid()
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        buffer = io.BytesIO()
        dataset.save_as(buffer)
        files.append(("files", ("image.dcm", buffer.getvalue())))
    return files


class GatewayUnderTest:
    """A gateway whose process can be killed and started again, before a model server."""

    def __init__(self, folder: Path, spool: Path, model_address: str) -> None:
        """Write its configuration.

        Args:
            folder: For configuration and log.
            spool: Its spool.
            model_address: ``host:port`` of the model server.
        """
        self._token = secrets.token_hex(16)
        self._log = folder / "gateway.log"
        self._config = folder / "gateway.yaml"
        self._url = f"http://127.0.0.1:{free_port()}"
        document = {
            "spool": str(spool),
            "model": {"address": model_address},
            "dicom": None,
            "http": {"port": int(self._url.rpartition(":")[2])},
            "grouping": {"settle_seconds": 0},
            "limits": {"free_bytes": 0},
            "retry": {"first_seconds": 0.2, "cap_seconds": 1},
            # Only the process is at fault here, and a study must not be given up for being there when it is killed.
            "grading": {"workers": 2, "crashes": 1000},
        }
        self._config.write_text(yaml.safe_dump(document))

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run its process, ready to answer."""
        command = [sys.executable, "-c", "from pipeline.cli import main; main()", "gateway", str(self._config)]
        with self._log.open("ab") as log:
            process = subprocess.Popen(command, env=os.environ | {TOKEN_VARIABLE: self._token}, stdout=log, stderr=log)
        try:
            until(lambda: process.poll() is not None or self._answers("/healthz"))
            if process.poll() is not None:
                raise RuntimeError(f"The gateway did not start: {self._log.read_text()[-500:]}")
            yield process
        finally:
            process.terminate()
            process.wait()

    def client(self) -> httpx.Client:
        """Make a client of it."""
        headers = {"Authorization": f"Bearer {self._token}"}
        return httpx.Client(base_url=self._url, headers=headers, trust_env=False, timeout=30)

    def _answers(self, path: str) -> bool:
        try:
            with self.client() as client:
                return client.get(path).status_code == 200
        except _UNREACHED:
            return False


def expected_of(model: Path, exams: Sequence[Path]) -> list[tuple[float, ...]]:
    """Grade exams in this process: the probabilities that the gateway's answers must have."""
    grader = LocalModel(model)
    recipe = grader.model_recipe().recipe
    found = [exam_document(grade_exam(exam, grader, recipe, GradingPolicy())) for exam in exams]
    return [tuple(document["probabilities"].values()) for document in found]


@contextmanager
def _senders(gateway: GatewayUnderTest, exams: Sequence[Path], studies: int) -> Iterator[Deliveries]:
    """Send studies from some threads until so many are accepted; what fails is sent anew."""
    sent, lock, stop = Deliveries(), threading.Lock(), threading.Event()

    def send(number: int) -> None:
        with gateway.client() as client:
            while not stop.is_set() and len(sent.accepted) < studies:
                number = (number + 1) % len(exams)
                try:
                    answer = client.post("/api/studies", files=_upload_of(exams[number]))
                except _UNREACHED:
                    with lock:
                        sent.cut += 1
                    stop.wait(0.05)
                    continue
                with lock:
                    if answer.status_code == 202:
                        sent.accepted[answer.json()["keys"][0]] = number
                    else:
                        sent.refused[answer.status_code] += 1
                if answer.status_code != 202:
                    stop.wait(0.05)

    threads = [threading.Thread(target=send, args=(number,)) for number in range(_SENDERS)]
    for thread in threads:
        thread.start()
    try:
        yield sent
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _collect(
    gateway: GatewayUnderTest, sent: Deliveries, expected: Sequence[tuple[float, ...]], seconds: float
) -> None:
    """Wait for the grades of all accepted studies, and compare them."""
    deadline = time.monotonic() + seconds
    waiting = dict(sent.accepted)
    with gateway.client() as client:
        while waiting and time.monotonic() < deadline:
            for key, number in list(waiting.items()):
                study: Mapping[str, Any] = client.get(f"/api/studies/{key}").json()
                if study.get("state") == "graded":
                    del waiting[key]
                    sent.graded += 1
                    found = study["exam"]["probabilities"].values()
                    sent.wrong += any(abs(a - b) > _TOLERANCE for a, b in zip(found, expected[number], strict=True))
            time.sleep(0.1)


def killed(
    gateway: GatewayUnderTest,
    exams: Sequence[Path],
    expected: Sequence[tuple[float, ...]],
    kills: int,
    studies: int,
    seconds: float = 300.0,
) -> Deliveries:
    """Kill the gateway (SIGKILL) again and again while studies come and are graded; then lets it finish.

    Args:
        gateway: The gateway, not running.
        exams: Folders of the exams that are sent.
        expected: Their probabilities.
        kills: How often.
        studies: How many are to be accepted in all.
        seconds: Longest wait for their grades, s.

    Returns:
        What became of them.
    """
    with ExitStack() as stack:
        sent = stack.enter_context(_senders(gateway, exams, studies))

        def reached(count: int) -> bool:
            return len(sent.accepted) >= count

        for number in range(1, kills + 1):
            with gateway.running() as process:
                until(partial(reached, studies * number // (kills + 1)))
                process.kill()
        with gateway.running():
            until(lambda: len(sent.accepted) >= studies)
            stack.close()  # nothing comes any more
            _collect(gateway, sent, expected, seconds)
    return sent


@contextmanager
def small_disk(mebibytes: int) -> Iterator[tuple[Path, Callable[[int], None]] | None]:
    """Mount a small disk in memory; return its folder and a function that enlarges it, ``None`` without root."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        size = f"size={mebibytes}m"
        mounted = (
            os.geteuid() == 0
            and not subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", name], capture_output=True).returncode
        )
        if not mounted:
            yield None
            return
        stack.callback(subprocess.run, ["umount", "--lazy", name], check=True)

        def grow(to: int) -> None:
            subprocess.run(["mount", "-o", f"remount,size={to}m", name], check=True)

        yield Path(name), grow


def full_disk(
    gateway: GatewayUnderTest,
    grow: Callable[[int], None],
    exams: Sequence[Path],
    expected: Sequence[tuple[float, ...]],
    refusals: int,
    seconds: float = 300.0,
) -> Deliveries:
    """Send studies until the gateway's disk was full for so many uploads, free space, and let it finish.

    Args:
        gateway: The gateway, not running, its spool on the small disk.
        grow: Gives the disk so many MiB.
        exams: Folders of the exams that are sent.
        expected: Their probabilities.
        refusals: Uploads that the full disk must have refused.
        seconds: Longest wait for the grades, s.

    Returns:
        What became of the studies.
    """
    with gateway.running():
        with _senders(gateway, exams, sys.maxsize) as sent:
            until(lambda: sent.refused.total() >= refusals)
            accepted = len(sent.accepted)
            grow(1024)
            until(lambda: len(sent.accepted) > accepted + _SENDERS)  # it takes again what it refused
        _collect(gateway, sent, expected, seconds)
    return sent
