"""Fingerprints of a node's code, so that editing it invalidates TFX's cache.

TFX keys its cache on inputs and parameters. Code named by a dotted path is neither, so each node carries the hash of
the source that it runs as one more parameter. The version of Python stands for the libraries: each lane of the lock has
its own, and what one lane's Keras wrote, the other's may not read.
"""

from __future__ import annotations

import ast
import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_FIRST_PARTY: Final = ("components", "schema", "serving")
_DATA_SUFFIXES: Final = (".css", ".j2")


def _source_root() -> Path:
    return Path(__file__).resolve().parents[2]


def _module_file(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def source_files(module: str, root: Path | None = None) -> tuple[Path, ...]:
    """Lists the first-party source files that a module runs, following its imports.

    Args:
        module: Dotted name of a first-party module, such as ``components.trainer.executor``.
        root: Folder that holds the packages; default is where this project is installed.

    Returns:
        Sorted paths: the module, everything of this project that it imports, also inside functions, and the data
        files (templates, schema) of the folders that they are in.

    Raises:
        ModuleNotFoundError: No such first-party module.
    """
    root = root or _source_root()
    start = _module_file(module, root)
    if start is None:
        raise ModuleNotFoundError(f"No first-party module to fingerprint. Received: module={module}")
    found: set[Path] = set()
    queue = [start]
    while queue:
        file = queue.pop()
        if file in found:
            continue
        found.add(file)
        for name in _imports(file):
            if name.split(".")[0] in _FIRST_PARTY and (target := _module_file(name, root)):
                queue.append(target)
    data = {
        path
        for folder in {file.parent for file in found}
        for path in folder.rglob("*")
        if path.suffix in _DATA_SUFFIXES and path.is_file()
    }
    return tuple(sorted(found | data))


def code_fingerprint(module: str, root: Path | None = None) -> str:
    """Hashes the source that a module runs, and the version of Python that runs it.

    Args:
        module: Dotted name of a first-party module.
        root: Folder that holds the packages; default is where this project is installed.

    Returns:
        16 hexadecimal digits; equal code in another folder has an equal fingerprint, in another lane it has not.

    Raises:
        ModuleNotFoundError: No such first-party module.
    """
    root = root or _source_root()
    digest = hashlib.sha256(f"Python {sys.version_info.major}.{sys.version_info.minor}\0".encode())
    for file in source_files(module, root):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()[:16]
