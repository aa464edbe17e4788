"""TFX executor of the Pusher: TFX's rules of blessing, with a push that is whole or not at all."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from tfx import types
from tfx.components.pusher import executor as pusher_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

from components.pusher.push import push_version


def _explanations_pass(input_dict: dict[str, list[types.Artifact]]) -> bool:
    """Reads the verdict of GradCamExplainer."""
    folder = artifact_utils.get_single_uri(input_dict["explanations"])
    return bool(json.loads(io_utils.read_string_file(os.path.join(folder, "summary.json")))["passed"])


class Executor(pusher_executor.Executor):
    """Pushes a blessed model."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes a version, or marks the model as not pushed."""
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict) or not _explanations_pass(input_dict):
            self._MarkNotPushed(pushed)
            return
        model = self.GetModelPath(input_dict)
        target = push_version(model, exec_properties["serving_dir"], int(time.time()))
        io_utils.copy_dir(model, pushed.uri)
        self._MarkPushed(pushed, pushed_destination=target, pushed_version=os.path.basename(target))
