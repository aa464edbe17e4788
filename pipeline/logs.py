"""Keeps TensorFlow's and TFX's chatter off the terminal: it goes to a log file."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO


@contextmanager
def chatter_to(path: Path) -> Iterator[TextIO]:
    """Sends everything that this process and its children print to a file.

    Works on file descriptors, because C++ code and subprocesses write to them directly.

    Args:
        path: Log file, appended to; its folder is made.

    Yields:
        The terminal, for what the user should see.
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
            yield terminal
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for number, copy in saved.items():
                os.dup2(copy, number)
                os.close(copy)


def quiet_tensorflow() -> None:
    """Keeps the C++ log, which can hold what a client sent, and libraries' advice off the terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")
