"""Which lane and Python `make` takes, by what the machine has; nothing is installed (``make -n``)."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_REPOSITORY = Path(__file__).parents[2]
# A Python that says of itself what the test wants; it runs what make asks it.
_PYTHON = """#!{real} -IS
import os.path, sys, sysconfig
sys.version_info, sys.abiflags = ({version}, 0), "{abi}"
sysconfig.get_path = {{"include": "{headers}"}}.__getitem__
assert sys.argv[1] == "-c"
exec(sys.argv[2])
"""


class Machine:
    """A checkout with nothing installed, on a machine that has the Pythons that a test puts there."""

    def __init__(self, folder: Path) -> None:
        self.checkout = folder / "checkout"
        self.programs = folder / "bin"
        self.pyenv = folder / "pyenv"
        self.uv = folder / "uv"
        self.headers = folder / "headers"
        for made in (self.checkout, self.programs, self.headers):
            made.mkdir()
        (self.headers / "Python.h").touch()
        for name in ("awk", "ls", "sort", "tail"):  # and nothing else of this machine, for it may have Pythons
            (self.programs / name).symlink_to(str(shutil.which(name)))
        for name in ("Makefile", "pyproject.toml", "uv.lock"):
            shutil.copy(_REPOSITORY / name, self.checkout)

    def program(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o755)

    def python(self, version: str, path: Path | None = None, *, headers: bool = True, abi: str = "") -> None:
        found = self.headers if headers else self.programs
        text = _PYTHON.format(real=sys.executable, version=version.replace(".", ", "), abi=abi, headers=found)
        self.program(path or self.programs / f"python{version}", text)

    def installed(self, version: str) -> None:
        stamp = self.checkout / ".venv" / f".ready-{version}"
        stamp.parent.mkdir(exist_ok=True)
        stamp.touch()

    def make(self, glibc: str, **variables: str) -> subprocess.CompletedProcess[str]:
        self.program(self.programs / "getconf", f"#!/bin/sh\necho glibc {glibc}\n")
        environment = {"PATH": str(self.programs), "PYENV_ROOT": str(self.pyenv)}
        environment |= {"UV_PYTHON_INSTALL_DIR": str(self.uv), "PYTHON": "of the environment, which is not asked"}
        command = [str(shutil.which("make")), "-n", "setup", *(f"{name}={value}" for name, value in variables.items())]
        return subprocess.run(command, cwd=self.checkout, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    return Machine(tmp_path)


@pytest.mark.parametrize(
    ("glibc", "pythons", "variables", "lane", "python"),
    [
        ("2.28", "3.10 3.11 3.13", {}, "base", "bin/python3.10"),
        ("2.38", "3.10 3.11 3.13", {}, "base", "bin/python3.10"),
        ("2.38", "3.13", {}, "base", "3.10"),  # uv fetches it
        ("2.39", "3.10 3.11", {}, "current", "bin/python3.11"),
        ("2.39", "3.10 3.12", {}, "current", "bin/python3.12"),  # Ubuntu 24.04
        ("2.41", "3.13", {}, "current", "bin/python3.13"),  # Debian 13
        ("2.41", "3.10 3.11 3.12 3.13 3.14", {}, "current", "bin/python3.13"),
        ("2.43", "3.9 3.14", {}, "current", "3.13"),
        ("2.41", "", {}, "current", "3.13"),
        ("2.41", "3.10", {}, "base", "bin/python3.10"),
        ("3.0", "3.12", {}, "current", "bin/python3.12"),
        ("2.41", "3.11 3.13", {"LANE": "base"}, "base", "3.10"),
        ("2.41", "3.10", {"LANE": "current"}, "current", "3.13"),
        ("2.41", "3.11 3.12 3.13", {"PYTHON": "3.11"}, "current", "bin/python3.11"),
        ("2.41", "3.11 3.13", {"PYTHON": "3.12", "LANE": "current"}, "current", "3.12"),
        ("2.41", "3.10 3.13", {"PYTHON": "3.10"}, "base", "bin/python3.10"),
    ],
)
def test_lane_is_what_the_machine_allows_or_what_is_asked_for(
    machine: Machine, glibc: str, pythons: str, variables: dict[str, str], lane: str, python: str
) -> None:
    for version in pythons.split():
        machine.python(version)
    done = machine.make(glibc, **variables)
    assert done.returncode == 0, done.stderr
    version = python.removeprefix("bin/python")
    assert f"touch .venv/.ready-{version}\n" in done.stdout
    assert f"echo 'Python {version}, {lane} lane." in done.stdout
    [command] = re.findall(r"^(.*) \.uv/bin/uv sync --locked", done.stdout, re.M)
    if python == version:
        assert command == f'UV_PYTHON_PREFERENCE=only-managed UV_PYTHON="{version}"'
    else:
        assert command == f'UV_PYTHON="{machine.programs}/python{version}"'


def test_pyenv_and_uv_are_asked_after_the_path(machine: Machine) -> None:
    shim = machine.programs / "python3.13"
    machine.program(shim, "#!/bin/sh\necho 'pyenv: python3.13: command not found' >&2\nexit 127\n")
    machine.python("3.12")
    assert f'UV_PYTHON="{machine.programs}/python3.12"' in machine.make("2.41").stdout
    of_uv = machine.uv / "cpython-3.13.9-linux-x86_64-gnu" / "bin" / "python"
    machine.python("3.13", of_uv)
    assert f'UV_PYTHON="{of_uv}"' in machine.make("2.41").stdout
    for release in ("3.13.2", "3.13.10"):
        machine.python("3.13", machine.pyenv / "versions" / release / "bin" / "python")
    assert f'UV_PYTHON="{machine.pyenv}/versions/3.13.10/bin/python"' in machine.make("2.41").stdout
    machine.python("3.13", shim)
    assert f'UV_PYTHON="{shim}"' in machine.make("2.41").stdout


@pytest.mark.parametrize(("headers", "abi"), [(False, ""), (True, "t")])
def test_a_python_that_cannot_hold_the_packages_is_passed_over(machine: Machine, headers: bool, abi: str) -> None:
    machine.python("3.13", headers=headers, abi=abi)
    assert 'only-managed UV_PYTHON="3.13"' in machine.make("2.41").stdout
    machine.python("3.11")
    assert f'UV_PYTHON="{machine.programs}/python3.11"' in machine.make("2.41").stdout


@pytest.mark.parametrize("installed", ["3.10", "3.11", "3.12"])
def test_an_installed_python_stays_until_another_is_asked_for(machine: Machine, installed: str) -> None:
    for version in ("3.10", "3.11", "3.13"):
        machine.python(version)
    machine.installed(installed)
    assert "uv sync" not in machine.make("2.41").stdout
    assert "touch .venv/.ready-3.13\n" in machine.make("2.41", PYTHON="3.13").stdout
    other = {"3.10": "current"}.get(installed, "base")
    assert f"touch .venv/.ready-{'3.13' if other == 'current' else '3.10'}\n" in machine.make("2.41", LANE=other).stdout


def test_setup_says_that_the_base_lane_ends_and_how_to_leave_it(machine: Machine) -> None:
    day = re.findall(r"^BASE_ENDS := (\d{4}-\d\d-\d\d)$", (_REPOSITORY / "Makefile").read_text("utf-8"), re.M)
    assert day
    for name in ("docs/compatibility.md", "CHANGELOG.md"):
        assert day[0] in (_REPOSITORY / name).read_text("utf-8"), name
    machine.installed("3.10")  # it is said again, although nothing is to do
    ended = f"This lane is legacy: Python 3.10 gets no fixes since October 2026, and the lane ends on {day[0]}."
    old, new = machine.make("2.36").stdout, machine.make("2.41").stdout
    assert f"{ended} The current lane needs glibc 2.39 or newer, this machine has 2.36" in old
    assert f'{ended} "make LANE=current setup" changes to the current lane' in new
    assert "legacy" not in machine.make("2.41", LANE="current").stdout


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({"LANE": "current"}, "needs glibc 2.39 or newer (Debian 13, Ubuntu 24.04), this machine has 2.36"),
        ({"PYTHON": "3.12"}, "needs glibc 2.39 or newer"),
        ({"LANE": "latest"}, 'LANE is base or current, not "latest"'),
        ({"LANE": "base", "PYTHON": "3.12"}, "LANE=base has 3.10: not PYTHON=3.12"),
        ({"PYTHON": "3.14"}, "LANE=current has Python 3.11, 3.12 and 3.13, LANE=base has 3.10: not PYTHON=3.14"),
    ],
)
def test_a_lane_that_cannot_be_is_one_sentence(machine: Machine, variables: dict[str, str], says: str) -> None:
    machine.python("3.10")
    machine.python("3.12")
    done = machine.make("2.36", **variables)
    assert done.returncode != 0
    assert says in done.stderr
    assert not done.stdout
