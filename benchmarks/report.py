"""Runs benchmarks and writes what they print as one page, with machine and date.

    python -m benchmarks.report docs/benchmarks.md "Benchmarks of ingest" decoders throughput

Each benchmark is a module of this package that prints a section of Markdown.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Final

from components.common.files import write_whole

_PACKAGES: Final = ("pydicom", "imagecodecs", "opencv-python-headless", "numpy", "tensorflow", "keras", "apache-beam")


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _versions() -> str:
    found = []
    for name in _PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(found)


def _machine() -> str:
    return (
        f"{_processor()}, {os.cpu_count()} cores, {_memory_gib():.0f} GiB, {platform.system()} {platform.machine()},"
        f" Python {platform.python_version()}; {_versions()}"
    )


def section(name: str) -> str:
    """Run one benchmark in its own process.

    Args:
        name: Module of this package; it prints a section of Markdown.

    Returns:
        The section.

    Raises:
        subprocess.CalledProcessError: The benchmark failed; its own errors are on the terminal.
    """
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"}
    command = [sys.executable, "-m", f"benchmarks.{name}"]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout.strip()


def main() -> None:
    """Run the named benchmarks and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, help="Markdown file to write")
    parser.add_argument("title", help="its heading")
    parser.add_argument("benchmarks", nargs="+", help="modules of this package")
    arguments = parser.parse_args()
    parts = []
    for name in arguments.benchmarks:
        started = time.monotonic()
        print(f"{name} ...", file=sys.stderr, flush=True)
        parts.append(section(name))
        print(f"{name}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
    head = f"# {arguments.title}\n\nWritten by `python -m benchmarks.report` on {today}.\n\n{_machine()}."
    write_whole(arguments.page, ("\n\n".join([head, *parts]) + "\n").encode())


if __name__ == "__main__":
    main()
