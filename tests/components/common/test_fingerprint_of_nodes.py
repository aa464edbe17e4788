"""Which edits of this project change which node's fingerprint; the fingerprint covers everything that a node runs."""

from __future__ import annotations

import ast
import re
import shutil
from functools import cache
from pathlib import Path

import pytest

from components.common.fingerprint import code_fingerprint, declared_data, source_files

PROJECT = Path(__file__).parents[3]
PACKAGES = ("components", "pipeline", "schema", "serving")
# They use the folder of the packages, or a module that they import, and no data file.
WITHOUT_DATA = {"common/fingerprint.py", "infra_check/check.py", "kubeflow/walk.py"}
# Ways to find a file that comes with the packages.
PLACES = {"__file__", ".__file__", "__path__", ".__path__", "importlib.resources", "pkgutil", "jinja2.PackageLoader"}
# Where nodes get their parameters; a fingerprint elsewhere (the exam model's contract has one) is no node's.
MAKE_NODES = {"component.py", "pipeline.py"}
IMPORTERS = {"import_module", "__import__", "run_module", "run_path"}
OURS = re.compile(r"(components|schema|serving)\.")


def python_files(root: Path) -> list[Path]:
    return sorted(file for package in PACKAGES for file in (root / package).rglob("*.py"))


def name_of(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def named(file: Path) -> set[str]:
    """Names, attributes and imported modules of a file."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, (ast.Name, ast.Attribute)):
            names.add(node.id if isinstance(node, ast.Name) else f".{node.attr}")
    return names


@cache
def nodes() -> dict[str, str]:
    """The modules that nodes run, by the nodes' folders: those whose fingerprint is a node's parameter."""
    calls = (
        node
        for file in python_files(PROJECT)
        if file.name in MAKE_NODES
        for node in ast.walk(ast.parse(file.read_bytes()))
        if isinstance(node, ast.Call) and name_of(node) == "code_fingerprint"
    )
    modules = {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}
    return {module.split(".")[1]: module for module in modules if isinstance(module, str)}


def fingerprints(root: Path) -> dict[str, str]:
    return {node: code_fingerprint(module, root) for node, module in nodes().items()}


@pytest.fixture(scope="module")
def code_of_nodes() -> list[Path]:
    return sorted({file for module in nodes().values() for file in source_files(module) if file.suffix == ".py"})


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the packages; each test leaves it as it was."""
    root = tmp_path_factory.mktemp("checkout")
    for package in PACKAGES:
        shutil.copytree(PROJECT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    return root


def changed_by(root: Path, edits: dict[Path, bytes]) -> set[str]:
    """Nodes whose fingerprint differs after the edits."""
    before, sound = fingerprints(root), {path: path.read_bytes() for path in edits}
    try:
        for path, content in edits.items():
            assert content != sound[path]
            path.write_bytes(content)
        after = fingerprints(root)
    finally:
        for path, content in sound.items():
            path.write_bytes(content)
    return {node for node in nodes() if before[node] != after[node]}


def only(root: Path, pattern: str) -> Path:
    [found] = [path for package in PACKAGES for path in (root / package).rglob(pattern)]
    return found


def test_every_node_is_here() -> None:
    assert set(nodes()) == {
        "archive_scan",
        "dicom_example_gen",
        "drift_monitor",
        "evaluator",
        "exam_ensemble",
        "exam_selector",
        "example_validator",
        "grad_cam_explainer",
        "import_schema_gen",
        "infra_check",
        "mammogram_preprocessor",
        "pushed_models",
        "pusher",
        "report_generator",
        "texture_model",
        "trainer",
        "transform",
        "tuner",
    }


def test_a_docstring_or_comment_of_any_module_changes_no_node(copy: Path) -> None:
    docstring = re.compile(rb'^( *"""|""")(?=\w)', re.M)
    edits = {
        file: docstring.sub(rb"\1Reworded: ", content) + b"\n# A comment.\n"
        for file in python_files(copy)
        if (content := file.read_bytes())
    }
    assert only(copy, "greyscale.py") in edits
    assert changed_by(copy, edits) == set()


def test_the_gateways_stylesheet_changes_no_node(copy: Path) -> None:
    stylesheet = only(copy, "page.css")
    assert "gateway" in stylesheet.parts
    assert changed_by(copy, {stylesheet: stylesheet.read_bytes() + b"p {}\n"}) == set()


@pytest.mark.parametrize("name", ["report.css", "report.html.j2", "blocks.html.j2"])
def test_the_reports_templates_change_the_report(copy: Path, name: str) -> None:
    file = only(copy, name)
    assert changed_by(copy, {file: file.read_bytes() + b"\n"}) == {"report_generator"}


def test_the_muscles_weights_change_the_nodes_that_can_look_for_a_muscle(copy: Path) -> None:
    weights = only(copy, "muscle.pb")
    assert changed_by(copy, {weights: weights.read_bytes() + b"\0"}) == {
        "exam_ensemble",  # its contract holds the fingerprint of the client's preprocessing
        "mammogram_preprocessor",
    }


def test_a_line_of_the_grey_scale_changes_the_nodes_that_import_it(copy: Path) -> None:
    file = only(copy, "greyscale.py")
    assert changed_by(copy, {file: file.read_bytes() + b"\n_EDITED = 1\n"}) == {
        "archive_scan",
        "dicom_example_gen",
        "exam_ensemble",  # its contract holds the fingerprint of the client's preprocessing
    }


def test_the_curated_schema_reaches_nodes_as_an_artifact_only(copy: Path) -> None:
    schema = only(copy, "schema.pbtxt")
    assert changed_by(copy, {schema: schema.read_bytes() + b"# edited\n"}) == set()


def test_every_data_file_is_declared_by_the_module_that_reads_it() -> None:
    files = {path for package in PACKAGES for path in (PROJECT / package).rglob("*") if path.is_file()}
    data = {path for path in files if path.suffix not in (".py", ".pyc")}
    # Documentation, and examples of how to deploy, are not read by code.
    for_people = {path for path in data if path.name == "README.md" or "deploy" in path.relative_to(PROJECT).parts}
    declared = {path for file in python_files(PROJECT) for path in declared_data(file)}
    assert sorted(data - for_people - declared) == []
    assert sorted(declared & for_people) == []


def test_every_module_that_looks_for_files_of_the_project_declares_them() -> None:
    readers = {file for file in python_files(PROJECT) if PLACES & named(file)}
    assert {"/".join(file.parts[-2:]) for file in readers if not declared_data(file)} == WITHOUT_DATA


def test_no_node_imports_a_module_by_a_name_that_cannot_be_read(code_of_nodes: list[Path]) -> None:
    unreadable = []
    for file in code_of_nodes:
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Call) and name_of(node) in IMPORTERS:
                name = node.args[0] if node.args else None
                unreadable += [] if isinstance(name, ast.Constant) else [f"{file}:{node.lineno}"]
            elif isinstance(node, ast.JoinedStr) and isinstance(begin := node.values[0], ast.Constant):
                unreadable += [f"{file}:{node.lineno}"] if OURS.match(str(begin.value)) else []
    assert unreadable == []


def test_no_node_reads_docstrings_or_source(code_of_nodes: list[Path]) -> None:
    ways = {"__doc__", ".__doc__", ".getdoc", ".getsource", ".model_json_schema", ".json_schema"}
    assert [file for file in code_of_nodes if ways & named(file)] == []


@pytest.mark.parametrize(
    ("node", "needs"),
    [
        ("trainer", "images.py"),
        ("exam_ensemble", "signatures.py"),
        ("infra_check", "probe.py"),
        ("evaluator", "metrics.py"),
        ("mammogram_preprocessor", "auto_method.py"),
        ("mammogram_preprocessor", "muscle.pb"),
        ("report_generator", "report.css"),
    ],
)
def test_real_nodes_depend_on_what_they_do(node: str, needs: str) -> None:
    assert needs in {file.name for file in source_files(nodes()[node])}
