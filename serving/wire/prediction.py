"""Messages of TensorFlow Serving's gRPC API as a client needs them, without TensorFlow.

TensorFlow's own classes of these messages import TensorFlow: seconds of start and half a gigabyte of memory for a
client that only sends images and reads numbers. The messages here have the same form on the wire. Two fields have
another type with the same form, which saves a copy number by number: a map is a repeated message of key and value
(protobuf's language guide, "Backwards compatibility" of maps), and packed floats are bytes.

Source: tensorflow/core/framework/tensor.proto, tensorflow_serving/apis/predict.proto and get_model_status.proto.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
from google.protobuf import descriptor_pb2, text_format
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from serving.wire.dynamic_messages import message_class

PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"
MODEL_STATUS: Final = "/tensorflow.serving.ModelService/GetModelStatus"

# Types of a contract's tensors, as in tensorflow/core/framework/types.proto.
_FLOAT, _INT32, _STRING = 1, 3, 7
_AVAILABLE: Final = 30  # ModelVersionStatus.State

_PACKAGE: Final = "breast_density.prediction"
_DECLARATION: Final = f"""
name: "breast_density/prediction.proto" package: "{_PACKAGE}" syntax: "proto3"
message_type {{
  name: "Shape"
  field {{ name: "dim" number: 2 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".{_PACKAGE}.Dim" }}
  field {{ name: "unknown_rank" number: 3 label: LABEL_OPTIONAL type: TYPE_BOOL }}
}}
message_type {{ name: "Dim" field {{ name: "size" number: 1 label: LABEL_OPTIONAL type: TYPE_INT64 }} }}
message_type {{
  name: "Tensor"
  field {{ name: "dtype" number: 1 label: LABEL_OPTIONAL type: TYPE_INT32 }}
  field {{ name: "tensor_shape" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".{_PACKAGE}.Shape" }}
  field {{ name: "tensor_content" number: 4 label: LABEL_OPTIONAL type: TYPE_BYTES }}
  field {{ name: "float_val" number: 5 label: LABEL_REPEATED type: TYPE_BYTES }}
  field {{ name: "int_val" number: 7 label: LABEL_REPEATED type: TYPE_INT32 }}
  field {{ name: "string_val" number: 8 label: LABEL_REPEATED type: TYPE_BYTES }}
}}
message_type {{
  name: "NamedTensor"
  field {{ name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }}
  field {{ name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".{_PACKAGE}.Tensor" }}
}}
message_type {{ name: "Version" field {{ name: "value" number: 1 label: LABEL_OPTIONAL type: TYPE_INT64 }} }}
message_type {{
  name: "ModelSpec"
  field {{ name: "name" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }}
  field {{ name: "version" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".{_PACKAGE}.Version" }}
  field {{ name: "signature_name" number: 3 label: LABEL_OPTIONAL type: TYPE_STRING }}
}}
message_type {{
  name: "PredictRequest"
  field {{ name: "model_spec" number: 1 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".{_PACKAGE}.ModelSpec" }}
  field {{ name: "inputs" number: 2 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".{_PACKAGE}.NamedTensor" }}
}}
message_type {{
  name: "PredictResponse"
  field {{ name: "outputs" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".{_PACKAGE}.NamedTensor" }}
  field {{ name: "model_spec" number: 2 label: LABEL_OPTIONAL type: TYPE_MESSAGE type_name: ".{_PACKAGE}.ModelSpec" }}
}}
message_type {{
  name: "VersionStatus" field {{ name: "state" number: 2 label: LABEL_OPTIONAL type: TYPE_INT32 }}
}}
message_type {{
  name: "StatusResponse"
  field {{
    name: "model_version_status" number: 1 label: LABEL_REPEATED
    type: TYPE_MESSAGE type_name: ".{_PACKAGE}.VersionStatus"
  }}
}}
"""


class AnswerError(ValueError):
    """The bytes of an answer are not a message of TensorFlow Serving, or hold tensors of another form."""


@dataclass(frozen=True, eq=False)
class Answer:
    """The outputs of a signature.

    Attributes:
        outputs: Array by output name; strings are object arrays of bytes.
        version: Version of the model that computed them.
    """

    outputs: dict[str, NDArray[Any]]
    version: int


@cache
def _message(name: str) -> Any:
    file = text_format.Parse(_DECLARATION, descriptor_pb2.FileDescriptorProto())
    return message_class(file, f"{_PACKAGE}.{name}")


def _parsed(name: str, data: bytes) -> Any:
    message = _message(name)()
    try:
        read = message.MergeFromString(data)
    except DecodeError as error:
        raise AnswerError(f"not a {name}") from error
    if read != len(data):  # older versions of protobuf only warn where a message ends too early
        raise AnswerError(f"not a {name}: {read} of {len(data)} bytes are one")
    return message


def predict_request(model_name: str, signature: str, inputs: Mapping[str, NDArray[Any]]) -> bytes:
    """Serialize a ``PredictRequest``.

    Args:
        model_name: Name of the model on the server.
        signature: Name of the signature.
        inputs: Object array of bytes by input name: all inputs of the model are strings.
    """
    request = _message("PredictRequest")()
    request.model_spec.name, request.model_spec.signature_name = model_name, signature
    for name, array in inputs.items():
        tensor = request.inputs.add(key=name).value
        tensor.dtype = _STRING
        for size in array.shape:
            tensor.tensor_shape.dim.add(size=size)
        tensor.string_val.extend(array.ravel().tolist())
    return bytes(request.SerializeToString())


def read_answer(data: bytes) -> Answer:
    """Parse a serialized ``PredictResponse``.

    Raises:
        AnswerError: The bytes are not such a message, or an output has another type than a contract names, or another
            number of values than its shape.
    """
    response = _parsed("PredictResponse", data)
    outputs = {output.key: _array(output.key, output.value) for output in response.outputs}
    return Answer(outputs, response.model_spec.version.value)


def status_request(model_name: str) -> bytes:
    """Serialize a ``GetModelStatusRequest``, whose only field is that of a ``PredictRequest``."""
    return predict_request(model_name, "", {})


def is_available(data: bytes) -> bool:
    """Return True if a serialized ``GetModelStatusResponse`` names a version that is available.

    Raises:
        AnswerError: The bytes are not such a message.
    """
    return any(status.state == _AVAILABLE for status in _parsed("StatusResponse", data).model_version_status)


def _array(name: str, tensor: Any) -> NDArray[Any]:
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    values: NDArray[Any]
    try:
        if tensor.dtype == _STRING:
            values = np.empty(len(tensor.string_val), dtype=object)
            values[:] = list(tensor.string_val)
        elif tensor.dtype == _FLOAT:
            values = np.frombuffer(tensor.tensor_content or b"".join(tensor.float_val), "<f4").astype(np.float32)
        elif tensor.dtype == _INT32 and tensor.tensor_content:
            values = np.frombuffer(tensor.tensor_content, "<i4").astype(np.int32)
        elif tensor.dtype == _INT32:
            values = np.array(tensor.int_val, dtype=np.int32)
        else:
            raise AnswerError(f"{name}: tensors are strings, float32 or int32. Received: type {tensor.dtype}")
    except ValueError as error:  # bytes that are no multiple of four
        raise AnswerError(f"{name}: {error}") from error
    if tensor.tensor_shape.unknown_rank or min(shape, default=0) < 0 or math.prod(shape) != len(values):
        raise AnswerError(f"{name}: shape and number of values differ. Received: {shape} and {len(values)}")
    return values.reshape(shape)
