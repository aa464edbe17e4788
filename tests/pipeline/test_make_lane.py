"""Which lane `make` takes, by what the machine has; nothing is installed (``make -n``)."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).parents[2]
_FAKE_PYTHON = '#!/bin/sh\ntest "$1" = -c\n'  # is of the version that it is asked for

Make = Callable[..., "subprocess.CompletedProcess[str]"]


def _program(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Run ``make -n setup`` in a checkout with nothing installed, on a machine of the glibc and Pythons given."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    for name in ("Makefile", "pyproject.toml", "uv.lock"):
        shutil.copy(_REPOSITORY / name, tmp_path)
    programs = tmp_path / "bin"
    programs.mkdir()

    def run(glibc: str, *pythons: str, **variables: str) -> subprocess.CompletedProcess[str]:
        _program(programs / "getconf", f"#!/bin/sh\necho glibc {glibc}\n")
        for version in pythons:
            _program(programs / f"python{version}", _FAKE_PYTHON)
        environment = {"PATH": f"{programs}:/usr/bin:/bin", "PYENV_ROOT": str(tmp_path / "no-pyenv")}
        command = ["make", "-n", "setup", *(f"{name}={value}" for name, value in variables.items())]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.parametrize(
    ("glibc", "pythons", "variables", "lane", "python"),
    [
        ("2.28", ("3.10", "3.11"), {}, "base", "bin/python3.10"),
        ("2.38", ("3.10", "3.11"), {}, "base", "bin/python3.10"),
        ("2.39", ("3.10", "3.11"), {}, "current", "bin/python3.11"),
        ("2.41", ("3.11",), {"LANE": "base"}, "base", "3.10"),  # uv fetches it
        ("2.41", (), {"LANE": "current"}, "current", "3.11"),
    ],
)
def test_lane_is_what_the_machine_allows_or_what_is_asked_for(
    make: Make, glibc: str, pythons: tuple[str, ...], variables: dict[str, str], lane: str, python: str
) -> None:
    plan = make(glibc, *pythons, **variables).stdout
    assert f"touch .venv/.ready-{lane}\n" in plan
    assert f'{python}" .uv/bin/uv sync --locked' in plan


def test_an_installed_lane_stays(make: Make, tmp_path: Path) -> None:
    stamp = tmp_path / ".venv" / ".ready-base"
    stamp.parent.mkdir()
    stamp.touch()
    assert "uv sync" not in make("2.41", "3.10", "3.11").stdout
    assert "touch .venv/.ready-current\n" in make("2.41", "3.10", "3.11", LANE="current").stdout


@pytest.mark.parametrize(
    ("lane", "says"), [("current", "needs glibc 2.39 or newer"), ("latest", 'LANE is base or current, not "latest"')]
)
def test_a_lane_that_cannot_be_is_one_sentence(make: Make, lane: str, says: str) -> None:
    done = make("2.36", "3.10", "3.11", LANE=lane)
    assert done.returncode != 0
    assert says in done.stderr
    assert not done.stdout
