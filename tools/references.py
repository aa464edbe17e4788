"""Find stale references in documentation, docstrings and comments: files, modules, functions, links.

    python -m tools.references           prints them; exit code 1 where there are any

What is looked at is what stands between backticks, and what follows ``python -m`` and ``:::``. A word in capitals
inside a path stands for any name, as in ``components/NODE/config.py``.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final, get_args

ROOT: Final = Path(__file__).resolve().parents[1]
_HIDDEN: Final = re.compile(r"(^|/)(\.[^/]+|__pycache__|node_modules|site|dist|demo|runs)(/|$)")
_CODE: Final = re.compile(r"(?<!`)(`{1,2})(?!`)([^`\n]+?)\1(?!`)")
_ROLE: Final = re.compile(r":(?:class|func|meth|mod|attr|data|exc):`~?([\w.]+)`")
_RUN: Final = re.compile(r"(?:python|python3) -m ([\w.]+)|^::: ([\w.]+)", re.M)
_PATH: Final = re.compile(r"(?:\.\./|\./)?[\w*-][\w.*-]*(?:/[\w.*-]+)*/?")
_DOTTED: Final = re.compile(r"([a-z_][\w]*(?:\.\w+)+)(?:\(.*\))?")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#+ +(.+?) *$", re.M)
_FENCE: Final = re.compile(r"^ *```.*?^ *```", re.S | re.M)
# Sources: a name that ends so is one of this project's. Others, such as files.jsonl, are mostly what a run writes.
_SOURCE_SUFFIXES: Final = (".py", ".md", ".j2", ".pbtxt", ".java", ".css")
# What a dotted name may end in without being Python's.
_OTHER_FILE: Final = re.compile(
    r".*\.(jsonl?|csv|html|pb|dcm|png|ya?ml|toml|log|h5|keras|parquet|cff|lock|txt|sh|zip|gz)"
)
_PLACEHOLDER: Final = re.compile(r"[A-Z]{2,}")
_PAGES_OF_ROOT: Final = ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", "CHANGELOG.md")


@dataclass(frozen=True, order=True)
class Stale:
    """A stale reference.

    Attributes:
        file: Where it stands, relative to the project.
        name: The name.
        why: What is wrong with it.
    """

    file: str
    name: str
    why: str

    def __str__(self) -> str:
        return f"{self.file}: {self.name}: {self.why}"


@dataclass(frozen=True)
class _Module:
    """Names that a module defines, those that it imports, and those of its classes."""

    names: frozenset[str]
    imported: frozenset[str]
    members: frozenset[str]


def _targets(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name | ast.Attribute):
        yield node.id if isinstance(node, ast.Name) else node.attr
    elif isinstance(node, ast.Tuple):
        for part in node.elts:
            yield from _targets(part)


def _defined(body: list[ast.stmt]) -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _targets(target)
        elif isinstance(node, ast.AnnAssign):
            yield from _targets(node.target)
        elif isinstance(node, ast.If | ast.Try):
            yield from _defined([*node.body, *node.orelse])


def _read_module(tree: ast.Module) -> _Module:
    members: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            members |= set(_defined(node.body))
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            members.add(node.attr)
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {(alias.asname or alias.name).split(".")[0] for node in imports for alias in node.names}
    return _Module(frozenset(_defined(tree.body)), frozenset(imported), frozenset(members))


class Project:
    """The tree, its packages and its texts."""

    def __init__(self, root: Path = ROOT) -> None:
        """Return the files; hidden folders and the outputs of runs are skipped."""
        self._root = root
        self._files = sorted(
            name
            for path in root.rglob("*")
            if not _HIDDEN.search(name := path.relative_to(root).as_posix()) and path.is_file()
        )
        self._trees: dict[str, ast.Module] = {}
        self._known = {*self._files, *(str(parent) for name in self._files for parent in PurePosixPath(name).parents)}

    @cached_property
    def packages(self) -> frozenset[str]:
        """Top folders that hold Python."""
        return frozenset(name.split("/")[0] for name in self._files if "/" in name and name.endswith(".py"))

    @cached_property
    def _folders(self) -> frozenset[str]:
        return frozenset(name.split("/")[0] for name in self._files if "/" in name)

    @cached_property
    def _module_files(self) -> dict[str, str]:
        """File of each module and package, by dotted name."""
        sources = [name for name in self._files if name.endswith(".py")]
        return {name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): name for name in sources}

    def _tree(self, file: str) -> ast.Module:
        if file not in self._trees:
            self._trees[file] = ast.parse((self._root / file).read_text(encoding="utf-8"))
        return self._trees[file]

    def pages(self) -> list[str]:
        """Markdown pages that are looked at."""
        docs = [name for name in self._files if name.endswith(".md") and name.startswith("docs/")]
        docs = [name for name in docs if not name.startswith("docs/reference/")]  # made of the code
        return [*(name for name in _PAGES_OF_ROOT if name in self._known), *docs]

    def sources(self) -> list[str]:
        """Python files that are looked at: all but the tests."""
        return [name for name in self._files if name.endswith(".py") and not name.startswith("tests/")]

    def stale(self) -> list[Stale]:
        """Return stale references, sorted."""
        found = set()
        for page in self.pages():
            text = (self._root / page).read_text(encoding="utf-8")
            found |= {*self._stale_names(page, text), *self._stale_links(page, text)}
        for source in self.sources():
            text = (self._root / source).read_text(encoding="utf-8")
            found |= {*self._stale_names(source, text), *self._stale_roles(source, text)}
        return sorted(found)

    def _stale_names(self, file: str, text: str) -> Iterator[Stale]:
        for match in _RUN.finditer(text):
            name = match[1] or match[2]
            if name.split(".")[0] in self.packages and not self._resolves(name):
                yield Stale(file, name, "no such module")
        for _, code in _CODE.findall(_FENCE.sub("", text)):
            name = code.strip()
            if (
                (dotted := _DOTTED.fullmatch(name))
                and not name.endswith(_SOURCE_SUFFIXES)
                and not _OTHER_FILE.fullmatch(name)
            ):
                if not self._is_known_name(file, dotted[1]):
                    yield Stale(file, name, "no such module, or no such name in it")
            elif _PATH.fullmatch(name) and not self._is_known_path(file, name):
                yield Stale(file, name, "no such file")

    def _is_known_name(self, file: str, name: str) -> bool:
        first = name.split(".")[0]
        if _is_configuration_key(name):
            return True
        if first in self.packages:
            return self._resolves(name)
        beside = _module_beside(file, first)
        # A variable of the file may have the name of a module that is not meant.
        if beside in self._module_files and first not in self._variables(file):
            return self._resolves(f"{beside}.{'.'.join(name.split('.')[1:])}")
        return True

    def _variables(self, file: str) -> set[str]:
        nodes = list(ast.walk(self._tree(file)))
        stored = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
        fields = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        return stored | fields | {node.arg for node in nodes if isinstance(node, ast.arg)}

    def _resolves(self, name: str) -> bool:
        parts = name.split(".")
        for count in range(len(parts), 0, -1):
            module, rest = ".".join(parts[:count]), parts[count:]
            if module in self._module_files:
                if not rest:
                    return True
                found = _read_module(self._tree(self._module_files[module]))
                # A package hands out what it imports; a module that happens to import a name is not its place.
                names = found.names | (found.imported if self._is_package(module) else set())
                return _is_in(rest[0], names) and all(_is_in(part, found.members) for part in rest[1:])
            if module.replace(".", "/") in self._known and not rest:
                return True
        return False

    def _is_package(self, module: str) -> bool:
        return f"{module.replace('.', '/')}/__init__.py" in self._known

    def _is_known_path(self, file: str, name: str) -> bool:
        path = name.rstrip("/").replace("...", "**")
        if not name.endswith(_SOURCE_SUFFIXES) and ("/" not in name or path.split("/")[0] not in self._folders):
            return True  # no name of a source, nor below a folder of the project: a run writes it, or a user
        if _PLACEHOLDER.search(path.removesuffix(".md")) or "*" in path:
            pattern = re.compile("(.*/)?" + _wildcards(path))
            return any(pattern.fullmatch(known) for known in self._known)
        beside = (self._root / file).parent / path
        if path in self._known or (beside.exists() and beside.resolve().is_relative_to(self._root)):
            return True
        return not path.startswith("..") and any(known.endswith(f"/{path}") for known in self._known)

    def _stale_roles(self, file: str, text: str) -> Iterator[Stale]:
        roles = _ROLE.findall(text)
        if not roles:
            return
        module = _read_module(self._tree(file))
        for name in roles:
            first, *rest = name.split(".")
            here = (
                first in module.names | module.imported | module.members
                or _module_beside(file, first) in self._module_files
            )
            if not (here or (rest and self._is_known_name(file, name) and first in self.packages)):
                yield Stale(file, name, "not defined or imported here")

    def _stale_links(self, page: str, text: str) -> Iterator[Stale]:
        for link in _LINK.findall(_FENCE.sub("", text)):
            path, _, anchor = link.partition("#")
            if "://" in link or link.startswith("mailto:"):
                continue
            target = (self._root / page).parent / path if path else self._root / page
            if not target.exists():
                yield Stale(page, link, "no such file")
            elif anchor and target.suffix == ".md" and anchor not in _anchors(target.read_text(encoding="utf-8")):
                yield Stale(page, link, "no such heading")


def _anchors(text: str) -> set[str]:
    """Make the anchors of a page's headings, as GitHub and MkDocs do for ordinary ones."""
    headings = _HEADING.findall(_FENCE.sub("", text))
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in plain}


def _wildcards(path: str) -> str:
    """Make a pattern of a path with words in capitals, ``*`` or ``**``."""
    pattern = re.escape(path).replace(r"\*\*", ".+")
    return re.sub(r"[A-Z]{2,}(_[A-Z]+)*|\\\*", "[^/]+", pattern)


def _module_beside(file: str, name: str) -> str:
    """Name the module that would be in the same folder."""
    return str(PurePosixPath(file).parent / name).replace("/", ".") if file.endswith(".py") else ""


def _is_in(name: str, names: frozenset[str]) -> bool:
    """Look a name up; one that ends in an underscore stands for all that begin so."""
    return name in names or (name.endswith("_") and any(other.startswith(name) for other in names))


@cache
def _configuration_keys() -> frozenset[str]:
    from pipeline.config import RunConfig

    def below(prefix: str, annotation: Any) -> Iterator[str]:
        yield prefix
        for model in (annotation, *get_args(annotation)):
            for name, field in getattr(model, "model_fields", {}).items():
                yield from below(f"{prefix}.{name}", field.annotation)

    return frozenset(below("", RunConfig))


def _is_configuration_key(name: str) -> bool:
    """Return True for keys such as ``pipeline.trainer.epochs``, which look like names of modules."""
    return any(key.endswith(f".{name}") for key in _configuration_keys())


def main() -> None:
    """Print stale references."""
    found = Project().stale()
    for stale in found:
        print(stale)
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
