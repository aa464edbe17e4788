"""Version folders on disk: ``MODEL_DIR/VERSION/saved_model.pb``, as the Pusher writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

SAVED_MODEL_FILE: Final = "saved_model.pb"

# (relative name, size in bytes, modification time in ns) of every file of a folder.
Fingerprint = tuple[tuple[str, int, int], ...]


def is_saved_model(folder: Path) -> bool:
    """Tells whether a folder holds a SavedModel; one without the graph file may be half written."""
    return (folder / SAVED_MODEL_FILE).is_file()


def _version_of(name: str) -> int | None:
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 20 else None
    return None if number is None or number >= 1 << 63 else number  # ModelSpec's version is int64


def find_versions(model_dir: Path) -> dict[int, Path]:
    """Finds what can be served under a folder.

    Args:
        model_dir: A folder of numeric version folders, or a SavedModel itself. The latter has the number its
            folder is named by, else 1.

    Returns:
        Folder by version number; empty where there is none (or the folder is gone).
    """
    if is_saved_model(model_dir):
        number = _version_of(model_dir.resolve().name)
        return {1 if number is None else number: model_dir}
    try:
        folders = sorted(model_dir.iterdir())
    except OSError:
        return {}
    found: dict[int, Path] = {}
    for folder in folders:
        number = _version_of(folder.name)
        if number is not None and is_saved_model(folder):
            found[number] = folder
    return found


def fingerprint(folder: Path) -> Fingerprint:
    """Describes a folder's files, to see that a version that failed to load has been written on since."""
    entries = []
    for path in sorted(folder.rglob("*")):
        try:
            stat = path.stat()
        except FileNotFoundError:  # a temporary file of the writer, gone since it was listed
            continue
        entries.append((str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns))
    return tuple(entries)
