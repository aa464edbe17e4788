"""Collect facts about a machine; ``checks.py`` evaluates them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.identity import HashKeyError, find_key
from pipeline.beam.requirements import missing
from pipeline.config import RunConfig

PROGRAMS: Final = ("g++", "docker", "podman", "kubectl", "nvidia-smi", "tensorflow_model_server")
PACKAGES: Final = ("tfx", "tensorflow", "apache-beam", "tensorflow-model-analysis", "keras", "protobuf", "numpy")
_PROGRAM_SECONDS: Final = 10


@dataclass(frozen=True)
class Machine:
    """Facts about a machine.

    Attributes:
        system: Operating system and processor, such as ``Linux x86_64``.
        python: Version of Python.
        glibc: Version of glibc; None for another C library.
        cores: Number of processors that this process may use.
        memory_bytes: Memory of the machine, or limit of its container, bytes.
        free_bytes: Free space at the output folder, bytes.
        can_write: This user may write there.
        packages: Installed version by distribution; None if it is missing.
        programs: Path by program; None if it is missing.
        container_engine: Name and version of a running container engine; None if there is none.
        gpus: Names of the GPUs, from the driver.
        tensorflow_cuda: TensorFlow's CUDA libraries are installed.
        codecs: True if a decoder is installed, by name of the transfer syntax.
        runner: Beam's runner.
        runner_lacks: What the runner needs and this machine does not have, one sentence each.
        key_variable: Environment variable of the key that replaces identifiers.
        own_key: The key is the user's secret, not the public key.
        key_problem: Why the key cannot be used; empty if it can.
    """

    system: str
    python: tuple[int, ...]
    glibc: tuple[int, ...] | None
    cores: int
    memory_bytes: int
    free_bytes: int
    can_write: bool
    packages: Mapping[str, str | None]
    programs: Mapping[str, str | None]
    container_engine: str | None
    gpus: tuple[str, ...]
    tensorflow_cuda: bool
    codecs: Mapping[str, bool]
    runner: str
    runner_lacks: tuple[str, ...]
    key_variable: str
    own_key: bool
    key_problem: str


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _glibc() -> tuple[int, ...] | None:
    name, version = platform.libc_ver()
    return tuple(int(part) for part in version.split(".")) if name == "glibc" else None


def _memory_bytes() -> int:
    """Return the machine's memory, or the container's limit if it is lower (Linux control groups, version 2)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.is_file() else "max"
    return min(memory, int(text)) if text.isdecimal() else memory


def _output_of(*command: str | None) -> tuple[str, ...]:
    """Return the lines that a program prints; empty if it is missing, fails or hangs."""
    program, *arguments = command
    if program is None:
        return ()
    try:
        done = subprocess.run(
            [program, *map(str, arguments)], capture_output=True, text=True, timeout=_PROGRAM_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip()) if done.returncode == 0 else ()


def _engine(programs: Mapping[str, str | None]) -> str | None:
    """Return a running container engine: Docker's client without its server does not count."""
    versions = {
        "docker": _output_of(programs["docker"], "version", "--format", "{{.Server.Version}}"),
        "podman": _output_of(programs["podman"], "version", "--format", "{{.Client.Version}}"),
    }
    return next((f"{name} {lines[0]}" for name, lines in versions.items() if lines), None)


def _codecs() -> dict[str, bool]:
    import imagecodecs
    from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLossless, JPEGLSLossless, RLELossless

    found = {
        RLELossless: imagecodecs.PACKBITS.available,
        JPEGBaseline8Bit: imagecodecs.JPEG8.available,
        JPEGLossless: imagecodecs.JPEG8.available,
        JPEGLSLossless: imagecodecs.JPEGLS.available,
        JPEG2000Lossless: imagecodecs.JPEG2K.available,
        JPEG2000: imagecodecs.JPEG2K.available,
    }
    return {syntax.name: there for syntax, there in found.items()}


def _key(config: IngestConfig, environment: Mapping[str, str]) -> tuple[bool, str]:
    """Return whether the key of identifiers is the user's own, and why it cannot be used (empty if it can)."""
    try:
        return not find_key(config, environment).is_research, ""
    except HashKeyError as error:
        return False, str(error)


def look_at_machine(settings: RunConfig) -> Machine:
    """Return the facts about this machine. This takes a second, and does not import TensorFlow.

    Args:
        settings: Configuration to run. Its output folder need not exist. The servers of its Beam runner are contacted.
    """
    output = settings.output.resolve()
    place = next(folder for folder in (output, *output.parents) if folder.exists())
    programs = {name: shutil.which(name) for name in PROGRAMS}
    own_key, key_problem = _key(settings.pipeline.ingest, os.environ)
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        python=sys.version_info[:3],
        glibc=_glibc(),
        cores=len(os.sched_getaffinity(0)),
        memory_bytes=_memory_bytes(),
        free_bytes=shutil.disk_usage(place).free,
        can_write=place.is_dir() and os.access(place, os.W_OK),
        packages={name: _installed(name) for name in PACKAGES},
        programs=programs,
        container_engine=_engine(programs),
        gpus=_output_of(programs["nvidia-smi"], "--query-gpu=name", "--format=csv,noheader"),
        tensorflow_cuda=_installed("nvidia-cudnn-cu12") is not None,
        codecs=_codecs(),
        runner=settings.beam.runner,
        runner_lacks=tuple(missing(settings.beam, settings.output, os.environ)),
        key_variable=settings.pipeline.ingest.hash_key_variable,
        own_key=own_key,
        key_problem=key_problem,
    )
