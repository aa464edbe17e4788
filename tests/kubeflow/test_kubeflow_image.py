"""kubeflow/Dockerfile, which no Docker engine builds here: its stages, what it copies, who it runs as, what it pins."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
Instruction = tuple[str, str]


READ = runpy.run_path(str(PROJECT / "kubeflow" / "rootfs.py"))["stages"]
DOCKERFILE = (PROJECT / "kubeflow" / "Dockerfile").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def stages() -> dict[str, list[Instruction]]:
    return READ(DOCKERFILE)[0]


def of(stage: list[Instruction], instruction: str) -> list[str]:
    return [rest for name, rest in stage if name == instruction]


def ends(stages: dict[str, list[Instruction]], name: str) -> list[Instruction]:
    """A stage with all that it is built on."""
    (base,) = of(stages[name], "FROM")
    return [*(ends(stages, base) if base in stages else []), *stages[name]]


def test_it_has_the_stages_that_are_built(stages: dict[str, list[Instruction]]) -> None:
    assert list(stages) == ["beam", "build", "build-gpu", "runtime", "gpu", "cpu"]
    assert list(stages)[-1] == "cpu"  # what a build without --target gives


@pytest.mark.parametrize("target", ["cpu", "gpu"])
def test_it_runs_as_nobody_special_and_starts_a_node(stages: dict[str, list[Instruction]], target: str) -> None:
    from pipeline.kubeflow.specification import COMMAND

    whole = ends(stages, target)
    assert whole[-1] == ("USER", "10001:10001")
    (entry,) = of(whole, "ENTRYPOINT")
    assert json.loads(entry) == list(COMMAND)
    made = " ".join(of(whole, "RUN"))
    for folder in ("/gcs", "/minio", "/s3"):  # where the launcher copies artifacts, as this user
        assert folder in shlex.split(made)
    environment = " ".join(of(whole, "ENV"))
    assert "PATH=/opt/venv/bin:$PATH" in environment
    assert "RUN_PYTHON_SDK_IN_DEFAULT_ENVIRONMENT=1" in environment
    assert "g++" not in shlex.split(made)  # compilers stay in the build stage
    assert any(rest.startswith("--from=beam /opt/apache/beam") for rest in of(whole, "COPY"))


def test_everything_that_is_copied_is_there(stages: dict[str, list[Instruction]]) -> None:
    ignored = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = set()
    for stage in stages.values():
        for rest in of(stage, "COPY"):
            source = re.match(r"--from=(\S+)", rest)
            if source:
                assert source.group(1) in stages
                continue
            copied |= set(shlex.split(rest)[:-1])
    assert {"pyproject.toml", "uv.lock", "components", "pipeline", "schema", "serving"} <= copied
    for name in copied:
        assert (PROJECT / name).exists(), name
        assert f"!{name}" in ignored, name  # or the build would not see it
    assert ignored[1] == "*"


def test_packages_are_those_of_the_lock(stages: dict[str, list[Instruction]]) -> None:
    lock = (PROJECT / "uv.lock").read_text(encoding="utf-8")
    arguments = READ(DOCKERFILE)[1]
    beam = arguments["BEAM_IMAGE"]
    assert re.fullmatch(r"apache/beam_python3\.10_sdk:([0-9.]+)", beam)
    assert f'name = "apache-beam"\nversion = "{beam.rpartition(":")[2]}"\n' in lock
    assert re.fullmatch(r"python:3\.10\.[0-9]+-slim-[a-z]+", arguments["PYTHON_IMAGE"])
    synced = [run for run in of(stages["build"], "RUN") if "uv sync" in run]
    assert len(synced) == 2
    assert all("--locked" in run and "--no-dev" in run and "--extra pipeline" in run for run in synced)
    # Beam's boot program finds no Beam, and starts no worker, where there is no pip to ask.
    assert any("--python /opt/venv/bin/python pip==" in run for run in of(stages["build"], "RUN"))
    installs = [run for stage in stages.values() for run in of(stage, "RUN") if "pip install" in run]
    for run in installs:
        assert re.search(r" (uv|pip)==[0-9.]+|--constraint", run), run
