"""One loaded version of the model: check inputs, call signatures, replay warm-up requests."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.core.protobuf import meta_graph_pb2, saved_model_pb2
from tensorflow_serving.apis import prediction_log_pb2

from components.exam_model.versions import SAVED_MODEL_FILE
from components.exam_model.warmup import WARMUP_FILE
from serving.server.tensors import to_array
from serving.wire.errors import ModelLoadError, StatusError, invalid_argument

DEFAULT_SIGNATURE: Final = "serving_default"
MAX_WARMUP_REQUESTS: Final = 1000
_SERVE_TAG: Final = "serve"
_GRPC_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}
# Eager execution adds this text to the message of a kernel. TensorFlow Serving returns only the message.
_EAGER_NOISE: Final = re.compile(r"\{\{function_node [^}]*\}\}\s*|\s*\[Op:[^\]]*\](?: name:.*)?$", re.S)
# Kernels that parse quote their input, such as a whole tf.Example with its identifiers.
_QUOTED_VALUE: Final = re.compile(r"(, value: ).*", re.S)
_STACK: Final = re.compile(r"^.*<stack traces unavailable>\n", re.S)


def _signature_defs(folder: Path) -> dict[str, meta_graph_pb2.SignatureDef]:
    saved = saved_model_pb2.SavedModel.FromString((folder / SAVED_MODEL_FILE).read_bytes())
    for graph in saved.meta_graphs:
        if _SERVE_TAG in graph.meta_info_def.tags:
            return dict(graph.signature_def)
    raise ValueError(f"no graph tagged {_SERVE_TAG!r}")


def _kernel_message(error: tf.errors.OpError) -> str:
    return _QUOTED_VALUE.sub(r"\1...", _EAGER_NOISE.sub("", _STACK.sub("", error.message))).strip()


def _type_name(dtype: tf.DType) -> str:
    result: str = {tf.float32: "float", tf.float64: "double"}.get(
        dtype, dtype.name
    )  # C++ names, as in messages of kernels
    return result


def _names(names: Sequence[str] | set[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


class LoadedModel:
    """A SavedModel in memory. Many threads may call `predict` at the same time.

    Attributes:
        version: Version number.
        signature_defs: Declared signatures of the SavedModel, by name.
    """

    def __init__(self, folder: Path, version: int) -> None:
        """Load a SavedModel.

        Args:
            folder: Folder with ``saved_model.pb``.
            version: Version number.

        Raises:
            ModelLoadError: TensorFlow cannot load it.
        """
        self.version = version
        try:
            self.signature_defs = _signature_defs(folder)
            # The whole model is held, because its signatures do not keep the variables alive.
            self._model: Any = tf.saved_model.load(str(folder), tags=[_SERVE_TAG])
        except Exception as error:  # TensorFlow raises many undocumented types here
            raise ModelLoadError(f"{type(error).__name__}: {error}") from error

    def signature(self, name: str) -> meta_graph_pb2.SignatureDef | None:
        """Return the declaration of a signature, ``None`` if it does not exist."""
        return self.signature_defs.get(name) if name in self._model.signatures else None

    def predict(
        self, signature_name: str, inputs: Mapping[str, NDArray[Any]], output_filter: Sequence[str] = ()
    ) -> dict[str, NDArray[Any]]:
        """Call a signature.

        Args:
            signature_name: Signature; empty is `DEFAULT_SIGNATURE`.
            inputs: Array by input name, with the types and shapes of the signature; strings are object arrays of bytes.
            output_filter: Names of the requested outputs; empty is all.

        Returns:
            Array by output name.

        Raises:
            StatusError: FAILED_PRECONDITION for an unknown signature; INVALID_ARGUMENT for wrong names, types or
                shapes, and if an assertion of the graph fails; otherwise the code of the kernel.
        """
        name = signature_name or DEFAULT_SIGNATURE
        signature = self.signature(name)
        if signature is None:
            raise StatusError(grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
        feeds = _checked_inputs(signature, inputs)
        wanted = _checked_outputs(signature, output_filter)
        try:
            outputs = self._model.signatures[name](**feeds)
        except tf.errors.OpError as error:
            code = _GRPC_CODES.get(error.error_code, grpc.StatusCode.INTERNAL)
            raise StatusError(code, _kernel_message(error)) from None
        return {alias: np.asarray(outputs[alias].numpy()) for alias in wanted}


def _checked_inputs(signature: meta_graph_pb2.SignatureDef, inputs: Mapping[str, NDArray[Any]]) -> dict[str, tf.Tensor]:
    sent, required = set(inputs), set(signature.inputs)
    missing = required - sent
    if len(sent) > len(required) or missing - set(signature.defaults) or sent - required:
        raise invalid_argument(
            f"input size does not match signature: {len(sent)}!={len(required)} "
            f"len({_names(sent)}) != len({_names(required)}). "
            f"Sent extra: {_names(sent - required)}. Missing but required: {_names(missing)}."
        )
    feeds = {}
    for position, alias in enumerate(sorted(required)):
        info = signature.inputs[alias]
        array = inputs[alias] if alias in inputs else to_array(alias, signature.defaults[alias])
        expected, provided = tf.as_dtype(info.dtype), tf.as_dtype(array.dtype)
        if provided != expected:
            raise invalid_argument(
                f"Expects arg[{position}] to be {_type_name(expected)} but {_type_name(provided)} is provided"
            )
        shape = tf.TensorShape(info.tensor_shape)
        if not shape.is_compatible_with(array.shape):
            raise invalid_argument(
                f"Input {alias} must have shape {_shape(shape.as_list())} but has shape {_shape(array.shape)}"
            )
        feeds[alias] = tf.constant(array, dtype=expected)
    return feeds


def _shape(sizes: Sequence[int | None]) -> str:
    return "[" + ",".join("?" if size is None else str(size) for size in sizes) + "]"


def _checked_outputs(signature: meta_graph_pb2.SignatureDef, output_filter: Sequence[str]) -> list[str]:
    available = set(signature.outputs)
    for position, alias in enumerate(output_filter):
        if alias not in available:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {_names(available)}."
            )
        if alias in output_filter[:position]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
    return list(output_filter) or sorted(available)


def warm_up(model: LoadedModel, folder: Path) -> int:
    """Replay the warm-up requests of a SavedModel, if it has any, so that the first real request needs no set-up.

    Args:
        model: The loaded model.
        folder: Its folder; the requests are a TFRecord file of PredictionLog in ``assets.extra``.

    Returns:
        Number of replayed Predict requests; requests of other kinds are skipped.

    Raises:
        ModelLoadError: The file cannot be read, or the model refuses a request. As in TensorFlow Serving, such a
            version is not served.
    """
    path = folder / WARMUP_FILE
    if not path.is_file():
        return 0
    answered = 0
    try:
        for record in tf.data.TFRecordDataset(str(path)).take(MAX_WARMUP_REQUESTS).as_numpy_iterator():
            log = prediction_log_pb2.PredictionLog.FromString(record)
            if not log.HasField("predict_log"):
                continue
            request = log.predict_log.request
            inputs = {name: to_array(name, proto) for name, proto in request.inputs.items()}
            model.predict(request.model_spec.signature_name, inputs, list(request.output_filter))
            answered += 1
    except StatusError as error:
        raise ModelLoadError(f"warm-up request {answered + 1} is refused: {error.message}") from error
    except Exception as error:  # TensorFlow and protobuf raise their own types for a damaged file
        raise ModelLoadError(f"warm-up requests cannot be read: {type(error).__name__}") from error
    return answered
