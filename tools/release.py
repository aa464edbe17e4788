"""Write a new version into all files that state it, and close the changelog section: ``make release VERSION=0.7.0``.

Nothing is committed or tagged: see CONTRIBUTING.md for the next steps.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
_VERSION: Final = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)")
_STATED: Final = re.compile(r'^version = "([^"]+)"$', re.M)
_OPEN: Final = "## [Unreleased]"

Edit = Callable[[str, str, str, str], str]  # text, old version, new version, today


class ReleaseError(ValueError):
    """The version cannot be released; one sentence says why."""


def _project(text: str, old: str, new: str, today: str) -> str:
    return text.replace(f'\nversion = "{old}"\n', f'\nversion = "{new}"\n', 1)


def _citation(text: str, old: str, new: str, today: str) -> str:
    text = text.replace(f"\nversion: {old}\n", f"\nversion: {new}\n", 1)
    return re.sub(r"(?m)^date-released: .*$", f"date-released: {today}", text)


def _changelog(text: str, old: str, new: str, today: str) -> str:
    section = text.partition(_OPEN)[2].partition("\n## [")[0]
    if not section.strip():
        raise ReleaseError(f"CHANGELOG.md has nothing under {_OPEN}: write what is new.")
    return text.replace(_OPEN, f"{_OPEN}\n\n## [{new}] - {today}", 1)


def _image_and_wheel(text: str, old: str, new: str, today: str) -> str:
    text = text.replace(f"breast-density:{old}", f"breast-density:{new}")
    return text.replace(f"breast_density-{old}-", f"breast_density-{new}-")


# Every file that states the version; tests compare some of them with pyproject.toml.
EDITS: Final[Mapping[str, Edit]] = {
    "pyproject.toml": _project,
    "CITATION.cff": _citation,
    "CHANGELOG.md": _changelog,
    "README.md": _image_and_wheel,
    "docs/install.md": _image_and_wheel,
    "docs/kubeflow.md": _image_and_wheel,
    "kubeflow/Dockerfile": _image_and_wheel,
    "kubeflow/manifests/flink/taskmanager.yaml": _image_and_wheel,
}


def stated_version(root: Path = ROOT) -> str:
    """Read the version that pyproject.toml states."""
    found = _STATED.search((root / "pyproject.toml").read_text(encoding="utf-8"))
    if found is None:
        raise ReleaseError("pyproject.toml states no version.")
    return found[1]


def release(new: str, today: str, root: Path = ROOT) -> list[str]:
    """Write the version.

    Args:
        new: The version, such as ``0.7.0``.
        today: The day of the release, such as ``2026-12-01``.
        root: The project.

    Returns:
        The files that changed.

    Raises:
        ReleaseError: The version is none, or not newer, or the changelog says nothing of it. Nothing is written.
    """
    old = stated_version(root)
    if not _VERSION.fullmatch(new) or _numbers(new) <= _numbers(old):
        raise ReleaseError(f"Give a version of three numbers above {old}, such as 0.7.0. Received: {new}")
    texts = {name: (root / name).read_text(encoding="utf-8") for name in EDITS}
    edited = {name: EDITS[name](text, old, new, today) for name, text in texts.items()}
    changed = [name for name in EDITS if edited[name] != texts[name]]
    for name in changed:
        (root / name).write_text(edited[name], encoding="utf-8")
    return changed


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def main() -> None:
    """Write the version that the command line names."""
    try:
        changed = release(sys.argv[1] if sys.argv[1:] else "", date.today().isoformat())
    except ReleaseError as error:
        sys.exit(f"Error: {error}")
    print("\n".join(changed))


if __name__ == "__main__":
    main()
