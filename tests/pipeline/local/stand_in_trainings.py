"""A node that stands in for a Trainer: it writes its process, meets another one, fails or dies."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts

from components.common.progress import advance, expect
from tests.waiting import HANG


class UnsendableError(Exception):
    """An error that cannot be made from its message alone, so that pickle cannot bring it back."""

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what}: {why}")


class Executor(base_executor.BaseExecutor):
    """Does what its parameter says."""

    def Do(self, inputs: Any, outputs: Any, parameters: dict[str, Any]) -> None:  # noqa: N802 - TFX's name
        expect(2, "epochs")
        advance(2, "loss 0.5")
        does, folder = parameters["does"], Path(parameters["folder"])
        if does == "fail":
            raise UnsendableError("No loss", "the images are blank")
        if does == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        name = self._context.pipeline_node.node_info.id
        (folder / name).write_text(str(os.getpid()))
        limit = time.monotonic() + HANG
        while does == "meet" and len(list(folder.iterdir())) < 2:
            assert time.monotonic() < limit, "nobody came"
            time.sleep(0.01)
        Path(artifact_utils.get_single_uri(outputs["model"]), "weights").write_text(f"weights of {name}")


class Spec(component_spec.ComponentSpec):
    PARAMETERS = {
        "does": component_spec.ExecutionParameter(type=str),
        "folder": component_spec.ExecutionParameter(type=str),
    }
    INPUTS = {"before": component_spec.ChannelParameter(type=standard_artifacts.Model, optional=True)}
    OUTPUTS = {"model": component_spec.ChannelParameter(type=standard_artifacts.Model)}


class StandIn(base_component.BaseComponent):
    SPEC_CLASS = Spec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)


def stand_in(name: str, does: str, folder: Path, before: types.BaseChannel | None = None) -> StandIn:
    """Makes a node."""
    model = types.Channel(type=standard_artifacts.Model)
    return StandIn(Spec(does=does, folder=str(folder), before=before, model=model)).with_id(name)
