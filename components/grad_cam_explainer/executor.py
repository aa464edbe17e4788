"""TFX executor of GradCamExplainer; ``explain_pipeline`` does the work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.common.progress import expect
from components.common.shards import read_shard, shards_of
from components.common.stages import LostRecordsError
from components.exam_model.heat_source import HeatMapConfig
from components.grad_cam_explainer.config import ExplainerConfig
from components.grad_cam_explainer.explain_pipeline import NetworkFiles, explain
from components.grad_cam_explainer.view_shards import ExplainTask
from components.trainer import NETWORK_FILE
from components.transform.config import ImageConfig
from schema.features import VIEWS


def shard_tasks(shards: Sequence[str], maximum_views: int | None) -> list[ExplainTask]:
    """Return one task per shard with the number of its views to explain: the first ones, up to the maximum."""
    tasks: list[ExplainTask] = []
    left = maximum_views
    for path in shards:
        count = sum(1 for _ in read_shard(path))
        views = count if left is None else min(left, count)
        left = None if left is None else left - views
        if views:
            tasks.append(ExplainTask(len(tasks), path, views))
    return tasks


def _network_files(input_dict: dict[str, list[types.Artifact]]) -> dict[str, str]:
    folders = {view: artifact_utils.get_single_uri(input_dict[view]) for view in VIEWS if input_dict.get(view)}
    return {view: os.path.join(path_utils.serving_model_path(uri), NETWORK_FILE) for view, uri in folders.items()}


class Executor(base_beam_executor.BaseBeamExecutor):
    """Explains the test split."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the artifact ``explanations``.

        Raises:
            LostRecordsError: The Beam pipeline lost views.
        """
        config = ExplainerConfig.model_validate_json(exec_properties["config"])
        out = artifact_utils.get_single_uri(output_dict["explanations"])
        shards = shards_of(artifact_utils.get_split_uri(input_dict["examples"], "test"))
        tasks = shard_tasks(shards, config.maximum_views)
        networks = NetworkFiles(
            _network_files(input_dict),
            ImageConfig.model_validate_json(exec_properties["image"]),
            mirrored=bool(exec_properties["mirrored"]),
            heat_map=HeatMapConfig.model_validate_json(exec_properties["heat_map"]),
        )
        expect(sum(task.views for task in tasks), "views")
        with self._make_beam_pipeline() as pipeline:
            model = path_utils.serving_model_path(artifact_utils.get_single_uri(input_dict["model"]))
            explain(pipeline, tasks, model, networks, config, out)
        if not tf.io.gfile.exists(os.path.join(out, "summary.json")):
            raise LostRecordsError("Beam ended without explanations; run the pipeline again with another runner.")
