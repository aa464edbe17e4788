"""Client of a served model: exams in, grades and heat maps out, by gRPC or from a SavedModel in this process.

`ExamClient` talks to TensorFlow Serving or to the local server, `LocalModel` runs the SavedModel itself; both
are a `Grader`. Images are preprocessed views: PNG, 8-bit grey. The heavy imports (TensorFlow, also behind the
protos) wait until the first call.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Protocol

import grpc
import numpy as np

from components.common.png import encode_png
from schema.features import DENSITY_CLASSES, VIEWS, laterality_of

if TYPE_CHECKING:
    from serving.server.model import LoadedModel

DEFAULT_MODEL_NAME: Final = "breast_density"
_MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024
# What TensorFlow wraps around the reason: the text of an assertion of the graph, the node that failed.
_ASSERTION: Final = re.compile(r"assertion failed: \[([^\]]*)\]")
_GRAPH_NODE: Final = re.compile(r"\s*\[\[\{\{node .*", re.S)
_BLANK_SIDE: Final = 32  # pixels
_FULL_QUEUE: Final = "batch scheduling queue"  # of BatchFunction in the model's graph
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"

Probabilities = tuple[float, float, float, float]


class ServingError(Exception):
    """A model server or SavedModel gave no grade. One sentence with the way out."""


class ServerUnreachableError(ServingError):
    """No server answers, or not in time."""


class ModelNotFoundError(ServingError):
    """There is no such model, or it lacks the signatures of this product."""


class InvalidExamError(ServingError):
    """The images or the target class are not what the model takes."""


class ServerBusyError(ServingError):
    """The server has too many requests waiting; it takes this one later."""


class NotGradedError(ServingError):
    """The exam has fewer views than the model is configured to grade."""


@dataclass(frozen=True)
class ExamGrade:
    """What the model says of an exam.

    Attributes:
        density: BI-RADS density class, one of `DENSITY_CLASSES`.
        probabilities: Of each class, in the order of `DENSITY_CLASSES`; calibrated.
        raw: The same before calibration: the mean of the views.
        right: The same of the right breast alone, calibrated; ``None`` where no right view was given.
        left: The same of the left breast alone, ``None`` where no left view was given.
        views: Views used, in the order of `VIEWS`.
    """

    density: str
    probabilities: Probabilities
    raw: Probabilities
    right: Probabilities | None
    left: Probabilities | None
    views: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class ViewExplanation:
    """What the model says of one view, and where it looked.

    Attributes:
        density: BI-RADS density class of this view.
        probabilities: Of each class, in the order of `DENSITY_CLASSES`.
        heatmap: Grad-CAM, float32 [H, W], 0..1.
        overlay_png: Heat map over the image, PNG.
    """

    density: str
    probabilities: Probabilities
    heatmap: np.ndarray
    overlay_png: bytes


@dataclass(frozen=True, eq=False)
class ExplainedExam:
    """An exam's grade with the explanation of each view, from one pass through the networks.

    Attributes:
        grade: What the model says of the exam.
        views: What it says of each view, in the order of `VIEWS`.
        model_version: Version of the model that answered.
        preprocessing: Recipe that this version's images must come from, see `_SignatureGrader.preprocessing`.
    """

    grade: ExamGrade
    views: dict[str, ViewExplanation]
    model_version: int
    preprocessing: str


class Grader(Protocol):
    """Grades exams and explains views."""

    def predict_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExamGrade:
        """Grades one exam; see `ExamClient`."""
        ...

    def gradcam(self, images: Mapping[str, bytes], target_class: str | None = None) -> dict[str, ViewExplanation]:
        """Explains each view; see `ExamClient`."""
        ...

    def explain_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExplainedExam:
        """Grades one exam and explains its views; see `ExamClient`."""
        ...

    def preprocessing(self) -> str:
        """Asks the model for its recipe; see `ExamClient`."""
        ...


def _checked_views(images: Mapping[str, bytes]) -> list[str]:
    if not images:
        raise InvalidExamError("The exam has no image: give at least one view of " + ", ".join(VIEWS) + ".")
    for view, image in images.items():
        if view not in VIEWS:
            raise InvalidExamError(f"Unknown view {view!r}: name views " + ", ".join(VIEWS) + ".")
        if not image.startswith(_PNG_START):
            raise InvalidExamError(f"The image of view {view} is no PNG: preprocess the exam first.")
    return [view for view in VIEWS if view in images]


def _strings(values: list[str] | list[bytes]) -> np.ndarray:
    array = np.empty(len(values), dtype=object)
    array[:] = [value if isinstance(value, bytes) else value.encode() for value in values]
    return array


def _explanations(outputs: Mapping[str, np.ndarray], views: list[str], prefix: str = "") -> dict[str, ViewExplanation]:
    """Reads the outputs of a row a view; ``prefix`` is that of the view's grade."""
    return {
        view: ViewExplanation(
            density=outputs[f"{prefix}density"][row].decode(),
            probabilities=_four(outputs[f"{prefix}probabilities"][row]),
            heatmap=outputs["heatmap"][row],
            overlay_png=outputs["overlay_png_bytes"][row],
        )
        for row, view in enumerate(views)
    }


def _four(row: np.ndarray) -> Probabilities:
    a, b, c, d = (float(value) for value in row)
    return a, b, c, d


def _grade_of(outputs: dict[str, np.ndarray], views: list[str]) -> ExamGrade:
    # Models of before calibration give neither a reason nor raw probabilities: theirs are raw.
    if "reason" in outputs and (reason := outputs["reason"][0].decode()):
        raise NotGradedError(reason)
    sides = {laterality_of(view) for view in views}
    return ExamGrade(
        density=outputs["density"][0].decode(),
        probabilities=_four(outputs["probabilities"][0]),
        raw=_four(outputs.get("raw_probabilities", outputs["probabilities"])[0]),
        right=_four(outputs["right_probabilities"][0]) if "R" in sides else None,
        left=_four(outputs["left_probabilities"][0]) if "L" in sides else None,
        views=tuple(views),
    )


class _SignatureGrader(ABC):
    """The grading signatures over whatever runs them."""

    @abstractmethod
    def _run_version(self, signature: str, inputs: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
        """Runs a signature and tells which version answered; raises `ServingError`."""

    def _run(self, signature: str, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._run_version(signature, inputs)[0]

    def predict_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExamGrade:
        """Grades one exam.

        Args:
            images: PNG bytes of each preprocessed view, by view name; one to four views.
            exam_id: Groups the views; the server keeps and logs no identifier.

        Returns:
            The grade; of an exam that lacks a view, from the mean of those that are there.

        Raises:
            NotGradedError: The model wants more views; the message says how many.
            ServingError: With another of its subclasses saying whether server, model or exam is at fault.
        """
        views = _checked_views(images)
        outputs = self._run(
            "predict_exam",
            {
                "image_bytes": _strings([images[view] for view in views]),
                "view": _strings(views),
                "exam_id": _strings([exam_id] * len(views)),
            },
        )
        return _grade_of(outputs, views)

    def explain_exam(self, images: Mapping[str, bytes], exam_id: str = "exam") -> ExplainedExam:
        """Grades one exam and explains each of its views.

        Args:
            images: PNG bytes of each preprocessed view, by view name; one to four views.
            exam_id: Groups the views; the server keeps and logs no identifier.

        Returns:
            Grade and explanations.

        Raises:
            NotGradedError: The model wants more views; the message says how many.
            ServingError: With another of its subclasses saying whether server, model or exam is at fault.
        """
        views = _checked_views(images)
        outputs, version = self._run_version(
            "explain_exam",
            {
                "image_bytes": _strings([images[view] for view in views]),
                "view": _strings(views),
                "exam_id": _strings([exam_id] * len(views)),
                "target_class": _strings([""] * len(views)),
            },
        )
        explanations = _explanations(outputs, views, "view_")
        return ExplainedExam(_grade_of(outputs, views), explanations, version, outputs["preprocessing"][0].decode())

    def preprocessing(self) -> str:
        """Asks the model which preprocessing its images must come from.

        Returns:
            JSON of `serving.preprocessing.PreprocessingRecipe`.

        Raises:
            ServingError: With one of its subclasses saying whether server or model is at fault.
        """
        blank = encode_png(np.zeros((_BLANK_SIDE, _BLANK_SIDE), np.uint8))
        outputs = self._run(
            "predict_exam",
            {"image_bytes": _strings([blank]), "view": _strings([VIEWS[0]]), "exam_id": _strings(["blank"])},
        )
        if "preprocessing" not in outputs:
            raise ModelNotFoundError("The model carries no preprocessing recipe: push it again with this version.")
        return outputs["preprocessing"][0].decode()

    def gradcam(self, images: Mapping[str, bytes], target_class: str | None = None) -> dict[str, ViewExplanation]:
        """Explains each view by Grad-CAM.

        Args:
            images: PNG bytes of each preprocessed view, by view name.
            target_class: Class to explain; ``None`` is the class predicted for the view.

        Returns:
            Explanation by view, in the order of `VIEWS`.

        Raises:
            ServingError: With one of its subclasses saying whether server, model or exam is at fault.
        """
        views = _checked_views(images)
        if target_class is not None and target_class not in DENSITY_CLASSES:
            raise InvalidExamError(
                f"Unknown density class {target_class!r}: the target class is one of "
                + ", ".join(DENSITY_CLASSES)
                + "."
            )
        outputs = self._run(
            "gradcam",
            {
                "image_bytes": _strings([images[view] for view in views]),
                "view": _strings(views),
                "target_class": _strings([target_class or ""] * len(views)),
            },
        )
        return _explanations(outputs, views)


def open_channel(address: str, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    """Opens a channel to a model server; ``credentials`` are those of TLS, ``None`` is plain text."""
    options = [
        ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
        ("grpc.enable_http_proxy", 0),  # images of patients stay inside the network
    ]
    if credentials is None:
        return grpc.insecure_channel(address, options)
    return grpc.secure_channel(address, credentials, options)


class ExamClient(_SignatureGrader):
    """Grades exams through a model server's gRPC. Threads may share it; close it, or use it in ``with``."""

    def __init__(
        self,
        address: str,
        model_name: str = DEFAULT_MODEL_NAME,
        timeout_s: float = 60.0,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        """Prepares a client; nothing is sent before the first call.

        Args:
            address: ``host:port`` of the server's gRPC.
            model_name: Name the model is served under.
            timeout_s: Longest wait for an answer, s.
            credentials: TLS towards the server; ``None`` is plain text.
        """
        self.address = address
        self.model_name = model_name
        self.timeout_s = timeout_s
        self._channel = open_channel(address, credentials)

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __enter__(self) -> ExamClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run_version(self, signature: str, inputs: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

        from serving.server.tensors import to_array, to_proto

        request = predict_pb2.PredictRequest()
        request.model_spec.name = self.model_name
        request.model_spec.signature_name = signature
        for name, array in inputs.items():
            request.inputs[name].CopyFrom(to_proto(array))
        stub = prediction_service_pb2_grpc.PredictionServiceStub(self._channel)
        try:
            response = stub.Predict(request, timeout=self.timeout_s)
        except grpc.RpcError as error:
            raise self._translated(error) from error
        outputs = {name: to_array(name, proto) for name, proto in response.outputs.items()}
        return outputs, response.model_spec.version.value

    def _translated(self, error: Any) -> ServingError:
        code, details = error.code(), (error.details() or "").strip()
        if code == grpc.StatusCode.UNAVAILABLE and _FULL_QUEUE in details:
            return ServerBusyError(f"The model at {self.address} has too many images waiting: try again later.")
        if code == grpc.StatusCode.UNAVAILABLE:
            return ServerUnreachableError(
                f"No model server answers at {self.address}: start one with "
                "`breast-density serve MODEL_DIR`, or give the address of one that runs."
            )
        if code == grpc.StatusCode.DEADLINE_EXCEEDED:
            return ServerUnreachableError(
                f"The model server at {self.address} did not answer within {self.timeout_s:g} s: "
                "try again when it is less busy, or allow more time."
            )
        if code == grpc.StatusCode.NOT_FOUND:
            return ModelNotFoundError(
                f"The server at {self.address} serves no model named {self.model_name!r}: "
                "give the name it was started with."
            )
        if code == grpc.StatusCode.FAILED_PRECONDITION:
            return _lacks_signature(f"The model {self.model_name!r} at {self.address}", details)
        if code == grpc.StatusCode.INVALID_ARGUMENT:
            return _refused(details)
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" not in details:
            return ServerBusyError(f"The model server at {self.address} is busy ({details}): try again later.")
        if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
            return InvalidExamError(
                f"The exam's images are larger than the server at {self.address} takes: "
                "send fewer views at once, or preprocess to the model's input size."
            )
        return ServingError(
            f"The model server at {self.address} failed ({code.name}: {details}): see the server's log."
        )


class LocalModel(_SignatureGrader):
    """Grades exams with a SavedModel in this process."""

    def __init__(self, model_dir: Path | str) -> None:
        """Finds a model; it is loaded by the first call.

        Args:
            model_dir: Folder of version folders (the newest is taken), or a SavedModel itself.

        Raises:
            ModelNotFoundError: There is no SavedModel.
        """
        from serving.server.versions import find_versions

        folders = find_versions(Path(model_dir))
        if not folders:
            raise ModelNotFoundError(
                f"{model_dir} holds no model (no saved_model.pb in it or in a folder named by a number): "
                "give a SavedModel, or the folder the Pusher writes versions to."
            )
        self.version = max(folders)
        self._folder = folders[self.version]
        self._model: LoadedModel | None = None

    def _run_version(self, signature: str, inputs: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], int]:
        from serving.server.errors import ModelLoadError, StatusError
        from serving.server.model import LoadedModel

        if self._model is None:
            try:
                self._model = LoadedModel(self._folder, self.version)
            except ModelLoadError as error:
                raise ModelNotFoundError(
                    f"{self._folder} cannot be loaded as a SavedModel ({error}): push the model again."
                ) from error
        try:
            return self._model.predict(signature, inputs), self.version
        except StatusError as error:
            if error.code == grpc.StatusCode.FAILED_PRECONDITION:
                raise _lacks_signature(f"The model in {self._folder}", error.message) from error
            if error.code == grpc.StatusCode.INVALID_ARGUMENT:
                raise _refused(error.message) from error
            if error.code == grpc.StatusCode.UNAVAILABLE and _FULL_QUEUE in error.message:
                raise ServerBusyError(f"The model in {self._folder} has too many images waiting: try again.") from error
            raise ServingError(f"The model in {self._folder} failed ({error.code.name}: {error.message}).") from error


def _lacks_signature(which: str, details: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"{which} lacks a signature of this product ({details}): serve a model that this pipeline pushed."
    )


def _refused(details: str) -> InvalidExamError:
    asserted = _ASSERTION.search(details)
    reason = asserted[1] if asserted else " ".join(_GRAPH_NODE.sub("", details).split())
    return InvalidExamError(
        f"The model refused the exam ({reason.rstrip('.')}): send preprocessed views as 8-bit grey PNG, "
        "each under its own view name."
    )
