"""A SavedModel in this process, with the interface of a model server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from numpy.typing import NDArray

from serving.client.grader import FULL_QUEUE, Grader, lacks_signature, refused_by_model
from serving.client.grades import ModelNotFoundError, ServerBusyError, ServingError

if TYPE_CHECKING:
    from serving.server.model import LoadedModel
    from serving.wire.tensors import Answer


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

    def run(self, signature: str, inputs: Mapping[str, NDArray[Any]]) -> Answer:
        """Run a signature in this process, see `Grader.run`."""
        from serving.server.model import LoadedModel
        from serving.wire.errors import ModelLoadError, StatusError
        from serving.wire.tensors import Answer

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
