"""Which edits change a node's fingerprint."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from components.common.fingerprint import code_fingerprint, source_files

PROJECT = Path(__file__).parents[3]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A package that imports at the top, inside a function, relatively named, and what is not its own."""
    files = {
        "components/__init__.py": "",
        "components/node/__init__.py": "",
        "components/node/executor.py": (
            "import numpy\nfrom components.node import work\n\n"
            "def run():\n    from schema.names import NAMES\n    import components.shared.inner\n    return NAMES\n"
        ),
        "components/node/work.py": "X = 1\n",
        "components/node/unused.py": "Y = 1\n",
        "components/node/templates/page.html.j2": "<p>{{ x }}</p>",
        "components/shared/__init__.py": "",
        "components/shared/inner.py": "from components.node import executor  # a circle\n",
        "components/other/__init__.py": "",
        "components/other/executor.py": "Z = 1\n",
        "schema/__init__.py": "",
        "schema/names.py": "NAMES = ('a',)\n",
        "schema/schema.pbtxt": "feature {}\n",
        "pipeline/config.py": "W = 1\n",
    }
    for name, text in files.items():
        path = tmp_path / "first" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "first"


def fingerprint(root: Path) -> str:
    return code_fingerprint("components.node.executor", root)


@pytest.mark.parametrize(
    "edited",
    [
        "components/node/executor.py",
        "components/node/work.py",
        "components/shared/inner.py",
        "schema/names.py",
        "components/node/templates/page.html.j2",
    ],
)
def test_editing_what_the_node_runs_changes_it(tree: Path, edited: str) -> None:
    before = fingerprint(tree)
    with (tree / edited).open("a") as file:
        file.write("# edited\n")
    assert fingerprint(tree) != before


@pytest.mark.parametrize(
    "edited",
    # The schema reaches the nodes that read it as an artifact.
    [
        "components/other/executor.py",
        "components/node/unused.py",
        "pipeline/config.py",
        "schema/schema.pbtxt",
        "README.md",
    ],
)
def test_editing_what_it_does_not_run_changes_nothing(tree: Path, edited: str) -> None:
    before = fingerprint(tree)
    with (tree / edited).open("a") as file:
        file.write("# edited\n")
    assert fingerprint(tree) == before


def test_it_is_of_the_code_and_not_of_the_folder(tree: Path) -> None:
    shutil.copytree(tree, tree.parent / "second")
    assert fingerprint(tree) == fingerprint(tree.parent / "second")
    assert len(fingerprint(tree)) == 16
    assert int(fingerprint(tree), 16) >= 0


def test_swapping_two_files_changes_it(tree: Path) -> None:
    before = fingerprint(tree)
    work, names = tree / "components/node/work.py", tree / "schema/names.py"
    texts = work.read_text(), names.read_text()
    work.write_text(texts[1])
    names.write_text(texts[0])
    assert fingerprint(tree) != before


def test_an_unknown_module_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"components\.nowhere"):
        code_fingerprint("components.nowhere")


@pytest.mark.parametrize(
    ("module", "needs"),
    [
        ("components.trainer.run_fn", "components/transform/images.py"),
        ("components.exam_ensemble.executor", "serving/signatures.py"),
        ("components.infra_check.executor", "components/infra_check/probe.py"),
        ("components.evaluator.executor", "components/evaluator/metrics.py"),
        ("components.mammogram_preprocessor.executor", "components/mammogram_preprocessor/pectoral.py"),
        ("components.report_generator.executor", "components/report_generator/templates/report.css"),
    ],
)
def test_real_nodes_depend_on_what_they_do(module: str, needs: str) -> None:
    assert needs in {file.relative_to(PROJECT).as_posix() for file in source_files(module)}
