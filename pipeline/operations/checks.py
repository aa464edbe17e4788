"""Check a machine, and show the checks: what is missing, for which task, and how to get it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.operations.machine import Machine

_GIB: Final = 1 << 30
_MEMORY_BYTES: Final = 6 * _GIB
_FREE_BYTES: Final = 2 * _GIB  # the demo writes 0.4
# Python and glibc by version of TFX: see docs/compatibility.md.
_CURRENT: Final = ("1.21.0", (2, 39))
_LANES: Final = {(3, 10): ("1.16.0", (2, 28)), (3, 11): _CURRENT, (3, 12): _CURRENT, (3, 13): _CURRENT}


@dataclass(frozen=True)
class Check:
    """One requirement of a task.

    Attributes:
        task: Task that has the requirement.
        subject: What was checked.
        found: What was found.
        good: The requirement is met.
        needed: The pipeline cannot run without it; otherwise only the task cannot.
        advice: What to do, one line per action; empty if nothing is to do.
    """

    task: str
    subject: str
    found: str
    good: bool
    needed: bool
    advice: str = ""


def _dots(version: Iterable[int]) -> str:
    return ".".join(str(part) for part in version)


def _platform(machine: Machine) -> Iterable[Check]:
    linux = machine.system == "Linux x86_64"
    advice = "" if linux else "run it on Linux x86_64, or in a container there"
    yield Check("run", "system", machine.system, linux, True, advice)
    lane = _LANES.get((machine.python[0], machine.python[1]))
    advice = "" if lane else "run make setup, which gets a Python if necessary, and use .venv/bin/breast-density"
    yield Check("run", "Python", _dots(machine.python), lane is not None, True, advice)
    if lane is None:
        return
    tfx, glibc = lane
    enough = machine.glibc is not None and machine.glibc >= glibc
    found = _dots(machine.glibc) if machine.glibc else "another C library"
    advice = f"TFX {tfx} needs glibc {_dots(glibc)} or newer: use Debian, Ubuntu or a container with it"
    yield Check("run", "glibc", found, enough, True, "" if enough else advice)
    for name, version in machine.packages.items():
        right = version is not None and (name != "tfx" or version == tfx)
        advice = "" if right else "run make setup: it installs the versions of uv.lock"
        yield Check("run", name, version or "missing", right, True, advice)


def _resources(machine: Machine) -> Iterable[Check]:
    yield Check("run", "processors", str(machine.cores), machine.cores >= 1, True)
    for subject, there, least, needed, advice in (
        ("memory", machine.memory_bytes, _MEMORY_BYTES, True, "add memory, or use fewer workers: runner.workers=1"),
        ("free disk", machine.free_bytes, _FREE_BYTES, True, "free some space, or give another folder: --output"),
    ):
        good = there >= least
        found = f"{there / _GIB:.1f} GiB"
        text = "" if good else f"a small run needs at least {least // _GIB} GiB: {advice}"
        yield Check("run", subject, found, good, needed, text)
    found = "can be written" if machine.can_write else "cannot be written"
    advice = "" if machine.can_write else "give this user write permission, or give another folder: --output"
    yield Check("run", "output folder", found, machine.can_write, True, advice)


def _runner(machine: Machine) -> Check:
    subject, missing = f"Beam's runner {machine.runner}", machine.runner_lacks
    if machine.runner == "direct":
        return Check("run", subject, "needs nothing; Flink, Spark and Dataflow are not used", True, True)
    found = f"{len(missing)} missing" if missing else "nothing is missing"
    advice = "\n".join(sentence.removesuffix(".") for sentence in missing)
    return Check("run", subject, found, not missing, True, advice)


def _codecs(machine: Machine) -> Iterable[Check]:
    missing = [name for name, there in machine.codecs.items() if not there]
    found = f"{len(machine.codecs) - len(missing)} of {len(machine.codecs)} compressed transfer syntaxes"
    advice = f"files in {', '.join(missing)} would be rejected: run make setup" if missing else ""
    yield Check("run", "DICOM decoders", found, not missing, False, advice)


def _hash_key(machine: Machine) -> Check:
    subject = "key of identifiers"
    if machine.key_problem:
        return Check("run", subject, "cannot be used", False, True, machine.key_problem.removesuffix("."))
    if machine.own_key:
        return Check("real archives", subject, "your own", True, False)
    advice = (
        "identifiers are hashed with a public key; make your own key once, keep it safe, and set it:"
        f" (umask 077; openssl rand -hex 32 > key) && export {machine.key_variable}_FILE=$PWD/key"
    )
    return Check("real archives", subject, "the public one", False, False, advice)


def _gpus(machine: Machine) -> Check:
    if not machine.gpus:
        advice = "train the thesis's networks on a machine with an NVIDIA GPU and its driver; the demo needs none"
        return Check("fast training", "GPU", "none", False, False, advice)
    found = ", ".join(machine.gpus)
    install = ".uv/bin/uv pip install --python .venv/bin/python 'tensorflow[and-cuda]'"
    advice = "" if machine.tensorflow_cuda else f"TensorFlow lacks CUDA: {install}"
    return Check("fast training", "GPU", found, machine.tensorflow_cuda, False, advice)


def _optional(task: str, subject: str, found: str | None, advice: str) -> Check:
    return Check(task, subject, found or "missing", found is not None, False, "" if found else advice)


def check_machine(machine: Machine) -> tuple[Check, ...]:
    """Check a machine.

    Args:
        machine: Facts about the machine.

    Returns:
        One check per requirement; requirements of every run come first.
    """
    return (
        *_platform(machine),
        *_resources(machine),
        *_codecs(machine),
        _runner(machine),
        _hash_key(machine),
        _gpus(machine),
        _optional(
            "serving",
            "tensorflow_model_server",
            machine.programs["tensorflow_model_server"],
            "nothing here: breast-density serve replaces it; in production run the image tensorflow/serving",
        ),
        _optional(
            "Kubeflow",
            "container engine",
            machine.container_engine,
            "to build the image, install one and start it: apt-get install podman, or docs.docker.com/engine/install",
        ),
        _optional(
            "Kubeflow", "kubectl", machine.programs["kubectl"], "to apply the manifests: kubernetes.io/docs/tasks/tools"
        ),
        _optional("make setup", "g++", machine.programs["g++"], "apt-get install g++: one wheel is built from source"),
    )


def _sign(check: Check) -> Text:
    if check.good:
        return Text("ok", style="green")
    return Text("MISSING", style="bold red") if check.needed else Text("absent", style="yellow")


def checks_table(checks: Sequence[Check]) -> RenderableType:
    """Return the checks as a table."""
    table = Table()
    for column in ("", "for", "what"):
        table.add_column(column, no_wrap=True)
    table.add_column("found", overflow="fold")
    for check in checks:
        table.add_row(_sign(check), check.task, check.subject, check.found)
    return table


def advice_lines(checks: Sequence[Check]) -> list[str]:
    """Return what to do about failed checks, and whether the pipeline can run.

    These are separate lines, because a table cell would break commands that users copy.
    """
    actions = [f"- {check.subject}: {line}" for check in checks for line in check.advice.splitlines()]
    missing = [check.subject for check in checks if check.needed and not check.good]
    sentence = f"The pipeline cannot run here yet: {', '.join(missing)}." if missing else "The pipeline can run here."
    return [*(("What to do:", *actions) if actions else ()), sentence]
