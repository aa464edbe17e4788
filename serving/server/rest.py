"""TensorFlow Serving's REST paths for the served model.

``POST /v1/models/NAME[/versions/N | /labels/L]:predict``, ``GET /v1/models/NAME[/versions/N]`` and
``GET .../metadata``; errors are ``{"error": message}`` with TensorFlow Serving's HTTP codes. The docstrings of
`serving.server.http_server` and `serving.server.json_tensors` list the differences.
"""

from __future__ import annotations

import inspect
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

import grpc
import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis import get_model_metadata_pb2

from serving.server.core import Api, ServerCore, overdue
from serving.server.grpc_service import SIGNATURE_DEF_FIELD, model_metadata, refuse_other_method
from serving.server.json_tensors import parse_body, to_inputs, to_json
from serving.server.manager import ModelManager
from serving.server.model import DEFAULT_SIGNATURE
from serving.wire.errors import invalid_argument

_VERSION_PART: Final = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_POST_PATH: Final = re.compile(
    r"/v1/models/(?P<name>[^/:]+)" + _VERSION_PART + r":(?P<verb>classify|regress|predict)", re.I
)
_GET_PATH: Final = re.compile(
    r"/v1/models(?:/(?P<name>[^/:]+))?" + _VERSION_PART + r"(?:/(?P<resource>metadata))?", re.I
)
_APIS: Final[dict[str, Api]] = {"predict": "Predict", "classify": "Classify", "regress": "Regress"}

HTTP_CODES: Final = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.OUT_OF_RANGE: 400,
    grpc.StatusCode.UNAUTHENTICATED: 401,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ABORTED: 409,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.CANCELLED: 499,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}


@dataclass(frozen=True)
class _Target:
    name: str
    version: int | None
    label: str


def _target(match: re.Match[str]) -> _Target:
    version = match["version"]
    if version is not None and int(version) >= 1 << 63:
        raise invalid_argument(f"Failed to convert version: {version} to numeric.")
    name, label = unquote(match["name"] or ""), unquote(match["label"] or "")
    return _Target(name, None if version is None else int(version), label)


def _message_dict(message: Message) -> dict[str, Any]:
    """Convert a message to a dictionary of all its fields by their proto names, with default values."""
    known = inspect.signature(json_format.MessageToDict).parameters
    newer = "always_print_fields_with_no_presence"  # protobuf 5 renamed the argument
    flag = newer if newer in known else "including_default_value_fields"
    result: dict[str, Any] = json_format.MessageToDict(message, preserving_proto_field_name=True, **{flag: True})
    return result


def answer_get(manager: ModelManager, path: str) -> bytes:
    """Return the JSON response of a status or metadata request.

    Args:
        manager: The served model.
        path: Path of the URL, percent-encoded.

    Raises:
        StatusError: The request is wrong.
    """
    match = _GET_PATH.fullmatch(path)
    if match is None:
        raise invalid_argument(f"Malformed request: GET {path}")
    target = _target(match)
    if not target.name:
        raise invalid_argument("Missing model name in request.")
    if match["resource"]:
        response = model_metadata(manager, manager.model(target.name, target.version, target.label))
        signatures = get_model_metadata_pb2.SignatureDefMap()
        response.metadata[SIGNATURE_DEF_FIELD].Unpack(signatures)
        document = {
            "model_spec": {"signature_name": "", **_message_dict(response.model_spec)},
            "metadata": {SIGNATURE_DEF_FIELD: _message_dict(signatures)},
        }
        return json.dumps(document, indent=1).encode()
    versions = [
        {
            "version": str(status.version),
            "state": status.state,
            "status": {"error_code": status.code.name, "error_message": status.message},
        }
        for status in manager.status(target.name, target.version)
    ]
    return json.dumps({"model_version_status": versions}, indent=1).encode()


def answer_post(
    core: ServerCore, path: str, body: Callable[[], bytes], until: float, wanted: Callable[[], bool]
) -> bytes:
    """Return the JSON response of a predict request. All work on the body is done in the queue of the predictions.

    Args:
        core: The served model within its limits.
        path: Path of the URL, percent-encoded.
        body: Returns the JSON.
        until: Time at which the request is over, as of ``time.monotonic``.
        wanted: Returns True if the client still waits.

    Raises:
        StatusError: The request is wrong, or its time is over.
    """
    match = _POST_PATH.fullmatch(path)
    if match is None:
        raise invalid_argument(f"Malformed request: POST {path}")
    target = _target(match)
    verb = match["verb"].lower()
    with core.counted(target.name, _APIS[verb], "REST"):
        model = core.manager.model(target.name, target.version, target.label)
        if verb == "classify":
            refuse_other_method(model, "", "classification", verb)
        if verb == "regress":
            refuse_other_method(model, "", "regression", verb)

        def check_time() -> None:
            if time.monotonic() >= until or not wanted():
                raise overdue()

        def answered() -> bytes:
            request = parse_body(body(), core.config.limits)
            check_time()
            name = request.signature_name or DEFAULT_SIGNATURE
            signature = model.signature(name)
            if signature is None:
                raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
            dtypes = {alias: tf.as_dtype(info.dtype) for alias, info in sorted(signature.inputs.items())}
            inputs = to_inputs(request, dtypes)
            check_time()
            return to_json(core.infer(model, name, inputs), request.format)

        return core.run(answered, until - time.monotonic(), wanted)
