"""TFX executor of InfraCheck."""

from __future__ import annotations

import json
import os
from typing import Any, Final

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.common.progress import advance, expect
from components.common.shards import write_text
from components.common.views import View, read_views
from schema.features import VIEWS
from serving.infra_check.check import check_model

INFRA_FILE: Final = "infra.json"


class Executor(base_executor.BaseExecutor):
    """Checks that the exam model serves."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write ``blessing`` with ``infra.json``."""
        del exec_properties
        expect(1, "models")
        by_name: dict[str, View] = {}
        for view in read_views(artifact_utils.get_split_uri(input_dict["examples"], "test")):
            by_name.setdefault(view.view, view)
            if len(by_name) == len(VIEWS):
                break
        model = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"]))
        result = check_model(model, list(by_name.values()))
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        write_text(os.path.join(blessing.uri, INFRA_FILE), json.dumps(result, indent=1))
        blessing.set_int_custom_property("blessed", int(result["passed"]))
        write_text(os.path.join(blessing.uri, "INFRA_BLESSED" if result["passed"] else "INFRA_NOT_BLESSED"), "")
        advance()
