"""What the local runner says and promises, without running a pipeline."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from components.common.progress import PROGRESS_FILE_VARIABLE, advance, expect, read_progress
from components.dicom_example_gen.plan.identity import HashKey
from pipeline.beam.config import FlinkBeam
from pipeline.beam.requirements import KEY_VARIABLE
from pipeline.config import RunConfig, find_config, load_config
from pipeline.local.run import is_served
from pipeline.local.runner import NodeError, build

_BEAM = """Traceback (most recent call last):
  File "worker.py", line 1, in process
    raise ValueError("the shard is torn")
ValueError: the shard is torn [while running 'Work-ptransform-1']
"""


@pytest.mark.parametrize(
    ("cause", "sentence"),
    [
        (RuntimeError(_BEAM), "Node N failed: ValueError: the shard is torn"),
        (ValueError("first line\nsecond line"), "Node N failed: first line"),
        (KeyError(), "Node N failed: KeyError"),
    ],
)
def test_a_failed_node_is_one_sentence(cause: Exception, sentence: str) -> None:
    assert str(NodeError("N", cause)) == sentence


def _config(tmp_path: Path, workers: int) -> RunConfig:
    (tmp_path / "archive").mkdir(exist_ok=True)
    (tmp_path / "labels.csv").write_text("exam_id,density\nE1,A\n", encoding="utf-8")
    paths = {
        "data.folder": str(tmp_path / "archive"),
        "data.labels": str(tmp_path / "labels.csv"),
        "output": str(tmp_path / "out"),
    }
    return load_config(find_config("demo"), [f"runner.workers={workers}"], paths)


def _key_id(config: RunConfig) -> str:
    [node] = [component for component in build(config).components if component.id == "DicomExampleGen"]
    return node.exec_properties["key_id"]


def test_another_hash_key_ingests_again_and_is_not_revealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = _config(tmp_path, 0)
    monkeypatch.delenv("BREAST_DENSITY_HASH_KEY", raising=False)
    public = _key_id(config)
    monkeypatch.setenv("BREAST_DENSITY_HASH_KEY", "a secret of this site")
    secret = _key_id(config)
    assert public != secret
    assert "secret" not in secret
    assert secret == HashKey(b"a secret of this site", False).key_id


def test_workers_elsewhere_get_absolute_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(KEY_VARIABLE, "a secret that nodes share with workers")
    with socket.create_server(("127.0.0.1", 0)) as server:
        beam = FlinkBeam(runner="flink", master=f"127.0.0.1:{server.getsockname()[1]}")
        built = build(_config(tmp_path, 0).model_copy(update={"beam": beam, "output": Path("out")}))
    assert f"--flink_scratch={tmp_path}/out/scratch" in built.beam_pipeline_args


@pytest.mark.parametrize("name", ["2024", "on", "a #1", "x: y", "[a]"])
def test_paths_that_look_like_yaml_stay_paths(tmp_path: Path, name: str) -> None:
    config = load_config(find_config("demo"), (), {"output": str(tmp_path / name)})
    assert config.output == tmp_path / name


def test_a_node_of_two_stages_counts_each_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PROGRESS_FILE_VARIABLE, str(tmp_path / "progress"))
    expect(3, "headers")
    advance(3)
    expect(2, "files")
    advance()
    progress = read_progress(tmp_path / "progress")
    assert (progress.done, progress.total, progress.unit) == (1, 2, "files")


def test_whatis_served_is_the_model_that_was_judged(tmp_path: Path) -> None:
    pushed, serving = tmp_path / "pushed", tmp_path / "serving"
    pushed.mkdir()
    (pushed / "fingerprint.pb").write_bytes(b"this model")
    assert not is_served(pushed, serving)
    for version, content in (("1", b"this model"), ("2", b"another model")):
        (serving / version).mkdir(parents=True)
        (serving / version / "saved_model.pb").touch()
        (serving / version / "fingerprint.pb").write_bytes(content)
        assert is_served(pushed, serving) == (version == "1")
