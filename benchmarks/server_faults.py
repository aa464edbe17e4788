"""The model server under load and faults: every answer is compared with the model's own."""

from __future__ import annotations

import shutil
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import grpc
import numpy as np

from benchmarks.pictures import breast_png
from benchmarks.serving import save_model, server_process
from schema.features import VIEWS
from serving.client.grader import Grader
from serving.client.grades import ServingError
from serving.client.grpc_client import ExamClient, open_channel
from serving.client.local_model import LocalModel

SIZE: Final = 64
WIDTH: Final = 0.25
_PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
_TOLERANCE: Final = 1e-5
_SLOW: Final = 8
_OVERSIZED_BYTES: Final = 80 << 20  # the server takes 64 MiB

Exam = Mapping[str, bytes]
# By model version, the probabilities of each exam.
Truth = Mapping[int, Sequence[tuple[float, ...]]]


@dataclass
class Tally:
    """What became of requests.

    Attributes:
        right: Answered as the version that answered says itself.
        wrong: Answered otherwise.
        refused: Ended with a code, by code.
        lost: Ended in no known way.
        seconds: Of each right answer.
        versions: Answers by version.
    """

    right: int = 0
    wrong: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    seconds: list[float] = field(default_factory=list)
    versions: Counter[int] = field(default_factory=Counter)

    @property
    def sent(self) -> int:
        """All of them."""
        return self.right + self.wrong + self.lost + self.refused.total()

    def row(self, what: str) -> str:
        """Write a row of the table."""
        codes = ", ".join(f"{count} {code}" for code, count in sorted(self.refused.items())) or "0"
        p50, p99 = (1000 * np.percentile(self.seconds or [np.nan], share) for share in (50, 99))
        return f"| {what} | {self.sent} | {self.right} | {codes} | {self.wrong} | {self.lost} | {p50:.0f} | {p99:.0f} |"


HEADER: Final = (
    "| load | sent | right | refused, by code | wrong | lost | p50, ms | p99, ms |\n"
    "| --- | ---: | ---: | --- | ---: | ---: | ---: | ---: |"
)


def exams_of(count: int) -> list[Exam]:
    """Make exams that differ."""
    return [{view: breast_png(10 * n + k, SIZE) for k, view in enumerate(VIEWS)} for n in range(count)]


def _graded(grader: Grader, exam: Exam) -> tuple[tuple[float, ...], int]:
    explained = grader.explain_exam(exam)
    return explained.grade.probabilities, explained.model.model_version


def truth_of(models: Path, versions: Sequence[int], exams: Sequence[Exam]) -> Truth:
    """Grade the exams by each version, in this process."""
    truth = {}
    for version in versions:
        grader = LocalModel(models / str(version))
        truth[version] = [_graded(grader, exam)[0] for exam in exams]
    return truth


def flood(address: str, exams: Sequence[Exam], truth: Truth, clients: int, during: Callable[[Tally], None]) -> Tally:
    """Let some clients ask as fast as they can while something happens.

    Args:
        address: Server's gRPC.
        exams: The exams they ask for, in turn.
        truth: What is right.
        clients: How many, each with a connection of its own.
        during: What happens; clients end when it returns. It sees the tally as it grows.

    Returns:
        What became of the requests.
    """
    tally, lock, done = Tally(), threading.Lock(), threading.Event()

    def ask(number: int) -> None:
        with ExamClient(address, timeout_s=30) as client:
            while not done.is_set():
                number = (number + 1) % len(exams)
                started = time.perf_counter()
                try:
                    probabilities, version = _graded(client, exams[number])
                except ServingError as error:
                    cause = error.__cause__
                    code = cause.code().name if isinstance(cause, grpc.RpcError) else type(error).__name__
                    with lock:
                        tally.refused[code] += 1
                    done.wait(0.05)
                    continue
                except Exception:
                    with lock:
                        tally.lost += 1
                    continue
                right = np.allclose(probabilities, truth[version][number], atol=_TOLERANCE)
                with lock:
                    tally.right += right
                    tally.wrong += not right
                    tally.versions[version] += 1
                    tally.seconds.append(time.perf_counter() - started)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        during(tally)
    finally:
        done.set()
        for thread in threads:
            thread.join()
    return tally


def until(question: Callable[[], bool], seconds: float = 600.0) -> None:
    """Wait for something.

    Raises:
        TimeoutError: It did not happen.
    """
    deadline = time.monotonic() + seconds
    while not question():
        if time.monotonic() > deadline:
            raise TimeoutError("What the benchmark waits for did not happen.")
        time.sleep(0.02)


def answers(count: int) -> Callable[[Tally], None]:
    """Make a wait for so many ends of requests."""
    return lambda tally: until(lambda: tally.sent >= count)


def vandals(address: str, count: int) -> Callable[[Tally], None]:
    """Make a nuisance for so many answers: broken and oversized messages, calls and connections that never go on."""

    def during(tally: Tally) -> None:
        host, _, port = address.rpartition(":")
        never = threading.Event()

        def nothing() -> object:
            never.wait()
            yield b""

        with ExitStack() as stack:
            stack.callback(never.set)
            channel = stack.enter_context(open_channel(address))
            for _ in range(_SLOW):
                stack.enter_context(socket.create_connection((host, int(port))))
                # The iterator ends with the context; what it gave the caller never mattered.
                channel.stream_unary(_PREDICT).future(nothing())
            predict = channel.unary_unary(_PREDICT)
            while tally.sent < count:
                for message in (b"\xff" * 1000, bytes(_OVERSIZED_BYTES)):
                    try:
                        predict(message, timeout=30)
                    except grpc.RpcError:
                        continue
                    raise RuntimeError("The server answered a message that is none.")

    return during


def swaps(models: Path, spare: Path, versions: Sequence[int], between: int) -> Callable[[Tally], None]:
    """Make pushes of further versions, each once the one before has given so many answers."""

    def during(tally: Tally) -> None:
        def pushed(version: int) -> bool:
            return tally.versions[version] >= between

        for version in versions:
            until(partial(pushed, version - 1))
            shutil.copytree(spare / str(version), models / f".{version}")
            (models / f".{version}").rename(models / str(version))
        until(lambda: tally.versions[versions[-1]] >= between)

    return during


def free_port() -> int:
    """Find a free port of this machine."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def restarts(models: Path, port: int, times: int, between: int) -> Callable[[Tally], None]:
    """Make a server that is killed (SIGKILL) and started again, each time after so many right answers."""

    def during(tally: Tally) -> None:
        def reached(right: int) -> bool:
            return tally.right >= right

        for _ in range(times + 1):
            right = tally.right
            with server_process(models, port) as server:
                until(partial(reached, right + between))
                server.process.kill()

    return during


def make_models(folder: Path, versions: Sequence[int]) -> Path:
    """Write small models with different grades, one per version."""
    for version in versions:
        made = save_model(folder / f"made{version}", SIZE, WIDTH, seed=version, networks=1)
        shutil.copytree(made / "1", folder / "spare" / str(version))
    return folder / "spare"
