"""Folders in the place of an object store and of the launcher's copies, for the walk without a cluster.

Like an object store, it keeps files alone: an empty folder is lost on the way from one node to the next.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from pipeline.kubeflow.locations import local_path


def _copy_files(source: Path, target: Path) -> None:
    files = [source] if source.is_file() else [path for path in source.rglob("*") if path.is_file()]
    for file in files:
        copied = target / file.relative_to(source) if source.is_dir() else target
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copied)


def download(uri: str, store: Path, pod: Path) -> None:
    """Copies an artifact to a pod, as the launcher does before the node's command."""
    _copy_files(local_path(uri, store), local_path(uri, pod))


def upload(uri: str, pod: Path, store: Path) -> None:
    """Copies what a node's command has written to the store."""
    _copy_files(local_path(uri, pod), local_path(uri, store))
