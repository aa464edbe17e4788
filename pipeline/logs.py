"""Redirect the output of TensorFlow and TFX from the terminal to a log file."""

from __future__ import annotations

import io
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from typing_extensions import Buffer


class _LossyFile(io.RawIOBase):
    """Write what the disk accepts, and drop the rest without an error.

    Beam's workers print an error before they return it. If printing failed because the disk is full, the runner would
    wait for the response forever, and the error would remain unknown.
    """

    def __init__(self, descriptor: int):
        super().__init__()
        self._descriptor = descriptor

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._descriptor

    def write(self, data: Buffer) -> int:
        try:
            return os.write(self._descriptor, data)
        except OSError:
            return memoryview(data).nbytes


def _lossy_text(descriptor: int) -> TextIO:
    file = io.BufferedWriter(_LossyFile(descriptor))
    return io.TextIOWrapper(file, encoding="utf-8", errors="replace", line_buffering=True)


@contextmanager
def chatter_to(path: Path) -> Iterator[TextIO]:
    """Redirect everything that this process and its children print to a file.

    This works on file descriptors, because C++ code and subprocesses write to them directly. If the disk is full, only
    lines of the log are lost.

    Args:
        path: Log file to append to; its folder is created.

    Yields:
        The terminal, for messages to the user.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    saved = {number: os.dup(number) for number in (1, 2)}
    with (
        path.open("a", encoding="utf-8", buffering=1) as log,
        os.fdopen(os.dup(saved[1]), "w", encoding="utf-8", buffering=1) as terminal,
    ):
        try:
            for number in saved:
                os.dup2(log.fileno(), number)
            with redirect_stdout(_lossy_text(1)), redirect_stderr(_lossy_text(2)):
                yield terminal
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in saved.items():
                os.dup2(copy, number)
                os.close(copy)


def quiet_grpc() -> None:
    """Keep gRPC's log off the terminal: it can contain what a client sent."""
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")


def quiet_tensorflow() -> None:
    """Import TensorFlow without output on the terminal: its log can contain what a client sent."""
    quiet_grpc()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with _standard_error_to(Path(os.devnull)):  # 2.21 prints what it finds on the machine at any log level
        import_module("tensorflow")


@contextmanager
def _standard_error_to(path: Path) -> Iterator[None]:
    """Redirect what C++ code writes to the standard error of the process."""
    sys.stderr.flush()
    saved = os.dup(2)
    try:
        with path.open("wb") as log:
            os.dup2(log.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)
