"""BaselineModel and WarmStart hand on the latest pushed model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tfx.types import standard_artifacts
from tfx.utils import path_utils

from components.pushed_models.executor import Executor


def handed_on(output: str, serving: Path, folder: Path) -> Any:
    artifact = standard_artifacts.Model()
    artifact.uri = str(folder)
    Executor().Do({}, {output: [artifact]}, {"serving_dir": str(serving)})
    return artifact


@pytest.mark.parametrize("output", ["baseline_model", "base_model"])
def test_the_latest_version_or_nothing(output: str, tmp_path: Path) -> None:
    nothing = handed_on(output, tmp_path / "serving", tmp_path / "first")
    assert not Path(path_utils.serving_model_path(nothing.uri)).exists()
    for version in ("1", "2"):
        (tmp_path / "serving" / version).mkdir(parents=True)
        (tmp_path / "serving" / version / "saved_model.pb").write_text(version)
    found = handed_on(output, tmp_path / "serving", tmp_path / "second")
    assert Path(path_utils.serving_model_path(found.uri), "saved_model.pb").read_text() == "2"
