"""JSON of TensorFlow Serving's REST API to arrays and back, in row and column format.

Binary strings are sent as ``{"b64": ...}``; in responses these are the string outputs whose names end in ``_bytes``.
There are two differences from TensorFlow Serving: an output that is not UTF-8 is always sent as ``{"b64": ...}``
(TensorFlow Serving writes invalid JSON), and error messages do not contain values of the request (images, exam
identifiers).

Source: https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from serving.server.config import Limits
from serving.wire.errors import StatusError, invalid_argument

Format = Literal["row", "column"]

_B64: Final = "b64"
_SEPARATORS: Final = (b",", b"[", b"{")
_MAX_RANK: Final = 8
_BYTES_SUFFIX: Final = "_bytes"
_JSON_TYPES: Final = {dict: "Object", list: "Array", str: "String", int: "Number", float: "Number"}


@dataclass(frozen=True)
class PredictBody:
    """A parsed request body.

    Attributes:
        signature_name: Signature of the request; empty is the default one.
        format: ``row`` (key ``instances``) or ``column`` (key ``inputs``).
        values: Value of this key.
    """

    signature_name: str
    format: Format
    values: Any


def parse_body(body: bytes, limits: Limits) -> PredictBody:
    """Parse the body of a predict request.

    Args:
        body: JSON in UTF-8.
        limits: Limits of the number of values and instances.

    Raises:
        StatusError: INVALID_ARGUMENT unless it is a JSON object within the limits with either ``instances`` or
            ``inputs``.
    """
    if not body:
        raise invalid_argument("JSON Parse error: The document is empty")
    # Each value costs far more memory and time than its bytes. Commas in texts count as well: images have none.
    if sum(map(body.count, _SEPARATORS)) > limits.json_values:
        raise invalid_argument(f"JSON Value: ... The document has more than {limits.json_values} values")
    try:
        document = json.loads(body.decode())
    except UnicodeDecodeError:
        raise invalid_argument("JSON Parse error: The document is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise invalid_argument(f"JSON Parse error: {error.msg} at offset: {error.pos}") from None
    except RecursionError:
        raise invalid_argument("JSON Parse error: The document is nested too deeply") from None
    except ValueError:  # more digits than Python converts
        raise invalid_argument("JSON Parse error: Number too big to be stored in double") from None
    if not isinstance(document, dict):
        raise invalid_argument("JSON Value: ... Is not object")
    signature_name = document.get("signature_name", "")
    if not isinstance(signature_name, str):
        raise invalid_argument("JSON Value: ... not formatted correctly. 'signature_name' key must be a string value.")
    if "instances" in document and "inputs" in document:
        raise invalid_argument(
            "JSON Value: ... Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist"
        )
    if "instances" in document:
        instances = document["instances"]
        if not isinstance(instances, list):
            raise invalid_argument("JSON Value: ... Expecting 'instances' to be an list/array")
        if not instances:
            raise invalid_argument("JSON Value: ... No values in 'instances' array")
        if len(instances) > limits.instances:
            raise invalid_argument(f"JSON Value: ... 'instances' has more than {limits.instances} entries")
        return PredictBody(signature_name, "row", instances)
    if "inputs" in document:
        return PredictBody(signature_name, "column", document["inputs"])
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def to_inputs(body: PredictBody, dtypes: Mapping[str, tf.DType]) -> dict[str, NDArray[Any]]:
    """Convert a body to input arrays.

    Args:
        body: Parsed body.
        dtypes: Type of each input of the signature.

    Returns:
        Array by input name; strings are object arrays of bytes.

    Raises:
        StatusError: INVALID_ARGUMENT for wrong names, types or ragged lists.
    """
    return _columns(body.values, dtypes) if body.format == "column" else _rows(body.values, dtypes)


def _is_b64(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {_B64} and isinstance(value[_B64], str)


def _columns(values: Any, dtypes: Mapping[str, tf.DType]) -> dict[str, NDArray[Any]]:
    if not isinstance(values, dict) or _is_b64(values):
        if len(dtypes) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required "
                "as per tensorinfo_map"
            )
        ((name, dtype),) = dtypes.items()
        return {name: _array(values, dtype)}
    for name in dtypes:
        if name not in values:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
    return {name: _array(values[name], dtype) for name, dtype in dtypes.items()}


def _rows(instances: list[Any], dtypes: Mapping[str, tf.DType]) -> dict[str, NDArray[Any]]:
    if not isinstance(instances[0], dict) and len(dtypes) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors required "
            "as per tensorinfo_map"
        )
    named = isinstance(instances[0], dict) and not _is_b64(instances[0])
    columns: dict[str, list[NDArray[Any]]] = {name: [] for name in dtypes}
    for position, instance in enumerate(instances):
        is_object = isinstance(instance, dict) and not _is_b64(instance)
        if is_object != named:
            raise invalid_argument(
                f"Expecting object but got list at item {position} of input list"
                if named
                else f"Expecting value/list but got object at item {position} of input list"
            )
        if named and set(instance) != set(dtypes):
            raise invalid_argument(
                f"Failed to process element: {position} of 'instances' list. "
                f"JSON object: ... keys must be equal to: {','.join(sorted(dtypes))}"
            )
        for name, dtype in dtypes.items():
            try:
                array = _array(instance[name] if named else instance, dtype)
                if columns[name] and array.shape != columns[name][0].shape:
                    raise invalid_argument(
                        f"Expecting shape {list(columns[name][0].shape)} but got: {list(array.shape)}"
                    )
            except StatusError as error:
                key = f" key: {name}" if named else ""
                raise invalid_argument(
                    f"Failed to process element: {position}{key} of 'instances' list. Error: {error.message}"
                ) from None
            columns[name].append(array)
    return {name: np.stack(arrays) for name, arrays in columns.items()}


def _array(value: Any, dtype: tf.DType) -> NDArray[Any]:
    shape: list[int] = []
    first = value
    while isinstance(first, list):
        if len(shape) == _MAX_RANK:
            raise invalid_argument(f"Encountered list at unexpected level: {_MAX_RANK} expected < {_MAX_RANK}")
        shape.append(len(first))
        if not first:
            break
        first = first[0]
    flat: list[Any] = []
    _fill(value, 0, shape, dtype, flat)
    if dtype != tf.string:
        try:
            return np.array(flat, dtype=dtype.as_numpy_dtype).reshape(shape)
        except (OverflowError, TypeError):
            raise invalid_argument(f"Cannot convert JSON value: ... to {dtype.name}.") from None
    array = np.empty(len(flat), dtype=object)
    array[:] = flat
    return array.reshape(shape)


def _fill(value: Any, level: int, shape: list[int], dtype: tf.DType, flat: list[Any]) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid_argument(
                f"JSON Value: ... found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        flat.append(_element(value, dtype))
        return
    if level >= len(shape):
        raise invalid_argument(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for item in value:
        _fill(item, level + 1, shape, dtype, flat)


def _element(value: Any, dtype: tf.DType) -> Any:
    if dtype == tf.string:
        if isinstance(value, str):
            return value.encode("utf-8", "surrogatepass")
        if isinstance(value, dict):
            return _from_b64(value)
    elif dtype == tf.bool:
        if isinstance(value, bool):
            return value
    elif isinstance(value, bool):
        pass
    elif isinstance(value, int) or (isinstance(value, float) and dtype.is_floating):
        return value
    kind = _JSON_TYPES.get(type(value), str(value) if isinstance(value, bool) else "Null")
    raise invalid_argument(f"JSON Value: ... Type: {kind} is not of expected type: {dtype.name}")


def _from_b64(value: dict[str, Any]) -> bytes:
    if not _is_b64(value):
        raise invalid_argument("JSON Value: ... not formatted correctly for base64 data")
    try:
        return base64.b64decode(value[_B64], validate=True)
    except (binascii.Error, ValueError):
        raise invalid_argument("Unable to base64 decode") from None


def to_json(outputs: Mapping[str, NDArray[Any]], response_format: Format) -> bytes:
    """Return the JSON of a response: ``predictions`` for the row format, ``outputs`` for the column format.

    Args:
        outputs: Array by output name.
        response_format: Format of the request.

    Raises:
        StatusError: INVALID_ARGUMENT if the outputs have different lengths and the format is ``row``.
    """
    columns = {name: _json_values(name, array) for name, array in outputs.items()}
    if response_format == "column":
        document: Any = columns if len(columns) > 1 else next(iter(columns.values()))
        return json.dumps({"outputs": document}).encode()
    lengths = {name: array.shape[0] if array.ndim else None for name, array in outputs.items()}
    expected = next(iter(lengths.values()))
    for name, length in lengths.items():
        if length is None:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if length != expected:
            raise invalid_argument(f"Tensor name: {name} has inconsistent batch size: {length} expecting: {expected}")
    if len(columns) == 1:
        rows: list[Any] = next(iter(columns.values()))
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return json.dumps({"predictions": rows}).encode()


def _json_values(name: str, array: NDArray[Any]) -> Any:
    if array.dtype == object:
        values = array.ravel().tolist()
        texts = None if name.endswith(_BYTES_SUFFIX) else _texts(values)
        converted = np.empty(len(values), dtype=object)
        converted[:] = texts if texts is not None else [{_B64: base64.b64encode(v).decode()} for v in values]
        return converted.reshape(array.shape).tolist()
    if array.dtype == np.float32:
        # The shortest decimal that reads back as the same float32, without the extra digits of its float64.
        return array.astype(str).astype(np.float64).tolist()
    return array.tolist()


def _texts(values: list[bytes]) -> list[str] | None:
    try:
        return [value.decode("utf-8") for value in values]
    except UnicodeDecodeError:
        return None
