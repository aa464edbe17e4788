"""Programs in whose process some libraries cannot be found, as where they are not installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from pipeline.commands.extras import EXTRA_OF

ROOT = Path(__file__).resolve().parents[1]
OF_PIPELINE = {name for name, extra in EXTRA_OF.items() if extra == "pipeline"}
OF_EXTRAS = set(EXTRA_OF) | {"keras"}
TENSORFLOW = {"keras", "tensorflow", "tensorflow_serving"}

WITHOUT = """
import importlib, importlib.abc, pathlib, sys
blocked = set(sys.argv[1].split(","))

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in blocked:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
"""
COMMAND = """
from pipeline.cli import main
sys.argv[:2] = ["breast-density"]
main()
"""


def without(blocked: set[str], program: str, *arguments: str) -> list[str]:
    """The command that runs a program in a process without some libraries."""
    return [sys.executable, "-c", WITHOUT + program, ",".join(sorted(blocked)), *arguments]


def run_without(blocked: set[str], program: str, *arguments: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = without(blocked, program, *arguments)
    path = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    return subprocess.run(command, cwd=cwd, env=path, capture_output=True, text=True, check=False)
