"""TFX executor of the Pusher: TFX's rules of blessing; the pushed model is whole and its contract has metrics."""

from __future__ import annotations

import json
import os
import time
from typing import Any

from tfx import types
from tfx.components.pusher import executor as pusher_executor
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import io_utils

from components.common.shards import read_bytes
from components.evaluator import METRICS_FILE
from components.exam_model.contract import CONTRACT_FILE, write_contract
from components.exam_model.saved_model import check_contract, load_contract
from components.pusher.push import copy_model, push_version, with_evaluation


def _explanations_pass(input_dict: dict[str, list[types.Artifact]]) -> bool:
    """Read the verdict of GradCamExplainer."""
    folder = artifact_utils.get_single_uri(input_dict["explanations"])
    return bool(json.loads(io_utils.read_string_file(os.path.join(folder, "summary.json")))["passed"])


def _contract(model: str, evaluation: str) -> bytes:
    """Return the contract of the model with its metrics."""
    contract = load_contract(model)
    check_contract(contract, model)
    return write_contract(with_evaluation(contract, read_bytes(os.path.join(evaluation, METRICS_FILE))))


class Executor(pusher_executor.Executor):
    """Pushes a blessed model."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write a version, or mark the model as not pushed.

        Raises:
            ContractError: The contract or the evaluation is of another model.
        """
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict) or not _explanations_pass(input_dict):
            self._MarkNotPushed(pushed)
            return
        model = self.GetModelPath(input_dict)
        evaluation = artifact_utils.get_single_uri(input_dict[standard_component_specs.EVALUATION_KEY])
        replaced = {CONTRACT_FILE: _contract(model, evaluation)}
        target = push_version(model, exec_properties["serving_dir"], int(time.time()), replaced)
        copy_model(model, pushed.uri, replaced)
        self._MarkPushed(pushed, pushed_destination=target, pushed_version=os.path.basename(target))
