"""TFX executor of WarmStart."""

from __future__ import annotations

from typing import Any

from tfx import types

from components.pushed_models import executor
from components.reference_model import REFERENCE, reference_folder


class Executor(executor.Executor):
    """Copies the latest pushed model, or the reference model."""

    def Do(  # noqa: N802 - TFX's name
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the only output artifact; see `executor.Executor`."""
        if exec_properties["serving_dir"] == REFERENCE:
            exec_properties = exec_properties | {"serving_dir": str(reference_folder())}
        super().Do(input_dict, output_dict, exec_properties)
