"""Fingerprints of a node's code, so that editing it invalidates TFX's cache.

The key of TFX's cache consists of inputs and parameters. It does not contain code, so each node has one more parameter:
the fingerprint of its code. The fingerprint consists of:

* The syntax tree of each source file of this project that the node imports, directly or indirectly, also inside
  functions. Comments, docstrings, layout and blocks under ``if TYPE_CHECKING:`` do not run, so they do not count. A
  module that names ``__doc__`` keeps its docstrings. A dotted name in a string, such as
  ``"components.evaluator.tfma_metrics"``, counts as an import, because TFX and TFMA import modules by such names.
* The data files (weights, templates) that these modules declare in a constant ``DATA_FILES``: a tuple of names or
  patterns, relative to the module's folder. Other data files do not count: a module declares each file that it reads.
* The version of Python. It represents the libraries: each lane of the lock has its own versions, and the Keras of one
  lane may not read the files of the other. So the same code has another fingerprint in the other lane, and its nodes
  run again there. They also run again under another Python of the current lane, whose libraries are the same: syntax
  trees are written differently by 3.12 and by 3.13.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

_FIRST_PARTY: Final = ("components", "pipeline", "schema", "serving")
_DECLARATION: Final = "DATA_FILES"
_DOTTED: Final = re.compile(r"\w+(?:\.\w+)+(?::\w+)?")


@dataclass(frozen=True)
class _Source:
    """The parts of a source file that count.

    Attributes:
        sha256: Hash of its syntax tree, without code that does not run.
        imports: Imported names, each with the number of its leading dots.
        mentions: Strings that may be names of modules.
        data: Declared names and patterns of data files.
    """

    sha256: bytes
    imports: tuple[tuple[int, str], ...]
    mentions: tuple[str, ...]
    data: tuple[str, ...]


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else test.id if isinstance(test, ast.Name) else ""
    return name == "TYPE_CHECKING"


def _names_docstring(node: ast.AST) -> bool:
    return getattr(node, "id", getattr(node, "attr", "")) == "__doc__"


def _running(statements: list[ast.stmt], texts: bool) -> Iterator[ast.stmt]:
    """Yield statements that run: without ``TYPE_CHECKING`` blocks and, unless ``texts``, without docstrings."""
    for statement in statements:
        value = statement.value if isinstance(statement, ast.Expr) else None
        if isinstance(statement, ast.If) and _is_type_checking(statement.test):
            yield from _running(statement.orelse, texts)
        elif texts or not (isinstance(value, ast.Constant) and isinstance(value.value, str)):
            yield statement


def _imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[int, str]]:
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.level, f"{node.module or ''}.{alias.name}".lstrip(".")) for alias in node.names)


def _mentions(nodes: Iterable[ast.AST]) -> Iterator[str]:
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            yield node.value.replace(":", ".")


def _declared(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if not isinstance(node, (ast.Assign, ast.AnnAssign)):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if any(isinstance(target, ast.Name) and target.id == _DECLARATION for target in targets):
            names = ast.literal_eval(node.value or "None")
            if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"{_DECLARATION} must be a tuple of strings. Received: {names!r}")
            yield from names


@cache
def _parsed(content: bytes) -> _Source:
    tree = ast.parse(content)
    texts = b"__doc__" in content and any(_names_docstring(node) for node in ast.walk(tree))
    for node in ast.walk(tree):
        for field in ("body", "orelse", "finalbody"):
            if isinstance(statements := getattr(node, field, None), list):
                setattr(node, field, list(_running(statements, texts)))
        if isinstance(node, ast.Constant):
            node.kind = None  # the u of u"text"
    nodes = list(ast.walk(tree))
    return _Source(
        hashlib.sha256(ast.dump(tree).encode()).digest(),
        tuple(dict.fromkeys(_imports(nodes))),
        tuple(dict.fromkeys(_mentions(nodes))),
        tuple(_declared(tree)),
    )


def _read(file: Path) -> _Source:
    try:
        return _parsed(file.read_bytes())
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"The source file cannot be fingerprinted: {error}. Received: {file}") from error


def _data_files(source: _Source, folder: Path) -> Iterator[Path]:
    for pattern in source.data:
        found = [path for path in folder.glob(pattern) if path.is_file()]
        if not found:
            raise FileNotFoundError(f"A declared data file is missing. Received: {_DECLARATION} {pattern} in {folder}")
        yield from (Path(os.path.normpath(path)) for path in found)


def declared_data(file: Path) -> tuple[Path, ...]:
    """Return the data files that a module declares in its constant ``DATA_FILES``.

    Args:
        file: Source file of the module.

    Returns:
        Sorted paths; empty if it declares none.

    Raises:
        FileNotFoundError: A declared file is missing, or no file matches a pattern.
        ValueError: The source file has an error, or the constant is not a tuple of plain strings.
    """
    return tuple(sorted(set(_data_files(_read(file), file.parent))))


def _source_root() -> Path:
    return Path(__file__).resolve().parents[2]


def _module_file(name: str, root: Path) -> Path | None:
    base = root.joinpath(*name.split("."))
    for candidate in (base / "__init__.py", base.with_name(f"{base.name}.py")):
        if candidate.is_file():
            return candidate
    return None


def _prefixes(name: str) -> list[str]:
    """Return the modules that importing a name may run: its packages, then itself; none for other projects."""
    parts = name.split(".")
    return [".".join(parts[: end + 1]) for end in range(len(parts))] if parts[0] in _FIRST_PARTY else []


def _followed(module: str, file: Path, source: _Source, root: Path) -> Iterator[str]:
    """Yield the modules that a module may run."""
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    for level, name in source.imports:
        base = package[: len(package) + 1 - level] if level else []
        yield from _prefixes(".".join([*base, name]))
    for name in source.mentions:
        prefixes = _prefixes(name)
        if any(_module_file(prefix, root) for prefix in prefixes[1:]):
            yield from prefixes


def _sources(module: str, root: Path) -> dict[Path, _Source]:
    """Read the module and all modules of this project that it runs."""
    queue = _prefixes(module)
    if not queue or _module_file(module, root) is None:
        raise ModuleNotFoundError(f"No first-party module to fingerprint. Received: module={module}")
    sources: dict[Path, _Source] = {}
    seen = set(queue)
    while queue:
        name = queue.pop()
        if (file := _module_file(name, root)) is None:
            continue
        sources[file] = _read(file)
        new = set(_followed(name, file, sources[file], root)) - seen
        seen |= new
        queue += new
    return sources


def source_files(module: str, root: Path | None = None) -> tuple[Path, ...]:
    """Return the files of this project that a module runs or reads.

    Args:
        module: Dotted name of a first-party module, such as ``components.trainer.run_fn``.
        root: Folder of the packages; default is the folder where this project is installed.

    Returns:
        Sorted paths: the module with its packages, all modules of this project that they import, and the data files
        that these modules declare.

    Raises:
        ModuleNotFoundError: The first-party module does not exist.
        FileNotFoundError: A declared data file is missing.
        ValueError: A source file has an error.
    """
    sources = _sources(module, root or _source_root())
    data = {path for file, source in sources.items() for path in _data_files(source, file.parent)}
    return tuple(sorted(data.union(sources)))


def code_fingerprint(module: str, root: Path | None = None) -> str:
    """Return the hash of the code of a module and of the Python version.

    Args:
        module: Dotted name of a first-party module.
        root: Folder of the packages; default is the folder where this project is installed.

    Returns:
        16 hexadecimal digits; equal code has the same fingerprint in another folder, and a different one under another
        version of Python.

    Raises:
        ModuleNotFoundError: The first-party module does not exist.
        FileNotFoundError: A declared data file is missing.
        ValueError: A source file has an error.
    """
    root = root or _source_root()
    sources = _sources(module, root)
    hashes = {file: source.sha256 for file, source in sources.items()}
    for file, source in sources.items():
        for path in _data_files(source, file.parent):
            hashes[path] = hashlib.sha256(path.read_bytes()).digest()
    digest = hashlib.sha256(f"Python {sys.version_info.major}.{sys.version_info.minor}\0".encode())
    for path in sorted(hashes):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashes[path])
    return digest.hexdigest()[:16]
