"""Build the wheel, and try it in new environments outside of the checkout: ``make wheel``.

    python3 tools/try_wheel.py --uv .uv/bin/uv [--python 3.10] [--extra gateway]

Libraries are those of ``uv.lock``. Each environment has one extra (the core has none), and must not hold what belongs
to another one. Needs no library itself.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
_PIPELINE: Final = ("tfx", "apache_beam", "tensorflow_model_analysis", "tensorflow_transform")
_CLIENT: Final = ("grpc", "highdicom")
_SERVE: Final = ("tensorflow", "tensorflow_serving")
_GATEWAY: Final = ("fastapi", "pynetdicom")

# Imports every module below the packages that are named, each from where the wheel was installed.
_IMPORTS: Final = """
import importlib, pathlib, sys
for name in sys.argv[1:]:
    package = importlib.import_module(name)
    folder = pathlib.Path(package.__file__).parent
    assert "site-packages" in str(folder), folder
    for file in sorted(folder.rglob("*.py")):
        parts = file.relative_to(folder).with_suffix("").parts
        importlib.import_module(".".join((name, *parts)).removesuffix(".__init__"))
"""
_ABSENT: Final = """
import importlib.util, sys
found = [name for name in sys.argv[1:] if importlib.util.find_spec(name)]
sys.exit(f"installed, and should not be: {found}" if found else 0)
"""


@dataclass(frozen=True)
class _Trial:
    """What an environment is tried for.

    Attributes:
        extra: The extra that it has; empty is the core.
        absent: Libraries that must not be there.
        packages: Packages whose modules must all be importable.
        commands: Arguments of ``breast-density``, beside those of the core.
    """

    extra: str
    absent: tuple[str, ...]
    packages: tuple[str, ...]
    commands: tuple[tuple[str, ...], ...] = ()


_CORE_COMMANDS: Final = (
    ("--version",),
    ("phantom", "phantoms", "--exams", "2", "--seed", "3", "--reduction", "12"),
    ("describe", "small", "--data", "phantoms/images", "--labels", "phantoms/labels.csv"),
    ("preprocess", "phantoms/images/{exam}/CC_R.dcm", "--out", "out"),
)
_DATA: Final = ("--set", "data.folder=/data/images", "--set", "data.labels=/data/labels.csv")
# All folders of serving except its node, which is part of the pipeline.
SERVING: Final = ("client", "dicom_results", "gateway", "server", "wire")
# What needs no TensorFlow: all of it but the model server.
WITHOUT_TENSORFLOW: Final = tuple(f"serving.{name}" for name in SERVING if name != "server")
TRIALS: Final = (
    _Trial("", (*_PIPELINE, *_SERVE, *_CLIENT, *_GATEWAY), ("schema",)),
    _Trial("client", (*_PIPELINE, *_SERVE, *_GATEWAY), ("serving.client", "serving.dicom_results")),
    _Trial("serve", (*_PIPELINE, *_GATEWAY), ("serving.client", "serving.dicom_results", "serving.server")),
    _Trial("gateway", (*_PIPELINE, *_SERVE), WITHOUT_TENSORFLOW),
    _Trial(
        "pipeline",
        _GATEWAY,
        ("components", "serving.infra_check", "serving.server"),
        (("doctor", "small"), ("compile", "small", *_DATA, "--out", "package.yaml")),
    ),
)


def _run(command: Sequence[str | Path], folder: Path) -> None:
    # Without PYTHONPATH, or the checkout would be imported instead.
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment = {**kept, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " ".join(str(word) if len(str(word)) < 200 else "..." for word in command)
        sys.exit(f"{words}\n{done.stdout}{done.stderr}\nexit code {done.returncode}")


def _build(uv: Path) -> Path:
    shutil.rmtree(ROOT / "dist", ignore_errors=True)
    _run([uv, "build", "--quiet", "--out-dir", ROOT / "dist"], ROOT)
    [wheel] = (ROOT / "dist").glob("*.whl")
    return wheel


def _try(trial: _Trial, wheel: Path, uv: Path, python: str, folder: Path) -> None:
    """Install and try one part.

    Args:
        trial: The part.
        wheel: The wheel.
        uv: Program ``uv``.
        python: Interpreter, or its version.
        folder: Empty folder outside of the checkout.
    """
    versions = folder / "versions.txt"
    extras = ["--extra", trial.extra] if trial.extra else []
    locked = ["--locked", "--no-dev", "--no-emit-project", "--no-hashes", "--quiet", "--output-file", str(versions)]
    _run([uv, "export", *locked, *extras], ROOT)
    _run([uv, "venv", "--quiet", "--python", python, folder / "venv"], folder)
    bin_folder = folder / "venv" / "bin"
    wanted = f"{wheel}[{trial.extra}]" if trial.extra else str(wheel)
    into = ["--python", str(bin_folder / "python"), "--constraint", str(versions)]
    _run([uv, "pip", "install", "--quiet", *into, wanted], folder)
    _run([bin_folder / "python", "-c", _ABSENT, *trial.absent], folder)
    _run([bin_folder / "python", "-c", _IMPORTS, *trial.packages], folder)
    for command in (*_CORE_COMMANDS, *trial.commands):
        exam = next((path.name for path in sorted((folder / "phantoms" / "images").glob("*"))), "")
        _run([bin_folder / "breast-density", *(word.format(exam=exam) for word in command)], folder)


def main() -> None:
    """Build the wheel, install it, and try it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--uv", type=Path, required=True)
    parser.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}")
    parser.add_argument("--extra", action="append", choices=[trial.extra or "core" for trial in TRIALS])
    arguments = parser.parse_args()
    uv = arguments.uv.resolve()
    wheel = _build(uv)
    print(f"built {wheel.relative_to(ROOT)}, {wheel.stat().st_size / 1e6:.1f} MB")
    for trial in TRIALS:
        name = trial.extra or "core"
        if arguments.extra and name not in arguments.extra:
            continue
        with tempfile.TemporaryDirectory(prefix=f"breast-density-{name}-") as folder:
            _try(trial, wheel, uv, arguments.python, Path(folder))
        print(f"{name}: installs, imports and runs")


if __name__ == "__main__":
    main()
