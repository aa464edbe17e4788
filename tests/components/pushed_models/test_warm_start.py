"""WarmStart hands on the latest pushed model, or the reference model."""

from __future__ import annotations

from pathlib import Path

import pytest
from tfx.types import Channel, standard_artifacts
from tfx.utils import path_utils

from components.exam_model.versions import find_versions
from components.pushed_models.component import WarmStart
from components.pushed_models.warm_start import Executor
from components.reference_model import reference_folder
from components.trainer.config import TrainConfig


@pytest.mark.parametrize("start", ["latest", "reference"])
def test_the_model_that_the_trainers_start_from(start: str, tmp_path: Path) -> None:
    pushed = tmp_path / "serving" / "7"
    pushed.mkdir(parents=True)
    (pushed / "saved_model.pb").write_text("pushed")
    config = TrainConfig.model_validate({"warm_start": start})
    node = WarmStart(Channel(type=standard_artifacts.TransformGraph), str(tmp_path / "serving"), config)
    model = standard_artifacts.Model()
    model.uri = str(tmp_path / "model")
    Executor().Do({}, {"base_model": [model]}, dict(node.exec_properties))
    [reference] = find_versions(reference_folder()).values()
    source = reference if start == "reference" else pushed
    found = Path(path_utils.serving_model_path(model.uri), "saved_model.pb")
    assert found.read_bytes() == (source / "saved_model.pb").read_bytes()
