"""Programs of this project in processes that are forked, not started: what they import is imported once.

For tests that run many; a few others start each program for real, and look at what it imports and says.
"""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from tests.waiting import LONG

_PRELOADED: Final = (
    "tensorflow",  # imported, and no more: it cannot be forked once it has run something
    "tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor",
    "tensorflow_model_analysis",
    "pipeline.local.runner",
    "pipeline.kubeflow.entrypoint",
)


def _run(
    module: str, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, out: Path, err: Path
) -> None:
    for descriptor, path in ((1, out), (2, err)):
        opened = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def run_module(
    module: str,
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    out: Path,
    err: Path,
) -> int:
    """Does what ``python -m MODULE ARGUMENTS`` does.

    Args:
        module: Dotted name.
        arguments: Of the command.
        environment: All its variables.
        folder: Where it runs.
        out: Gets what it writes to its standard output.
        err: Gets what it writes to its standard error; may be ``out``.

    Returns:
        Its exit code.
    """
    processes = get_context("forkserver")
    processes.set_forkserver_preload(list(_PRELOADED))
    process = processes.Process(target=_run, args=(module, arguments, dict(environment), folder, out, err))
    process.start()
    try:
        process.join(LONG)
        assert process.exitcode is not None, f"{module} hangs"
        return process.exitcode
    finally:
        process.kill()
        process.join()
