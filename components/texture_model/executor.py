"""TFX executor of TextureModel."""

from __future__ import annotations

import json
import os
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.common.progress import advance, expect
from components.common.shards import read_shard, shards_of, write_bytes, write_text
from components.texture.arrays import TEXTURE_FILE, write_arrays
from components.texture.config import TextureConfig
from components.texture.fitting import fit_texture_model
from components.texture.measuring import measure_split
from components.texture_model.summary import SUMMARY_FILE, summarise


class Executor(base_executor.BaseExecutor):
    """Measures the train split and fits the texture model."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Read the split ``train``, and write ``texture_model``: the arrays and a summary of the features.

        Raises:
            TextureFitError: The split has views of fewer than two classes.
        """
        folder = artifact_utils.get_split_uri(input_dict["examples"], "train")
        config = TextureConfig.model_validate_json(exec_properties["config"])
        expect(sum(1 for shard in shards_of(folder) for _ in read_shard(shard)), "views")
        arrays = fit_texture_model(measure_split(folder, config.side, advance), config)
        out = artifact_utils.get_single_uri(output_dict["texture_model"])
        write_bytes(os.path.join(out, TEXTURE_FILE), write_arrays(arrays))
        write_text(os.path.join(out, SUMMARY_FILE), json.dumps(summarise(arrays), indent=1))
