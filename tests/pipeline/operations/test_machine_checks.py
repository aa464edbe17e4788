"""What is missing on a machine, and how to get it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from pipeline.operations.checks import Check, check_machine
from pipeline.operations.checks_table import advice_lines
from pipeline.operations.machine import PACKAGES, PROGRAMS, Machine, look_at_machine

WHOLE = Machine(
    system="Linux x86_64",
    python=(3, 10, 13),
    glibc=(2, 36),
    cores=2,
    memory_bytes=24 << 30,
    free_bytes=100 << 30,
    packages=dict.fromkeys(PACKAGES, "1.16.0"),
    programs={name: f"/usr/bin/{name}" for name in PROGRAMS},
    container_engine="docker 28.2.2",
    gpus=("NVIDIA L4",),
    tensorflow_cuda=True,
    codecs={"RLE Lossless": True, "JPEG 2000": True},
    variables={"BREAST_DENSITY_HASH_KEY": "secret"},
)


def faults(**changes: object) -> dict[str, Check]:
    checks = check_machine(dataclasses.replace(WHOLE, **changes))
    return {check.subject: check for check in checks if not check.good}


def test_nothing_to_do_on_a_whole_machine() -> None:
    checks = check_machine(WHOLE)
    assert all(check.good and not check.advice for check in checks)
    assert "secret" not in str(checks)


def test_what_every_run_needs() -> None:
    old = faults(glibc=(2, 27), packages=WHOLE.packages | {"tfx": "1.15.0", "keras": None}, memory_bytes=2 << 30)
    assert set(old) == {"glibc", "tfx", "keras", "memory"}
    assert all(check.needed for check in old.values())
    assert old["glibc"].advice == "TFX 1.16.0 needs glibc 2.28 or newer: use Debian, Ubuntu or a container with it"
    assert (old["keras"].found, old["keras"].advice) == (
        "missing",
        "run make setup: it installs the versions of uv.lock",
    )
    assert old["memory"].found == "2.0 GiB"
    assert faults(python=(3, 12, 1)).keys() == {"Python"}
    assert faults(system="Darwin arm64", glibc=None).keys() == {"system", "glibc"}


def test_the_key_may_be_in_a_file() -> None:
    assert faults(variables={"BREAST_DENSITY_HASH_KEY_FILE": "/run/key"}) == {}
    lacking = faults(variables={})["key of identifiers"]
    assert "export BREAST_DENSITY_HASH_KEY_FILE=" in lacking.advice
    assert not lacking.needed


def test_python_3_11_is_the_other_lane() -> None:
    packages = WHOLE.packages | {"tfx": "1.21.0"}
    assert faults(python=(3, 11, 9), packages=packages, glibc=(2, 41)) == {}
    assert faults(python=(3, 11, 9), packages=packages).keys() == {"glibc"}


def test_what_single_tasks_need() -> None:
    bare = faults(
        programs=dict.fromkeys(PROGRAMS),
        container_engine=None,
        gpus=(),
        variables={},
        codecs=WHOLE.codecs | {"JPEG 2000": False},
    )
    assert {check.subject: check.task for check in bare.values()} == {
        "DICOM decoders": "run",
        "key of identifiers": "real archives",
        "GPU": "fast training",
        "tensorflow_model_server": "serving",
        "Java": "Flink, Spark",
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
        variables=st.dictionaries(st.text(), st.text()),
    )
)
def test_whatever_is_missing_has_an_advice(machine: Machine) -> None:
    assert all(check.good or check.advice for check in check_machine(machine))


def test_this_machine_can_run_the_tests(tmp_path: Path) -> None:
    machine = look_at_machine(tmp_path)
    assert machine.packages["tfx"] is not None
    assert machine.free_bytes > 0
    assert all(machine.codecs.values())
    assert [check.subject for check in check_machine(machine) if check.needed and not check.good] == []


def test_what_to_do_stands_on_lines_that_can_be_copied() -> None:
    assert advice_lines(check_machine(WHOLE)) == ["The pipeline can run here."]
    machine = dataclasses.replace(WHOLE, variables={}, memory_bytes=2 << 30)
    head, memory, key, sentence = advice_lines(check_machine(machine))
    assert (head, sentence) == ("What to do:", "The pipeline cannot run here yet: memory.")
    assert memory.startswith("- memory: 6 GiB are the least")
    assert key.startswith("- key of identifiers: ")
    assert key.endswith("&& export BREAST_DENSITY_HASH_KEY_FILE=$PWD/key")
