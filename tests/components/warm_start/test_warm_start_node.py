"""The WarmStart node passes the latest pushed model to the Trainers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.warm_start.executor import Executor


def base_model(serving: Path, folder: Path) -> Any:
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder)
    Executor().Do({}, {"base_model": [artifact]}, {"serving_dir": str(serving)})
    return artifact


def test_the_latest_version_or_nothing(tmp_path: Path) -> None:
    nothing = base_model(tmp_path / "serving", tmp_path / "first")
    assert not Path(path_utils.serving_model_path(nothing.uri)).exists()
    for version in ("1", "2"):
        (tmp_path / "serving" / version).mkdir(parents=True)
        (tmp_path / "serving" / version / "saved_model.pb").write_text(version)
    found = base_model(tmp_path / "serving", tmp_path / "second")
    assert Path(path_utils.serving_model_path(found.uri), "saved_model.pb").read_text() == "2"
