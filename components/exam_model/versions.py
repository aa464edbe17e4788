"""Version folders on disk: ``MODEL_DIR/VERSION/saved_model.pb``, as the Pusher writes them; the latest is the baseline.

Functions that need TensorFlow import it themselves: the server and the command line find versions without it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from components.common.location import location

SAVED_MODEL_FILE: Final = "saved_model.pb"

# (relative name, size in bytes, modification time in ns) of every file of a folder.
Fingerprint = tuple[tuple[str, int, int], ...]


def is_saved_model(folder: Path) -> bool:
    """Return True if a folder holds a SavedModel; without the graph file it may be half written."""
    return (folder / SAVED_MODEL_FILE).is_file()


def _version_of(name: str) -> int | None:
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 20 else None
    return None if number is None or number >= 1 << 63 else number  # ModelSpec's version is int64


def find_versions(model_dir: Path) -> dict[int, Path]:
    """Find the models that can be served under a folder.

    Args:
        model_dir: A folder of numeric version folders, or a SavedModel itself. The version of the latter is the name
            of its folder if that is a number, else 1.

    Returns:
        Folder by version number; empty without versions or without the folder.
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
    """Describe the files of a folder, to detect that a version that failed to load has changed since."""
    entries = []
    for path in sorted(folder.rglob("*")):
        try:
            stat = path.stat()
        except FileNotFoundError:  # a temporary file of the writer that was removed after the listing
            continue
        entries.append((str(path.relative_to(folder)), stat.st_size, stat.st_mtime_ns))
    return tuple(entries)


VERSION_FILE: Final = "baseline_version.txt"


def baseline_version(model_uri: str) -> str | None:
    """Return the version in a Model artifact of ``copy_baseline``; None if the artifact is empty."""
    try:
        return location(os.path.join(model_uri, VERSION_FILE)).read_bytes().decode()
    except FileNotFoundError:
        return None


def latest_version(serving_dir: str) -> str | None:
    """Return the newest whole version in a serving folder.

    Args:
        serving_dir: Folder with numbered version folders, as TensorFlow Serving reads it; it may be absent.

    Returns:
        The number of the version, or None.
    """
    import tensorflow as tf

    if not tf.io.gfile.isdir(serving_dir):
        return None
    versions = [
        name
        for name in (entry.rstrip("/") for entry in tf.io.gfile.listdir(serving_dir))
        if name.isdecimal() and tf.io.gfile.exists(os.path.join(serving_dir, name, SAVED_MODEL_FILE))
    ]
    return max(versions, key=int, default=None)


def copy_baseline(serving_dir: str, model_uri: str, serving_model_path: str) -> str | None:
    """Copy the newest version into a Model artifact.

    Args:
        serving_dir: Serving folder.
        model_uri: Folder of the artifact.
        serving_model_path: Folder inside it where TFX expects the SavedModel.

    Returns:
        The copied version; None, and an artifact without a model, if nothing was pushed yet.
    """
    import tensorflow as tf

    version = latest_version(serving_dir)
    tf.io.gfile.makedirs(model_uri)
    if version is None:
        return None
    source = os.path.join(serving_dir, version)
    for folder, _, files in tf.io.gfile.walk(source):
        target = os.path.join(serving_model_path, os.path.relpath(folder, source))
        tf.io.gfile.makedirs(target)
        for name in files:
            tf.io.gfile.copy(os.path.join(folder, name), os.path.join(target, name), overwrite=True)
    with tf.io.gfile.GFile(os.path.join(model_uri, VERSION_FILE), "w") as file:
        file.write(version)
    return version
