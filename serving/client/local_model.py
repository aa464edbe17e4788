"""A SavedModel in this process, with the interface of a model server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from numpy.typing import NDArray

from serving.client.grader import FULL_QUEUE, Grader, lacks_signature, refused_by_model
from serving.client.grades import ModelNotFoundError, ServerBusyError, ServingError
from serving.wire.prediction import Answer

if TYPE_CHECKING:
    from serving.server.model import LoadedModel


class LocalModel(Grader):
    """Grades exams with a SavedModel in this process."""

    def __init__(self, model_dir: Path | str) -> None:
        """Find a model; the first call loads it.

        Args:
            model_dir: Folder of version folders, of which the newest is used, or a SavedModel.

        Raises:
            ModelNotFoundError: The folder holds no SavedModel.
        """
        from components.exam_model.versions import find_versions

        folders = find_versions(Path(model_dir))
        if not folders:
            raise ModelNotFoundError(
                f"{model_dir} holds no model (no saved_model.pb in it or in a folder named by a number): "
                "give a SavedModel, or the folder to which the Pusher writes versions."
            )
        self.version = max(folders)
        self._folder = folders[self.version]
        self._model: LoadedModel | None = None

    def evaluation_warning(self) -> str:
        """Return what a user must know if the model was not blessed; empty if its contract has an evaluation.

        The Pusher adds the evaluation to the contract of a blessed model, and nothing else does. So a model without it
        was refused by the gates, or not evaluated yet.
        """
        from components.exam_model.contract import CONTRACT_FILE, ContractError, read_contract

        try:
            contract = read_contract((self._folder / CONTRACT_FILE).read_bytes())
        except FileNotFoundError:
            return "This model has no contract: nobody knows how it was evaluated. Do not rely on its grades."
        except (ContractError, OSError) as error:
            return f"The contract of this model cannot be read ({error}): nobody knows how it was evaluated."
        if contract.evaluation is None:
            return (
                "This model was refused by the gates, or never evaluated: its contract has no evaluation. Do not rely"
                " on its grades; use a version that the Pusher wrote."
            )
        return ""

    def run(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> Answer:
        """Run a signature in this process, see `Grader.run`."""
        from serving.server.model import LoadedModel
        from serving.wire.errors import ModelLoadError, StatusError

        if self._model is None:
            try:
                self._model = LoadedModel(self._folder, self.version)
            except ModelLoadError as error:
                raise ModelNotFoundError(
                    f"{self._folder} cannot be loaded as a SavedModel ({error}): push the model again."
                ) from error
        try:
            return Answer(self._model.predict(signature, inputs), self.version)
        except StatusError as error:
            if error.code == grpc.StatusCode.FAILED_PRECONDITION:
                raise lacks_signature(f"The model in {self._folder}", error.message) from error
            if error.code == grpc.StatusCode.INVALID_ARGUMENT:
                raise refused_by_model(error.message) from error
            if error.code == grpc.StatusCode.UNAVAILABLE and FULL_QUEUE in error.message:
                raise ServerBusyError(f"Too many images wait for the model in {self._folder}: try again.") from error
            raise ServingError(f"The model in {self._folder} failed ({error.code.name}: {error.message}).") from error
