"""A version is pushed whole or not at all."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components.common.artifacts import Explanations
from components.pusher.executor import Executor
from components.pusher.push import push_version


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "artifact" / "Format-Serving"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_text("graph")
    (folder / "variables" / "variables.data").write_bytes(b"w" * 300_000)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_copy_is_whole_under_its_version(model: Path, tmp_path: Path) -> None:
    serving = tmp_path / "deep" / "serving"
    target = push_version(str(model), str(serving), 1700000000)
    assert target == str(serving / "1700000000")
    assert contents(Path(target)) == contents(model)
    assert [p.name for p in serving.iterdir()] == ["1700000000"]


def test_the_version_is_raised_above_the_newest(model: Path, tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    versions = [Path(push_version(str(model), str(serving), version)).name for version in (9, 9, 5, 100, 99)]
    assert versions == ["9", "10", "11", "100", "101"]


def test_a_failure_leaves_nothing_and_harms_no_version(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serving = tmp_path / "serving"
    push_version(str(model), str(serving), 1)
    copy, copied = tf.io.gfile.copy, []

    def failing(source: str, target: str, overwrite: bool = False) -> None:
        if copied:
            raise OSError("disk full")
        copied.append(target)
        copy(source, target, overwrite)

    monkeypatch.setattr(tf.io.gfile, "copy", failing)
    with pytest.raises(OSError, match="disk full"):
        push_version(str(model), str(serving), 2)
    assert copied, "it failed half way"
    assert [p.name for p in serving.iterdir()] == ["1"]


def test_whoever_watches_never_sees_half_a_version(model: Path, tmp_path: Path) -> None:
    serving = tmp_path / "serving"
    serving.mkdir()
    wanted, halves, stop = set(contents(model)), [], threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for folder in serving.iterdir():
                if folder.name.isdecimal() and set(contents(folder)) != wanted:
                    halves.append(folder.name)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for version in range(1, 15):
        push_version(str(model), str(serving), version)
    stop.set()
    watcher.join()
    assert halves == []


@pytest.mark.parametrize(
    ("blessed", "infra", "explained"),
    [
        (1, "INFRA_BLESSED", True),
        (0, "INFRA_BLESSED", True),
        (1, "INFRA_NOT_BLESSED", True),
        (1, "INFRA_BLESSED", False),
    ],
)
def test_only_a_model_that_passes_every_check_is_pushed(
    model: Path, tmp_path: Path, blessed: int, infra: str, explained: bool
) -> None:
    def artifact(kind: type, name: str) -> standard_artifacts.Model:
        made = kind()
        made.uri = str(tmp_path / name)
        Path(made.uri).mkdir(exist_ok=True)
        return made

    blessing = artifact(standard_artifacts.ModelBlessing, "blessing")
    blessing.set_int_custom_property("blessed", blessed)
    (Path(blessing.uri) / ("BLESSED" if blessed else "NOT_BLESSED")).touch()
    infra_blessing = artifact(standard_artifacts.InfraBlessing, "infra")
    infra_blessing.set_string_custom_property("blessed", infra)
    infra_blessing.set_int_custom_property("blessed", int(infra == "INFRA_BLESSED"))
    (Path(infra_blessing.uri) / infra).touch()
    explanations = artifact(Explanations, "explanations")
    (Path(explanations.uri) / "summary.json").write_text(json.dumps({"passed": explained}))
    pushed = artifact(standard_artifacts.PushedModel, "pushed")
    serving = tmp_path / "serving"
    Executor().Do(
        {
            "model": [artifact(standard_artifacts.Model, "artifact")],
            "model_blessing": [blessing],
            "infra_blessing": [infra_blessing],
            "explanations": [explanations],
        },
        {"pushed_model": [pushed]},
        {"serving_dir": str(serving), "code": "any"},
    )
    if blessed and explained and infra == "INFRA_BLESSED":
        (version,) = serving.iterdir()
        assert contents(version) == contents(model) == contents(Path(pushed.uri))
        assert pushed.get_string_custom_property("pushed_version") == version.name
    else:
        assert not serving.exists()
        assert pushed.get_int_custom_property("pushed") == 0
