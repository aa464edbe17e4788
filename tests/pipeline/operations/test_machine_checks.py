"""What is missing on a machine, and how to get it."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import RunConfig
from pipeline.operations.checks import Check, advice_lines, check_machine
from pipeline.operations.machine import PACKAGES, PROGRAMS, Machine, look_at_machine

WHOLE = Machine(
    system="Linux x86_64",
    python=(3, 10, 13),
    glibc=(2, 36),
    cores=2,
    memory_bytes=24 << 30,
    free_bytes=100 << 30,
    can_write=True,
    packages=dict.fromkeys(PACKAGES, "1.16.0"),
    programs={name: f"/usr/bin/{name}" for name in PROGRAMS},
    container_engine="docker 28.2.2",
    gpus=("NVIDIA L4",),
    tensorflow_cuda=True,
    codecs={"RLE Lossless": True, "JPEG 2000": True},
    runner="direct",
    runner_lacks=(),
    key_variable="BREAST_DENSITY_HASH_KEY",
    own_key=True,
    key_problem="",
)


def faults(**changes: Any) -> dict[str, Check]:
    checks = check_machine(dataclasses.replace(WHOLE, **changes))
    return {check.subject: check for check in checks if not check.good}


def test_nothing_to_do_on_a_whole_machine() -> None:
    checks = check_machine(WHOLE)
    assert all(check.good and not check.advice for check in checks)


def test_what_every_run_needs() -> None:
    old = faults(glibc=(2, 27), packages={**WHOLE.packages, "tfx": "1.15.0", "keras": None}, memory_bytes=2 << 30)
    assert set(old) == {"glibc", "tfx", "keras", "memory"}
    assert all(check.needed for check in old.values())
    assert old["glibc"].advice == "TFX 1.16.0 needs glibc 2.28 or newer: use Debian, Ubuntu or a container with it"
    assert (old["keras"].found, old["keras"].advice) == (
        "missing",
        "run make setup: it installs the versions of uv.lock",
    )
    assert old["memory"].found == "2.0 GiB"
    assert faults(python=(3, 14, 0)).keys() == {"Python"}
    assert faults(system="Darwin arm64", glibc=None).keys() == {"system", "glibc"}


def test_where_a_run_writes() -> None:
    full = faults(free_bytes=300 << 20, can_write=False)
    assert {name: check.needed for name, check in full.items()} == {"free disk": True, "output folder": True}
    assert full["free disk"].found == "0.3 GiB"


def test_a_key_is_missing_or_cannot_be_used() -> None:
    lacking = faults(own_key=False)["key of identifiers"]
    assert "export BREAST_DENSITY_HASH_KEY_FILE=" in lacking.advice
    assert not lacking.needed
    short = faults(own_key=False, key_problem="X holds a key of 5 bytes: make one.")["key of identifiers"]
    assert (short.found, short.advice, short.needed) == ("cannot be used", "X holds a key of 5 bytes: make one", True)


def settings(output: Path, **values: Any) -> RunConfig:
    return RunConfig.model_validate({"output": output, **values})


def test_the_machine_is_asked_for_the_key_that_ingest_will_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BREAST_DENSITY_HASH_KEY", "s" * 32)
    machine = look_at_machine(settings(tmp_path))
    assert (machine.own_key, machine.key_problem) == (True, "")
    assert "sss" not in str(machine)
    monkeypatch.setenv("BREAST_DENSITY_HASH_KEY", "short")
    assert "holds a key of 5 bytes" in look_at_machine(settings(tmp_path)).key_problem


def test_the_runner_that_is_configured_is_looked_at_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    direct = look_at_machine(settings(tmp_path))
    [check] = [check for check in check_machine(direct) if check.subject == "Beam's runner direct"]
    assert (check.good, check.found) == (True, "needs nothing; Flink, Spark and Dataflow are not used")

    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    master = "spark://127.0.0.1:1"
    spark = look_at_machine(settings(tmp_path, beam={"runner": "spark", "master": master}))
    [check] = [check for check in check_machine(spark) if check.subject == "Beam's runner spark"]
    assert not check.good
    assert check.needed
    assert "Spark needs Java, and it is not installed. Install Java" in check.advice
    assert "The Spark master at 127.0.0.1:1 cannot be reached" in check.advice
    lines = advice_lines(check_machine(spark))
    assert sum(line.startswith("- Beam's runner spark: ") for line in lines) == len(spark.runner_lacks)

    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        flink: dict[str, object] = {"runner": "portable", "job_endpoint": address, "worker_pool": "127.0.0.1:1"}
        flink["flink"] = {"master": "127.0.0.1:1", "version": "2.0"}
        answers = look_at_machine(settings(tmp_path, beam=flink))
    assert answers.runner_lacks == ()
    assert f"Beam's job server at {address}" in look_at_machine(settings(tmp_path, beam=flink)).runner_lacks[0]


@pytest.mark.parametrize("minor", [11, 12, 13])
def test_python_3_11_to_3_13_are_the_current_lane(minor: int) -> None:
    packages = {**WHOLE.packages, "tfx": "1.21.0"}
    assert faults(python=(3, minor, 0), packages=packages, glibc=(2, 41)) == {}
    assert faults(python=(3, minor, 0), packages=packages).keys() == {"glibc"}
    assert faults(python=(3, minor, 0), glibc=(2, 41)).keys() == {"tfx"}


def test_what_single_tasks_need() -> None:
    bare = faults(
        programs=dict.fromkeys(PROGRAMS),
        container_engine=None,
        gpus=(),
        own_key=False,
        codecs={**WHOLE.codecs, "JPEG 2000": False},
    )
    assert {check.subject: check.task for check in bare.values()} == {
        "DICOM decoders": "run",
        "key of identifiers": "real archives",
        "GPU": "fast training",
        "tensorflow_model_server": "serving",
        "container engine": "Kubeflow",
        "kubectl": "Kubeflow",
        "g++": "make setup",
    }
    assert not any(check.needed for check in bare.values())
    assert "JPEG 2000" in bare["DICOM decoders"].advice
    assert faults(tensorflow_cuda=False)["GPU"].advice.startswith("TensorFlow lacks CUDA")


@given(
    st.builds(
        Machine,
        system=st.text(),
        python=st.tuples(st.integers(2, 4), st.integers(0, 20), st.integers(0, 30)),
        glibc=st.none() | st.tuples(st.integers(1, 3), st.integers(0, 60)),
        cores=st.integers(1, 256),
        memory_bytes=st.integers(0, 1 << 45),
        free_bytes=st.integers(0, 1 << 60),
        packages=st.fixed_dictionaries({name: st.none() | st.text() for name in PACKAGES}),
        programs=st.fixed_dictionaries({name: st.none() | st.text(min_size=1) for name in PROGRAMS}),
        container_engine=st.none() | st.text(min_size=1),
        gpus=st.lists(st.text()).map(tuple),
        tensorflow_cuda=st.booleans(),
        codecs=st.dictionaries(st.text(), st.booleans()),
        can_write=st.booleans(),
        runner=st.sampled_from(["flink", "spark", "dataflow"]),
        runner_lacks=st.lists(st.text(min_size=2)).map(tuple),
        key_variable=st.text(min_size=1),
        own_key=st.booleans(),
        key_problem=st.text(min_size=2),
    )
)
def test_whatever_is_missing_has_an_advice(machine: Machine) -> None:
    assert all(check.good or check.advice for check in check_machine(machine))


def test_this_machine_can_run_the_tests(tmp_path: Path) -> None:
    machine = look_at_machine(settings(tmp_path / "not" / "yet"))
    assert machine.packages["tfx"] is not None
    assert machine.free_bytes > 0
    assert all(machine.codecs.values())
    assert [check.subject for check in check_machine(machine) if check.needed and not check.good] == []


def test_what_to_do_stands_on_lines_that_can_be_copied() -> None:
    assert advice_lines(check_machine(WHOLE)) == ["The pipeline can run here."]
    machine = dataclasses.replace(WHOLE, own_key=False, memory_bytes=2 << 30)
    head, memory, key, sentence = advice_lines(check_machine(machine))
    assert (head, sentence) == ("What to do:", "The pipeline cannot run here yet: memory.")
    assert memory.startswith("- memory: a small run needs at least 6 GiB")
    assert key.startswith("- key of identifiers: ")
    assert key.endswith("&& export BREAST_DENSITY_HASH_KEY_FILE=$PWD/key")
