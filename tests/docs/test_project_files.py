"""Workflow, hooks and forms name targets, programs and files that there are."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = set(re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.M)[0].split())
# Installed by `make setup`; a fresh checkout has none of them.
INSTALLED = {".venv/bin/python", ".venv/bin/ruff", ".venv/bin/mypy", ".uv/bin/uv"}


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def targets_of(command: str) -> list[str]:
    """Targets that a command line gives to make."""
    words = shlex.split(command)
    return [word for word in words[1:] if "=" not in word] if words[0] == "make" else []


def test_every_target_is_declared_and_made() -> None:
    assert all(re.search(rf"^{re.escape(target)}:", MAKEFILE, re.M) for target in TARGETS)


def test_the_workflow_calls_the_same_targets() -> None:
    jobs = read(".github/workflows/ci.yml")["jobs"]
    called = set()
    for job in jobs.values():
        matrix = job.get("strategy", {}).get("matrix", {}).get("target", [])
        for command in (step["run"] for step in job["steps"] if "run" in step):
            for target in targets_of(command.replace("${{ matrix.target }}", "MATRIX")):
                called |= set(matrix) if target == "MATRIX" else {target}
            if command.startswith("."):
                assert (ROOT / command.split()[0]).is_file()
    assert called <= TARGETS
    assert {"lint", "fast", "test", "wheel", "docs"} <= called
    assert {job["runs-on"] for job in jobs.values()} == {"ubuntu-24.04"}


def test_the_hooks_call_what_the_checkout_installs() -> None:
    hooks = [hook for repo in read(".pre-commit-config.yaml")["repos"] for hook in repo["hooks"]]
    for hook in hooks:
        program, *words = shlex.split(hook["entry"])
        assert program in INSTALLED
        assert all((ROOT / word).exists() for word in words if word.startswith("tests/"))


@pytest.mark.parametrize(
    "path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml")), ids=lambda path: path.stem
)
def test_forms_are_whole(path: Path) -> None:
    form = read(str(path.relative_to(ROOT)))
    if path.stem == "config":
        assert form == {"blank_issues_enabled": False}
        return
    assert {"name", "description", "body"} <= set(form)
    identifiers = [part["id"] for part in form["body"] if part["type"] != "markdown"]
    assert len(set(identifiers)) == len(identifiers)
    assert all(part["attributes"].get("label") for part in form["body"] if part["type"] != "markdown")


def test_targets_of_a_command_line() -> None:
    assert targets_of("make LANE=base lint fast") == ["lint", "fast"]
    assert targets_of(".ci/run") == []
