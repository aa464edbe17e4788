"""TensorFlow Serving's REST paths over the served model.

``POST /v1/models/NAME[/versions/N]:predict``, ``GET /v1/models/NAME[/versions/N]`` and ``GET .../metadata``;
errors are ``{"error": message}`` with TensorFlow Serving's HTTP codes. What differs: a body over the limit is
refused with 413, and what `serving.server.json_tensors` names.
"""

from __future__ import annotations

import inspect
import json
import logging
import re
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import grpc
import tensorflow as tf
from google.protobuf import json_format
from google.protobuf.message import Message
from tensorflow_serving.apis import get_model_metadata_pb2

from serving.server.errors import StatusError, invalid_argument
from serving.server.grpc_service import SIGNATURE_DEF_FIELD, model_metadata, refuse_other_method
from serving.server.json_tensors import parse_body, to_inputs, to_json
from serving.server.manager import ModelManager
from serving.server.model import DEFAULT_SIGNATURE

_log = logging.getLogger(__name__)

_VERSION_PART: Final = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_POST_PATH: Final = re.compile(
    r"/v1/models/(?P<name>[^/:]+)" + _VERSION_PART + r":(?P<verb>classify|regress|predict)", re.I
)
_GET_PATH: Final = re.compile(
    r"/v1/models(?:/(?P<name>[^/:]+))?" + _VERSION_PART + r"(?:/(?P<resource>metadata))?", re.I
)
_IDLE_SECONDS: Final = 60
_CHUNK: Final = 1 << 20

_HTTP_CODES: Final = {
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


class _BodyError(Exception):
    """A body that was not read to its end, so the connection cannot be used any further."""

    def __init__(self, code: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


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
    """Converts a message with all its fields, also those at their default, under their proto names."""
    known = inspect.signature(json_format.MessageToDict).parameters
    newer = "always_print_fields_with_no_presence"  # protobuf 5 renamed the argument
    flag = newer if newer in known else "including_default_value_fields"
    return json_format.MessageToDict(message, preserving_proto_field_name=True, **{flag: True})


def answer_get(manager: ModelManager, path: str) -> bytes:
    """Answers a status or metadata request.

    Args:
        manager: The served model.
        path: Path of the URL, still percent-encoded.

    Returns:
        JSON.

    Raises:
        StatusError: What the client did wrong.
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
    if target.label:
        raise invalid_argument(f"Unrecognized servable version label: {target.label}")
    versions = [
        {
            "version": str(status.version),
            "state": status.state,
            "status": {"error_code": status.code.name, "error_message": status.message},
        }
        for status in manager.status(target.name, target.version)
    ]
    return json.dumps({"model_version_status": versions}, indent=1).encode()


def answer_post(manager: ModelManager, path: str, body: bytes) -> bytes:
    """Answers a predict request.

    Args:
        manager: The served model.
        path: Path of the URL, still percent-encoded.
        body: JSON.

    Returns:
        JSON.

    Raises:
        StatusError: What the client did wrong.
    """
    match = _POST_PATH.fullmatch(path)
    if match is None:
        raise invalid_argument(f"Malformed request: POST {path}")
    target = _target(match)
    model = manager.model(target.name, target.version, target.label)
    verb = match["verb"].lower()
    if verb == "classify":
        refuse_other_method(model, "", "classification", verb)
    if verb == "regress":
        refuse_other_method(model, "", "regression", verb)
    request = parse_body(body)
    name = request.signature_name or DEFAULT_SIGNATURE
    signature = model.signature(name)
    if signature is None:
        raise invalid_argument(f'Serving signature name: "{name}" not found in signature def')
    dtypes = {alias: tf.as_dtype(info.dtype) for alias, info in sorted(signature.inputs.items())}
    return to_json(model.predict(name, to_inputs(request, dtypes)), request.format)


class RestServer(ThreadingHTTPServer):
    """HTTP/1.1 server, one thread a connection."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], manager: ModelManager, max_body_bytes: int) -> None:
        """Binds.

        Args:
            address: Host and port; port 0 picks a free one.
            manager: The served model.
            max_body_bytes: Largest request body, bytes.

        Raises:
            OSError: The port is taken or not allowed.
        """
        super().__init__(address, _Handler)
        self.manager = manager
        self.max_body_bytes = max_body_bytes

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Keeps a client that hangs up out of standard error."""
        _log.debug("A connection ended early")


class _Handler(BaseHTTPRequestHandler):
    server: RestServer
    protocol_version = "HTTP/1.1"
    server_version = "BreastDensityServer"
    sys_version = ""
    timeout = _IDLE_SECONDS

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        try:
            body = self._body()
        except _BodyError as error:
            self.close_connection = True
            self._send(error.code, json.dumps({"error": error.message}).encode())
            return
        self._answer(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Logs nothing: paths and client addresses are not for the log."""

    def _answer(self, body: bytes) -> None:
        path = urlsplit(self.path).path
        try:
            if not path.lower().startswith("/v1/"):
                self._send(404, json.dumps({"error": "Not Found"}).encode())
            elif self.command == "GET":
                self._send(200, answer_get(self.server.manager, path))
            else:
                self._send(200, answer_post(self.server.manager, path, body))
        except StatusError as error:
            code = _HTTP_CODES.get(error.code, 500)
            self._send(code, json.dumps({"error": error.message}).encode())
        except OSError:
            self.close_connection = True  # the client hung up
        except Exception as error:
            _log.error("REST request failed: %s", type(error).__name__)
            self._send(500, json.dumps({"error": "Internal error of the server"}).encode())

    def _send(self, code: int, content: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return self._chunked_body()
        length = self.headers.get("Content-Length", "0")
        if not (length.isascii() and length.isdigit()):
            raise _BodyError(HTTPStatus.BAD_REQUEST, "Malformed request: Content-Length is no number")
        self._check_size(int(length))
        return self._read(int(length))

    def _chunked_body(self) -> bytes:
        body = bytearray()
        while True:
            try:
                size = int(self.rfile.readline(64).split(b";")[0], 16)
            except ValueError:
                raise _BodyError(HTTPStatus.BAD_REQUEST, "Malformed request: chunk size") from None
            if size < 0:
                raise _BodyError(HTTPStatus.BAD_REQUEST, "Malformed request: chunk size")
            self._check_size(len(body) + size)
            body += self._read(size)
            while self.rfile.readline(8192).strip():  # line end; after the last chunk, trailers
                if size:
                    raise _BodyError(HTTPStatus.BAD_REQUEST, "Malformed request: chunk end")
            if size == 0:
                return bytes(body)

    def _check_size(self, size: int) -> None:
        if size > self.server.max_body_bytes:
            limit = self.server.max_body_bytes
            raise _BodyError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Request body exceeds {limit} bytes")

    def _read(self, size: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            part = self.rfile.read(min(_CHUNK, size - len(parts)))
            if not part:
                raise _BodyError(HTTPStatus.BAD_REQUEST, "Malformed request: body ends early")
            parts += part
        return bytes(parts)
