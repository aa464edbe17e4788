"""The pool of Python workers beside a TaskManager of Flink: ``python -m pipeline.beam.staged.task_pool SOCKET``.

A task of Flink (``stage_job/StageJob.java``) connects to a Unix socket, sends a stage's folder and the number of a
task, and waits. The pool forks a process for the task, from a process that has imported Beam and TensorFlow. The
response is ``done`` when the task's report is written, else the traceback. If the TaskManager closes the connection,
the task's process ends, because Flink runs the task elsewhere.
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

from pipeline.beam.preload import preload
from pipeline.beam.requirements import TaskKeyError, find_task_key
from pipeline.beam.staged.stage_files import TaskFiles
from pipeline.beam.staged.stage_tasks import run_stage_task

DONE: Final = "done"
READY: Final = "takes tasks"
_LOG: Final = logging.getLogger(__name__)


def execute(folder: str, number: int, key: bytes) -> str:
    """Execute one task, and write its report.

    Args:
        folder: Folder of the stage.
        number: Number of the task.
        key: Key that the stage's files are sealed with.

    Returns:
        ``done``, or the traceback of the error.
    """
    files = TaskFiles(folder, key)
    try:
        if not files.has_report(number):  # Flink repeats all tasks of a lost slot, also finished ones
            task, reading = files.read_task(number)
            files.write_report(run_stage_task(task, number, reading))
    except Exception:  # the driver reports whatever user code raises
        return traceback.format_exc()
    return DONE


def _exit_on_close(connection: socket.socket) -> None:
    """End this process when the other side closes the connection; it sends nothing more before."""
    connection.recv(1)
    os._exit(1)


def _serve_one(connection: socket.socket, key: bytes) -> None:
    """Serve one request, in its own process."""
    with connection.makefile(encoding="utf-8") as lines:
        folder, _, number = lines.readline().rstrip("\n").rpartition("\t")
    threading.Thread(target=_exit_on_close, args=(connection,), daemon=True).start()
    connection.sendall(execute(folder, int(number), key).encode())


def _reap(*_: object) -> None:
    """Reap finished child processes; their CPU time then counts as the pool's."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def serve_tasks(path: Path, key: bytes) -> None:
    """Serve until the process is killed.

    Args:
        path: Path of the Unix socket; the owner and the group of this process may use it.
        key: Key that tasks are sealed with.

    Raises:
        OSError: The socket cannot be created.
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
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # by default, the first process of a container ignores it
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
                    _LOG.exception("A task got no response.")
                os._exit(0)
            connection.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the pool."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.beam.staged.task_pool", description=__doc__)
    parser.add_argument("socket", type=Path, help="path of the Unix socket; the TaskManager's variable names it too")
    path = parser.parse_args(arguments).socket
    try:
        key = find_task_key(os.environ)
    except TaskKeyError as error:
        sys.exit(str(error))
    preload()
    serve_tasks(path, key)


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(message)s")
    main()
