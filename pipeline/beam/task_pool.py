"""The pool of Python workers beside a TaskManager of Flink: ``python -m pipeline.beam.task_pool SOCKET``.

A task of Flink (``stage_job/StageJob.java``) connects to a Unix socket, names a stage's folder and a task, and waits.
The pool forks a process for it, from one that has imported Beam and TensorFlow; the answer is ``done`` once the task's
report is written, else the traceback. Where the TaskManager hangs up, the task ends: it runs elsewhere by then.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pipeline.beam.preloading import preload
from pipeline.beam.stage_tasks import run_task
from pipeline.beam.task_files import TaskFiles
from pipeline.beam.task_key import TaskKeyError, find_task_key

DONE: Final = "done"
READY: Final = "takes tasks"
_LOG: Final = logging.getLogger(__name__)


def execute(folder: str, number: int, key: bytes) -> str:
    """Does one task, and writes its report.

    Args:
        folder: Of the stage.
        number: Of the task.
        key: What the stage's files are sealed with.

    Returns:
        ``done``, or the traceback of what went wrong.
    """
    files = TaskFiles(folder, key)
    try:
        if not files.reported(number):  # Flink begins all tasks of a lost slot anew, those too that had ended
            task, reading = files.take(number)
            files.report(run_task(task, number, reading))
    except Exception:  # whatever user code raises is the driver's to tell
        return traceback.format_exc()
    return DONE


def _end_with(connection: socket.socket) -> None:
    """Ends this process when the other side hangs up, which says nothing more."""
    connection.recv(1)
    os._exit(1)


def _serve_one(connection: socket.socket, key: bytes) -> None:
    """Answers one request, in a process of its own."""
    with connection.makefile(encoding="utf-8") as lines:
        folder, _, number = lines.readline().rstrip("\n").rpartition("\t")
    threading.Thread(target=_end_with, args=(connection,), daemon=True).start()
    connection.sendall(execute(folder, int(number), key).encode())


def _reap(*_: object) -> None:
    """Takes leave of processes that have ended; their CPU time then counts as the pool's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def serve(path: Path, key: bytes) -> None:
    """Serves until the process is killed.

    Args:
        path: Of the Unix socket, which the owner and the group of this process may use.
        key: What tasks are sealed with.

    Raises:
        OSError: The socket cannot be made.
    """
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listening:
        before = os.umask(0o117)
        try:
            listening.bind(str(path))
        finally:
            os.umask(before)
        listening.listen()
        signal.signal(signal.SIGCHLD, _reap)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # a container's first process does not end by default
        _LOG.warning("%s %s.", path, READY)
        while True:
            connection, _ = listening.accept()
            if os.fork() == 0:
                for number in (signal.SIGCHLD, signal.SIGTERM):
                    signal.signal(number, signal.SIG_DFL)
                listening.close()
                try:
                    _serve_one(connection, key)
                except Exception:
                    _LOG.exception("A task was not answered.")
                os._exit(0)
            connection.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Makes the pool."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.beam.task_pool", description=__doc__)
    parser.add_argument("socket", type=Path, help="path of the Unix socket; the TaskManager's variable names it too")
    path = parser.parse_args(arguments).socket
    try:
        key = find_task_key(os.environ)
    except TaskKeyError as error:
        sys.exit(str(error))
    preload()
    serve(path, key)


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s")
    main()
