"""The client's messages against TensorFlow's own classes, and answers that are damaged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow.core.framework import tensor_pb2
from tensorflow_serving.apis import get_model_status_pb2, predict_pb2

from serving.wire.prediction import AnswerError, is_available, predict_request, read_answer, status_request

SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
STRINGS = hnp.arrays(object, SHAPES, elements=st.binary(max_size=8))
FLOATS = hnp.arrays(np.float32, SHAPES)
INTEGERS = hnp.arrays(np.int32, SHAPES)
NAMES = st.text(min_size=1, max_size=8)


def response(name: str, tensor: tensor_pb2.TensorProto, version: int = 1) -> bytes:
    found = predict_pb2.PredictResponse()
    found.outputs[name].CopyFrom(tensor)
    found.model_spec.version.value = version
    return found.SerializeToString()


def typed(array: np.ndarray) -> tensor_pb2.TensorProto:
    """The form in which TensorFlow Serving answers: values in typed fields."""
    tensor = tensor_pb2.TensorProto(dtype=tf.as_dtype(array.dtype).as_datatype_enum)
    tensor.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    field = {np.dtype(np.float32): tensor.float_val, np.dtype(np.int32): tensor.int_val}
    field.get(array.dtype, tensor.string_val).extend(array.ravel().tolist())
    return tensor


def as_bytes(array: np.ndarray) -> tensor_pb2.TensorProto:
    """The other form: the memory of a tensor of numbers."""
    tensor = typed(array[:0] if array.ndim else array.reshape(1)[:0])
    tensor.tensor_shape.CopyFrom(tf.TensorShape(array.shape).as_proto())
    tensor.tensor_content = array.tobytes()
    return tensor


@given(NAMES, NAMES, st.dictionaries(NAMES, STRINGS, max_size=3))
def test_a_request_is_what_tensorflow_serving_reads(model: str, signature: str, inputs: dict[str, np.ndarray]) -> None:
    request = predict_pb2.PredictRequest.FromString(predict_request(model, signature, inputs))
    assert (request.model_spec.name, request.model_spec.signature_name) == (model, signature)
    assert request.inputs.keys() == inputs.keys()
    for name, array in inputs.items():
        np.testing.assert_array_equal(tf.make_ndarray(request.inputs[name]), array)


@given(NAMES, st.one_of(STRINGS, FLOATS, INTEGERS), st.integers(0, 2**60))
def test_an_answer_is_read_as_tensorflow_reads_it(name: str, array: np.ndarray, version: int) -> None:
    for tensor in (typed(array), *([as_bytes(array)] if array.dtype != object else [])):
        answer = read_answer(response(name, tensor, version))
        assert answer.version == version
        found = answer.outputs[name]
        assert found.dtype == array.dtype
        assert found.shape == array.shape
        np.testing.assert_array_equal(found, tf.make_ndarray(tensor))


def test_packed_floats_in_pieces_are_one_tensor() -> None:
    shape = {"dim": [{"size": 3}]}
    parts: list[dict[str, Any]] = [{"dtype": 1, "tensor_shape": shape}, {"float_val": [1, 2]}, {"float_val": [3]}]
    data = b"".join(tensor_pb2.TensorProto(**part).SerializeToString() for part in parts)
    entry = b"\x0a\x01x\x12" + bytes([len(data)]) + data  # key "x", and the tensor
    answer = read_answer(b"\x0a" + bytes([len(entry)]) + entry)
    expected = tf.make_ndarray(tensor_pb2.TensorProto.FromString(data))
    np.testing.assert_array_equal(answer.outputs["x"], expected)


@pytest.mark.parametrize(
    "tensor",
    [
        {"dtype": 2, "tensor_shape": {"dim": [{"size": 1}]}, "double_val": [1]},  # no contract has this type
        {"dtype": 1, "tensor_shape": {"dim": [{"size": 2**40}]}, "float_val": [1]},
        {"dtype": 7, "tensor_shape": {"dim": [{"size": 33_000_000}]}, "string_val": [b"x"]},
        {"dtype": 1, "tensor_shape": {"dim": [{"size": -1}]}},
        {"dtype": 1, "tensor_shape": {"unknown_rank": True}, "float_val": [1]},
        {"dtype": 1, "tensor_shape": {"dim": [{"size": 1}]}, "tensor_content": b"abc"},
        {"dtype": 3, "tensor_shape": {"dim": [{"size": 1}]}, "tensor_content": b"abc"},
    ],
)
def test_a_tensor_of_another_form_is_refused(tensor: dict[str, object]) -> None:
    with pytest.raises(AnswerError, match=r"^x: "):
        read_answer(response("x", tensor_pb2.TensorProto(**tensor)))


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for read in (read_answer, is_available):
        try:
            read(data)
        except AnswerError:
            continue


@pytest.mark.parametrize("states", [[], [30], [10, 30], [20, 40, 50]])
def test_the_status_of_a_model(states: list[int]) -> None:
    request = get_model_status_pb2.GetModelStatusRequest.FromString(status_request("density"))
    assert request == get_model_status_pb2.GetModelStatusRequest(model_spec={"name": "density"})
    answer = get_model_status_pb2.GetModelStatusResponse()
    for number, state in enumerate(states):
        answer.model_version_status.add(version=number, state=state)
    assert is_available(answer.SerializeToString()) == (30 in states)
