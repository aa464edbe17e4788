"""TensorProto to numpy array and back, in the fields TensorFlow Serving itself writes."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2

from serving.wire.errors import invalid_argument

# A TensorProto may declare a large shape and a single value to repeat: none gets more memory than this.
MAX_TENSOR_BYTES: Final = 256 * 1024 * 1024

_FLOAT_VAL_TAG: Final = b"\x2a"  # field 5, length-delimited (packed)


def to_array(name: str, proto: tensor_pb2.TensorProto) -> np.ndarray:
    """Decodes a tensor.

    Args:
        name: Input's name, for the error.
        proto: The tensor; strings become an object array of bytes.

    Returns:
        Array of the declared shape and type.

    Raises:
        StatusError: INVALID_ARGUMENT, ``tensor parsing error: NAME``, as TensorFlow Serving says it.
    """
    try:
        dtype = tf.as_dtype(proto.dtype)
        elements = math.prod(dim.size for dim in proto.tensor_shape.dim)
        if proto.tensor_shape.unknown_rank or elements < 0 or elements * max(dtype.size or 1, 8) > MAX_TENSOR_BYTES:
            raise ValueError("impossible shape")
        floats = _packed_floats(proto) if dtype == tf.float32 else None
        if floats is not None and len(floats) == elements:
            return floats.reshape([dim.size for dim in proto.tensor_shape.dim])
        return tf.make_ndarray(proto)
    except (TypeError, ValueError, KeyError, OverflowError):
        raise invalid_argument(f"tensor parsing error: {name}") from None


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _packed_floats(proto: tensor_pb2.TensorProto) -> np.ndarray | None:
    """Reads ``float_val`` where the wire form ends in it, which is far faster than one by one; else None."""
    size = 4 * len(proto.float_val)
    if not size:
        return None
    wire = proto.SerializeToString()
    head = _FLOAT_VAL_TAG + _varint(size)
    if wire[-size - len(head) : -size] != head:
        return None
    return np.frombuffer(wire, "<f4", offset=len(wire) - size).astype(np.float32)


def to_proto(array: np.ndarray) -> tensor_pb2.TensorProto:
    """Encodes an array with typed value fields (``float_val``, ``string_val``, ...).

    ``tf.make_tensor_proto`` writes ``tensor_content`` instead, which clients that read ``float_val`` miss.

    Args:
        array: Any array TensorFlow has a type for; object arrays hold bytes.
    """
    dtype = tf.as_dtype(array.dtype)
    proto = tensor_pb2.TensorProto(dtype=dtype.as_datatype_enum)
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    flat = array.ravel()
    if dtype == tf.float32:
        # The packed wire form of float_val is the array's own memory: far faster than a list for heat maps.
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
