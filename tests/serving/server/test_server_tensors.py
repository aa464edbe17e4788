"""Tensor and JSON codecs: a round trip returns the same array, for all arrays of REST and gRPC."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tensorflow_serving.apis import model_pb2, predict_pb2

from serving.server.config import Limits
from serving.server.json_tensors import parse_body, to_inputs, to_json
from serving.server.tensors import AnswerWriter, to_array, to_proto
from serving.wire.errors import StatusError

SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=4)
NUMBERS = st.sampled_from([np.float32, np.float64, np.int32, np.int64, np.uint8, np.bool_]).flatmap(
    lambda dtype: hnp.arrays(dtype, SHAPES)
)
BYTES = hnp.arrays(object, SHAPES, elements=st.binary(max_size=8))
TEXTS = hnp.arrays(object, SHAPES, elements=st.text(max_size=8).map(lambda text: text.encode()))


@given(st.one_of(NUMBERS, BYTES))
def test_proto_round_trip(array: np.ndarray) -> None:
    back = to_array("x", to_proto(array))
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_proto_edges() -> None:
    for array in (
        np.zeros((0, 4), np.float32),
        np.array(2.5, np.float32),
        np.zeros((2, 0), object),
        np.array([1.5], np.float16),
    ):
        back = to_array("x", to_proto(array))
        assert back.shape == np.shape(array)
        np.testing.assert_array_equal(back, array)


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.one_of(NUMBERS, BYTES), max_size=4), st.integers(0, 2**60))
def test_answers_are_predict_responses(outputs: dict[str, np.ndarray], version: int) -> None:
    spec = model_pb2.ModelSpec(name="m", signature_name="s", version={"value": version})
    response = predict_pb2.PredictResponse.FromString(AnswerWriter().write(outputs, spec))
    assert response.model_spec == spec
    assert response.outputs.keys() == outputs.keys()
    for name, array in outputs.items():
        np.testing.assert_array_equal(to_array(name, response.outputs[name]), array)


def test_heat_map_is_in_float_val() -> None:
    heatmap = np.linspace(0, 1, 300, dtype=np.float32).reshape(3, 10, 10)
    np.testing.assert_array_equal(np.float32(to_proto(heatmap).float_val), heatmap.ravel())


def test_floats_beside_other_fields_and_repeated_floats() -> None:
    proto = to_proto(np.array([1, 2, 3], np.float32))
    proto.string_val.append(b"beside")
    np.testing.assert_array_equal(to_array("x", proto), [1, 2, 3])
    proto = to_proto(np.array([7], np.float32))
    proto.tensor_shape.dim[0].size = 3  # one value stands for all
    np.testing.assert_array_equal(to_array("x", proto), [7, 7, 7])


def json_element(value: object) -> object:
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


@given(st.one_of(NUMBERS, BYTES), st.sampled_from(["instances", "inputs"]))
def test_json_request_of_any_array(array: np.ndarray, key: str) -> None:
    flat = np.empty(array.size, object)
    flat[:] = [json_element(value) for value in array.ravel().tolist()]
    body = parse_body(json.dumps({key: flat.reshape(array.shape).tolist()}).encode(), Limits())
    back = to_inputs(body, {"x": tf.as_dtype(array.dtype)})["x"]
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@given(st.one_of(hnp.arrays(np.float32, SHAPES), TEXTS))
def test_json_answer_reads_back(array: np.ndarray) -> None:
    values = json.loads(to_json({"x": array}, "column"))["outputs"]
    if array.dtype == object:
        assert np.array(values, object).tolist() == np.vectorize(bytes.decode, otypes=[object])(array).tolist()
    else:
        np.testing.assert_array_equal(np.array(values, np.float32).reshape(array.shape), array)


@given(st.one_of(st.binary(max_size=30), st.text(max_size=30).map(str.encode)))
def test_any_body_is_parsed_or_refused(body: bytes) -> None:
    try:
        to_inputs(parse_body(body, Limits()), {"x": tf.string})
    except StatusError:
        return


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["b64", "x", "y"]), inner),
    max_leaves=8,
)


@given(
    JSON,
    st.sampled_from(["instances", "inputs"]),
    st.sampled_from([tf.string, tf.float32, tf.int32, tf.bool]),
)
def test_any_json_becomes_arrays_of_the_asked_type_or_is_refused(value: object, key: str, dtype: tf.DType) -> None:
    for dtypes in ({"x": dtype}, {"x": dtype, "y": tf.string}):
        try:
            inputs = to_inputs(parse_body(json.dumps({key: value}).encode(), Limits()), dtypes)
        except StatusError:
            continue
        assert set(inputs) == set(dtypes)
        assert all(tf.as_dtype(inputs[name].dtype) == dtypes[name] for name in dtypes)


def test_float32_is_written_in_its_shortest_form() -> None:
    assert json.loads(to_json({"p": np.array([[0.2, 1.0]], np.float32)}, "row")) == {"predictions": [[0.2, 1.0]]}


def test_names_ending_in_bytes_are_base64_even_where_they_are_text() -> None:
    answer = json.loads(to_json({"overlay_bytes": np.array([b"abc"], object)}, "column"))
    assert answer == {"outputs": [{"b64": "YWJj"}]}


def test_row_format_refuses_outputs_of_different_length() -> None:
    outputs = {"a": np.zeros((2, 1), np.float32), "b": np.zeros((3,), np.float32)}
    with pytest.raises(StatusError, match="Tensor name: b has inconsistent batch size: 3 expecting: 2"):
        to_json(outputs, "row")
    with pytest.raises(StatusError, match="Tensor name: a has no shape information"):
        to_json({"a": np.array(1, np.float32)}, "row")
