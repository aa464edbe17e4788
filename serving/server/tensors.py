"""Tensors to numpy arrays and back, and ``PredictResponse`` messages from numpy arrays.

Python's C++ protobuf copies a TensorProto number by number when it enters a map. That takes 20 ms for the four heat
maps of 450 x 450 pixels. On the wire a map is a repeated message of key and value (protobuf's language guide,
"Backwards compatibility" of maps). `AnswerWriter` therefore declares a message that keeps the values as bytes; it
writes the same bytes as ``PredictResponse``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import tensorflow as tf
from google.protobuf import descriptor_pb2, text_format
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import model_pb2

from serving.wire.dynamic_messages import message_class
from serving.wire.errors import invalid_argument

# A TensorProto may declare a large shape and fewer values, of which the last one is repeated.
MAX_TENSOR_BYTES: Final = 256 * 1024 * 1024
MAX_REPEATED_BYTES: Final = 1024 * 1024

_VALUE_FIELDS: Final = (
    "half_val",
    "float_val",
    "double_val",
    "int_val",
    "int64_val",
    "bool_val",
    "uint32_val",
    "uint64_val",
)
_FLOAT_VAL_TAG: Final = b"\x2a"  # field 5, length-delimited (packed)
_DECLARATION = """
name: "breast_density/answers.proto" package: "breast_density" syntax: "proto3"
message_type {
  name: "Output"
  field { name: "key" number: 1 label: LABEL_OPTIONAL type: TYPE_STRING }
  field { name: "value" number: 2 label: LABEL_OPTIONAL type: TYPE_BYTES }
}
message_type {
  name: "Answer"
  field { name: "outputs" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: ".breast_density.Output" }
  field { name: "model_spec" number: 2 label: LABEL_OPTIONAL type: TYPE_BYTES }
}
"""


def to_array(name: str, proto: tensor_pb2.TensorProto) -> NDArray[Any]:
    """Decode a tensor.

    Args:
        name: Name of the input, for the error message.
        proto: The tensor.

    Returns:
        Array of the declared shape and type; strings become an object array of bytes.

    Raises:
        StatusError: INVALID_ARGUMENT with TensorFlow Serving's text, ``tensor parsing error: NAME``.
    """
    try:
        dtype = tf.as_dtype(proto.dtype)
        elements = math.prod(dim.size for dim in proto.tensor_shape.dim)
        if proto.tensor_shape.unknown_rank or elements < 0 or elements * max(dtype.size or 1, 8) > MAX_TENSOR_BYTES:
            raise ValueError("impossible shape")
        _check_sent(proto, dtype, elements)
        floats = _packed_floats(proto) if dtype == tf.float32 else None
        if floats is not None and len(floats) == elements:
            return floats.reshape([dim.size for dim in proto.tensor_shape.dim])
        result: NDArray[Any] = tf.make_ndarray(proto)
        return result
    except (TypeError, ValueError, KeyError, OverflowError):
        raise invalid_argument(f"tensor parsing error: {name}") from None


def _check_sent(proto: tensor_pb2.TensorProto, dtype: tf.DType, elements: int) -> None:
    """Raise ValueError if the declared shape costs more than what was sent."""
    if dtype == tf.string:
        sent = len(proto.string_val)
        if proto.tensor_content or sent != elements:
            raise ValueError("another number of strings than the shape has")
        return
    sent = max(len(getattr(proto, name)) for name in _VALUE_FIELDS)
    if not proto.tensor_content and sent < elements and elements * dtype.size > MAX_REPEATED_BYTES:
        raise ValueError("a value is repeated too often")


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _packed_floats(proto: tensor_pb2.TensorProto) -> NDArray[Any] | None:
    """Read ``float_val`` at once from the end of the wire form; return None if it is not there."""
    size = 4 * len(proto.float_val)
    if not size:
        return None
    wire = proto.SerializeToString()
    head = _FLOAT_VAL_TAG + _varint(size)
    if wire[-size - len(head) : -size] != head:
        return None
    return np.frombuffer(wire, "<f4", offset=len(wire) - size).astype(np.float32)


def to_proto(array: NDArray[Any]) -> tensor_pb2.TensorProto:
    """Encode an array with typed value fields (``float_val``, ``string_val``, ...), as TensorFlow Serving does.

    ``tf.make_tensor_proto`` writes ``tensor_content`` instead. Clients that read ``float_val`` do not see it.

    Args:
        array: Array of a type that TensorFlow knows; object arrays hold bytes.
    """
    dtype = tf.as_dtype(array.dtype)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    flat = array.ravel()
    if dtype == tf.float32:
        # The packed wire form of float_val is the array's memory. For heat maps this is far faster than a list.
        content = flat.astype("<f4").tobytes()
        proto.MergeFromString(_FLOAT_VAL_TAG + _varint(len(content)) + content)
        return proto
    fields: dict[Any, Any] = {
        tf.string: proto.string_val,
        tf.float64: proto.double_val,
        tf.int32: proto.int_val,
        tf.int16: proto.int_val,
        tf.int8: proto.int_val,
        tf.uint8: proto.int_val,
        tf.int64: proto.int64_val,
        tf.bool: proto.bool_val,
    }
    if dtype in fields:
        fields[dtype].extend(flat.tolist())
        return proto
    return tf.make_tensor_proto(array)


class AnswerWriter:
    """Writes serialized ``PredictResponse`` messages. Threads may share it."""

    def __init__(self) -> None:
        file = text_format.Parse(_DECLARATION, descriptor_pb2.FileDescriptorProto())
        self._message = message_class(file, "breast_density.Answer")

    def write(self, outputs: Mapping[str, NDArray[Any]], spec: model_pb2.ModelSpec) -> bytes:
        """Serialize a ``PredictResponse``; ``spec`` names the model and signature that computed the outputs."""
        message = self._message(model_spec=spec.SerializeToString())
        for name, array in outputs.items():
            message.outputs.add(key=name, value=to_proto(array).SerializeToString())
        return bytes(message.SerializeToString())
