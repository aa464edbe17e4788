"""Which edits change a node's fingerprint: small packages on disk, one edit at a time."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from components.common.fingerprint import code_fingerprint, declared_data, source_files

EXECUTOR = '''\
"""Runs the node."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import numpy

from components.node import work
from . import beside
from .inner.deep import (
    DEEP,
)

if TYPE_CHECKING:
    from components.typed import Typed
else:
    import components.untyped

try:
    import components.perhaps
except ImportError:
    pass

METRICS = dict(class_name="Metric", module="components.named.metrics")
FUNCTION = "components.called.fn.run_fn"
ENTRY = "components.entered.app:app"
KEYS = ("pipeline.node.key", "serving.thing", "components")
TEXTS = ("components.{}.metrics", "of components.other.executor")


class Node:
    """A node."""

    size: int = 3
    """Attribute's docstring."""


@functools.lru_cache(maxsize=4)
def run(first: Typed, second: int = 1) -> int:
    """Runs.

    Returns:
        A number.
    """
    # A comment.
    from schema.names import NAMES
    import components.shared.inner
    if first:
        return len(NAMES) + second + 2
    raise ValueError('bad "first"')


def empty() -> None:
    """Does nothing."""
'''
FILES = {
    "components/__init__.py": "",
    "components/node/__init__.py": "",
    "components/node/executor.py": EXECUTOR,
    "components/node/work.py": 'DATA_FILES = ("weights/net.pb", "templates/*.j2", "templates/style.css")\n',
    "components/node/weights/net.pb": "\0\1",
    "components/node/weights/README.md": "About them.",
    "components/node/templates/page.html.j2": "<p>{{ x }}</p>",
    "components/node/templates/style.css": "p {}",
    "components/node/templates/other.css": "p {}",
    "components/node/unused.py": 'Y = 1\nDATA_FILES = ("templates/other.css",)\n',
    "components/node/beside.py": "X = 1\n",
    "components/node/inner/__init__.py": "from .upper import U\n",
    "components/node/inner/upper.py": "U = 1\n",
    "components/node/inner/deep.py": "from ...shared import relative\nDEEP = 1\n",
    "components/shared/__init__.py": "PACKAGE = 1\n",
    "components/shared/relative.py": "X = 1\n",
    "components/shared/inner.py": "from components.node import executor  # a circle\n",
    "components/typed.py": "class Typed: pass\n",
    "components/untyped.py": "X = 1\n",
    "components/perhaps.py": "X = 1\n",
    "components/named/metrics.py": "X = 1\n",  # of a package without __init__.py
    "components/called/__init__.py": "X = 1\n",
    "components/called/fn.py": "def run_fn(): pass\n",
    "components/entered/app.py": "app = 1\n",
    "components/other/__init__.py": "",
    "components/other/executor.py": "Z = 1\n",
    "schema/__init__.py": "",
    "schema/names.py": "NAMES = ('a',)\n",
    "schema/schema.pbtxt": "feature {}\n",
    "serving/__init__.py": "",
    "pipeline/__init__.py": "",
    "pipeline/config.py": "W = 1\n",
    "numpy/__init__.py": "",
}
RUN = [
    "components/node/executor.py",
    "components/node/work.py",
    "components/node/beside.py",
    "components/node/inner/__init__.py",
    "components/node/inner/upper.py",
    "components/node/inner/deep.py",
    "components/shared/__init__.py",
    "components/shared/relative.py",
    "components/shared/inner.py",
    "components/untyped.py",
    "components/perhaps.py",
    "components/named/metrics.py",
    "components/called/__init__.py",
    "components/called/fn.py",
    "components/entered/app.py",
    "components/__init__.py",
    "components/node/__init__.py",
    "schema/__init__.py",
    "schema/names.py",
]
READ = [
    "components/node/weights/net.pb",
    "components/node/templates/page.html.j2",
    "components/node/templates/style.css",
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "first"
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def fingerprint(root: Path) -> str:
    return code_fingerprint("components.node.executor", root)


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def test_it_covers_what_the_node_runs_and_reads(tree: Path) -> None:
    found = {path.relative_to(tree).as_posix() for path in source_files("components.node.executor", tree)}
    assert found == {*RUN, *READ}
    assert len(RUN) + len(READ) == len(found)


@pytest.mark.parametrize("edited", RUN)
def test_a_line_of_code_that_the_node_runs_changes_it(tree: Path, edited: str) -> None:
    before = fingerprint(tree)
    with (tree / edited).open("a") as file:
        file.write("_EDITED = 1\n")
    assert fingerprint(tree) != before


@pytest.mark.parametrize("edited", READ)
def test_a_data_file_that_the_node_declares_changes_it(tree: Path, edited: str) -> None:
    before = fingerprint(tree)
    with (tree / edited).open("a") as file:
        file.write(" ")
    assert fingerprint(tree) != before


@pytest.mark.parametrize("edited", sorted({*FILES} - {*RUN, *READ}))
def test_what_it_does_not_run_or_read_changes_nothing(tree: Path, edited: str) -> None:
    before = fingerprint(tree)
    with (tree / edited).open("a") as file:
        file.write("_EDITED = 1\n")
    assert fingerprint(tree) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"""Runs the node."""', '"""Runs the node twice."""\n\n"""And again."""'),
        ('"""Runs the node."""\n', ""),
        ('    """A node."""\n\n', ""),
        ('    """Attribute\'s docstring."""\n', ""),
        ("Runs.\n", "Runs it.\n"),
        ('"""Does nothing."""', '"""Does nothing at all."""'),
        ("    # A comment.\n", "    # Another one, of two lines.\n    # type: ignore\n"),
        ("    # A comment.\n", "\n\n"),
        ("second + 2", "(  # why\n        second)  +  2"),
        ("import (\n    DEEP,\n)", "import DEEP"),
        ("'bad \"first\"'", '"bad" " \\"first\\""'),
        ("second: int = 1)", "\n    second: int = 1,\n)"),
        ("lru_cache(maxsize=4)", "lru_cache(\n    maxsize=0x4\n)  # fmt: skip"),
        ('"Metric"', 'u"Metric"'),
        ("else:\n    import", "import"),
        ("    from components.typed import Typed\n", "    import components.other.executor\n    Typed = int\n"),
    ],
)
def test_docstrings_comments_and_layout_change_nothing(tree: Path, old: str, new: str) -> None:
    before = fingerprint(tree)
    executor = tree / "components/node/executor.py"
    change(executor, old, new)
    ast.parse(executor.read_text())
    assert fingerprint(tree) == before


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("second + 2", "second + 3"),
        ("second + 2", "second - 2"),
        ("second: int = 1", "second: int = 2"),
        ("maxsize=4", "maxsize=5"),
        ("@functools.lru_cache(maxsize=4)\n", ""),
        ("size: int = 3", "size: int = 4"),
        ("size: int = 3", "size: float = 3"),
        ("'bad \"first\"'", "'bad \"second\"'"),
        ("'bad \"first\"'", "b'bad \"first\"'"),
        ("if first:", "if not first:"),
        ("else:\n    import components.untyped\n", ""),
        ("if TYPE_CHECKING:", "if True:"),
        ("def empty() -> None:", "def renamed() -> None:"),
        ("import numpy\n", "import numpy\nimport scipy\n"),
        ("import numpy\n", "import numpy as np\n"),
        ('"components.called.fn.run_fn"', '"components.called.fn.other_fn"'),
    ],
)
def test_code_changes_it(tree: Path, old: str, new: str) -> None:
    before = fingerprint(tree)
    change(tree / "components/node/executor.py", old, new)
    assert fingerprint(tree) != before


def test_a_new_import_is_followed(tree: Path) -> None:
    change(tree / "components/node/beside.py", "X = 1\n", "def x():\n    from components.other import executor\n")
    before = fingerprint(tree)
    change(tree / "components/other/executor.py", "Z = 1", "Z = 2")
    assert fingerprint(tree) != before


def test_a_module_that_names_its_docstring_keeps_it(tree: Path) -> None:
    change(tree / "components/node/beside.py", "X = 1\n", '"""Help."""\nX = __doc__\n')
    before = fingerprint(tree)
    change(tree / "components/node/beside.py", "Help.", "Better help.")
    assert fingerprint(tree) != before


@pytest.mark.parametrize("imported", ["typing.TYPE_CHECKING", "t.TYPE_CHECKING"])
def test_type_checking_is_recognized_under_any_module_name(tree: Path, imported: str) -> None:
    change(tree / "components/node/executor.py", "if TYPE_CHECKING:", f"if {imported}:")
    assert tree / "components/typed.py" not in source_files("components.node.executor", tree)
    change(tree / "components/node/executor.py", f"if {imported}:", f"if not {imported}:")
    assert tree / "components/typed.py" in source_files("components.node.executor", tree)


def test_a_new_file_that_matches_a_declared_pattern_changes_it(tree: Path) -> None:
    before = fingerprint(tree)
    (tree / "components/node/templates/blocks.j2").write_text("")
    assert fingerprint(tree) != before


def test_a_renamed_file_changes_it(tree: Path) -> None:
    before = fingerprint(tree)
    (tree / "components/node/templates/page.html.j2").rename(tree / "components/node/templates/other.html.j2")
    assert fingerprint(tree) != before


@pytest.mark.parametrize("missing", ["components/node/weights/net.pb", "components/node/templates/page.html.j2"])
def test_a_declared_file_that_is_missing_is_an_error(tree: Path, missing: str) -> None:
    (tree / missing).unlink()
    with pytest.raises(FileNotFoundError, match=r"DATA_FILES \S+ in .*components/node"):
        fingerprint(tree)
    with pytest.raises(FileNotFoundError):
        declared_data(tree / "components/node/work.py")


@pytest.mark.parametrize(
    "declaration",
    ["DATA_FILES = NAMES\n", "DATA_FILES: Final = ('a', f())\n", "DATA_FILES = 'page.css'\n", "DATA_FILES: tuple\n"],
)
def test_a_declaration_that_cannot_be_read_is_an_error(tree: Path, declaration: str) -> None:
    (tree / "components/node/beside.py").write_text(declaration)
    with pytest.raises(ValueError, match=r"beside\.py"):
        fingerprint(tree)


@pytest.mark.parametrize("content", [b"def (:\n", b"\0", b"# coding: no-such\n", b"X = '\xff'\n"])
def test_a_source_file_with_an_error_is_named(tree: Path, content: bytes) -> None:
    (tree / "components/node/beside.py").write_bytes(content)
    with pytest.raises(ValueError, match=r"beside\.py"):
        fingerprint(tree)


def test_declared_data_is_relative_to_the_module(tree: Path) -> None:
    (tree / "pipeline/config.py").write_text("DATA_FILES: Final = ('../schema/schema.pbtxt',)\n")
    assert declared_data(tree / "pipeline/config.py") == (tree / "schema/schema.pbtxt",)
    assert declared_data(tree / "components/node/executor.py") == ()


def test_it_depends_on_the_code_and_not_on_the_folder(tree: Path) -> None:
    shutil.copytree(tree, tree.parent / "second")
    assert fingerprint(tree) == fingerprint(tree.parent / "second")
    assert len(fingerprint(tree)) == 16
    assert int(fingerprint(tree), 16) >= 0


def test_it_is_the_same_in_another_process(tree: Path) -> None:
    code = "import sys; from pathlib import Path; from components.common.fingerprint import code_fingerprint;"
    code += "print(code_fingerprint('components.node.executor', Path(sys.argv[1])))"
    project = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", code, tree], cwd=project, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == fingerprint(tree)


@pytest.mark.parametrize(("major", "minor"), [(3, 9), (4, 0)])
def test_another_version_of_python_changes_it(
    tree: Path, monkeypatch: pytest.MonkeyPatch, major: int, minor: int
) -> None:
    before = fingerprint(tree)
    other = SimpleNamespace(version_info=SimpleNamespace(major=major, minor=minor))
    monkeypatch.setattr("components.common.fingerprint.sys", other)
    assert fingerprint(tree) != before


def test_swapping_two_files_changes_it(tree: Path) -> None:
    before = fingerprint(tree)
    inner, names = tree / "components/shared/relative.py", tree / "schema/names.py"
    texts = inner.read_text(), names.read_text()
    inner.write_text(texts[1])
    names.write_text(texts[0])
    assert fingerprint(tree) != before


@pytest.mark.parametrize("module", ["components.nowhere", "numpy", "components.node.executor.run"])
def test_an_unknown_module_is_an_error(tree: Path, module: str) -> None:
    with pytest.raises(ModuleNotFoundError, match=re.escape(module)):
        code_fingerprint(module, tree)
