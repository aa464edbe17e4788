"""Read the images of a study in a process of its own: a file that breaks the process breaks no other study."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

from components.exam_model.recipe import PreprocessingRecipe
from serving.client.preprocessing import PreparedExam, SeveralExamsError, prepare_exam

_END_SECONDS: Final = 5.0


class DecodingBrokeError(Exception):
    """The process ended, or took too long, while it read the images of a study."""


class Turns:
    """Lets many threads read studies at the same time, or one alone."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._reading = 0
        self._alone = False

    @contextmanager
    def take(self, alone: bool) -> Iterator[None]:
        """Wait for a turn; with ``alone``, until no other thread has one."""
        with self._free:
            self._free.wait_for(lambda: not self._alone and not (alone and self._reading))
            self._reading += 1
            self._alone = alone
        try:
            yield
        finally:
            with self._free:
                self._reading -= 1
                self._alone = False
                self._free.notify_all()


class Decoder:
    """One process that prepares exams, for one thread. It starts with the first exam, and again after it broke."""

    def __init__(self, seconds: float) -> None:
        """Prepare a decoder.

        Args:
            seconds: Longest time for an exam, s.
        """
        self._seconds = seconds
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def prepare(self, folder: Path, recipe: PreprocessingRecipe) -> PreparedExam:
        """Prepare the exam in a folder, see :func:`serving.client.preprocessing.prepare_exam`.

        Raises:
            SeveralExamsError: The folder holds more than one exam.
            DecodingBrokeError: The process ended or took too long.
        """
        connection = self._started()
        try:
            connection.send((folder, recipe))
            if not connection.poll(self._seconds):
                self.close()
                raise DecodingBrokeError(f"Reading the images took more than {self._seconds:g} s: look at them.")
            answer = connection.recv()
        except (EOFError, OSError):
            code = None if self._process is None else self._exit_code(self._process)
            self.close()
            raise DecodingBrokeError(f"The process that read the images ended with code {code}.") from None
        if isinstance(answer, Exception):
            raise answer
        assert isinstance(answer, PreparedExam)
        return answer

    def close(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            self._process.kill()
            self._process.join()
        self._process = self._connection = None

    @staticmethod
    def _exit_code(process: BaseProcess) -> int | None:
        process.join(_END_SECONDS)
        return process.exitcode

    def _started(self) -> Connection:
        if self._connection is not None and self._process is not None and self._process.is_alive():
            return self._connection
        self.close()
        context = get_context("spawn")  # a fork would inherit the locks of the gateway's threads
        ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), name="decoding", daemon=True)
        self._process.start()
        theirs.close()
        self._connection = ours
        return ours


def _serve(connection: Connection) -> None:
    """Answer the exams of the other end until it closes."""
    while True:
        try:
            folder, recipe = connection.recv()
        except (EOFError, OSError):
            return
        answer: PreparedExam | Exception
        try:
            answer = prepare_exam(folder, recipe)
        except SeveralExamsError as error:
            answer = error
        except Exception as error:  # its text may quote values of the file
            answer = DecodingBrokeError(f"Reading the images broke ({type(error).__name__}): look at them.")
        connection.send(answer)
