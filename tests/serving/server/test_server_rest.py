"""The local server's REST paths, by a plain HTTP client."""

from __future__ import annotations

import base64
import http.client
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from tests.waiting import HANG

if TYPE_CHECKING:
    from serving.server.run import RunningServer

MODEL = "/v1/models/breast_density"


def b64_png(grey: int) -> dict[str, str]:
    encoded = cv2.imencode(".png", np.full((16, 16), grey, np.uint8))[1].tobytes()
    return {"b64": base64.b64encode(encoded).decode()}


def expected_probabilities(grey: int) -> np.ndarray:
    weights = np.exp(-np.square(4.0 * grey / 255.0 - 0.5 - np.arange(4.0)))
    return weights / weights.sum()


@pytest.fixture
def http_call(running: RunningServer) -> Any:
    host = urlsplit(running.rest_address).netloc

    def call(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        connection = http.client.HTTPConnection(host, timeout=HANG)
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, content, headers)
        response = connection.getresponse()
        assert response.headers["Content-Type"] == "application/json"
        answer = response.status, json.loads(response.read())
        connection.close()
        return answer

    return call


def test_row_format(http_call: Any) -> None:
    instances = [{"image_bytes": b64_png(30), "view": "CC_R"}, {"image_bytes": b64_png(200), "view": "CC_L"}]
    code, answer = http_call("POST", MODEL + ":predict", {"signature_name": "predict_view", "instances": instances})
    assert code == 200
    assert [row["density"] for row in answer["predictions"]] == ["A", "D"]
    np.testing.assert_allclose(
        [row["probabilities"] for row in answer["predictions"]],
        [expected_probabilities(30), expected_probabilities(200)],
        atol=1e-6,
    )


def test_column_format_and_version_in_path(http_call: Any) -> None:
    inputs = {"image_bytes": [b64_png(30)], "view": ["CC_R"], "target_class": ["D"]}
    code, answer = http_call("POST", MODEL + "/versions/3:predict", {"signature_name": "gradcam", "inputs": inputs})
    assert code == 200
    outputs = answer["outputs"]
    assert outputs["density"] == ["A"]
    assert np.shape(outputs["heatmap"]) == (1, 8, 8)
    assert outputs["heatmap"][0][0][0] == 0.75
    # PNG is no text, so it travels as base64 although its name does not end in _bytes.
    assert outputs["overlay_png_bytes"] == [b64_png(30)]


def test_single_input_may_be_a_plain_list(http_call: Any) -> None:
    code, answer = http_call("POST", MODEL + ":predict", {"instances": [{"b64": "eA=="}]})
    assert code == 400
    assert "Could not parse example input" in answer["error"]


def test_exam_in_row_format(http_call: Any) -> None:
    instances = [
        {"image_bytes": b64_png(grey), "view": view, "exam_id": "e"} for grey, view in ((30, "CC_R"), (60, "CC_L"))
    ]
    code, answer = http_call("POST", MODEL + ":predict", {"signature_name": "predict_exam", "instances": instances})
    assert code == 200
    (row,) = answer["predictions"]
    assert (row["exam_id"], row["view_count"]) == ("e", 2)
    np.testing.assert_allclose(row["right_probabilities"], expected_probabilities(30), atol=1e-6)
    np.testing.assert_allclose(row["left_probabilities"], expected_probabilities(60), atol=1e-6)


def test_status_and_metadata(http_call: Any) -> None:
    status = {
        "version": "3",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    assert http_call("GET", MODEL) == (200, {"model_version_status": [status]})
    assert http_call("GET", MODEL + "/versions/3") == (200, {"model_version_status": [status]})
    code, answer = http_call("GET", MODEL + "/metadata")
    assert code == 200
    assert answer["model_spec"] == {"name": "breast_density", "signature_name": "", "version": "3"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["predict_view"]
    assert signature["method_name"] == "tensorflow/serving/predict"
    view = signature["inputs"]["view"]
    assert view["dtype"] == "DT_STRING"
    assert view["tensor_shape"] == {"dim": [{"size": "-1", "name": ""}], "unknown_rank": False}


@pytest.mark.parametrize(
    ("method", "path", "code", "message"),
    [
        ("GET", "/v1/models/other", 404, "Could not find any versions of model other"),
        ("GET", MODEL + "/versions/8", 404, "Could not find version 8 of model breast_density"),
        ("GET", "/v1/models/other/metadata", 404, "Servable not found for request: Latest(other)"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("GET", MODEL + ":predict", 400, f"Malformed request: GET {MODEL}:predict"),
        ("POST", MODEL, 400, f"Malformed request: POST {MODEL}"),
        (
            "POST",
            MODEL + "/versions/8:predict",
            404,
            "Servable not found for request: Specific(breast_density, 8)",
        ),
        ("GET", "/", 404, "Not Found"),
    ],
)
def test_paths_that_lead_nowhere(http_call: Any, method: str, path: str, code: int, message: str) -> None:
    assert http_call(method, path, b"{}" if method == "POST" else None) == (code, {"error": message})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON Parse error: The document is empty"),
        (b"{", "JSON Parse error: "),
        (b"\xff\xfe{", "JSON Parse error: "),
        (b"[" * 50_000, "JSON Parse error: "),
        ('{"instances": ["a"]}'.encode("utf-16"), "JSON Parse error: The document is not UTF-8"),
        (b'{"instances": [' + b"9" * 5000 + b"]}", "JSON "),
        (b'{"instances": ' + b"[" * 900 + b"]" * 900 + b"}", "Encountered list at unexpected level"),
        (b"[]", "JSON Value: ... Is not object"),
        ({"signature_name": "predict_view"}, "Missing 'inputs' or 'instances' key"),
        ({"instances": [], "signature_name": "predict_view"}, "No values in 'instances' array"),
        ({"instances": {}, "signature_name": "predict_view"}, "to be an list/array"),
        ({"instances": [1], "inputs": [1]}, "expecting only one of 'inputs' or 'instances'"),
        ({"instances": [1], "signature_name": 4}, "'signature_name' key must be a string value"),
        ({"instances": [1], "signature_name": "nope"}, 'Serving signature name: "nope" not found'),
        ({"instances": [1]}, "Type: Number is not of expected type: string"),
        ({"instances": ["a"], "signature_name": "predict_view"}, "instances is a plain list"),
        ({"inputs": ["a"], "signature_name": "predict_view"}, "inputs is a plain value/list"),
        ({"inputs": {"view": ["a"]}, "signature_name": "predict_view"}, "Missing named input: image_bytes"),
        ({"instances": [{"view": "CC_R"}], "signature_name": "predict_view"}, "keys must be equal to"),
        ({"instances": [{"b64": "*"}]}, "Unable to base64 decode"),
        ({"instances": ["a", {"c": 1}]}, "Expecting value/list but got object at item 1"),
        ({"instances": ["a", ["b"]]}, "Expecting shape [] but got: [1]"),
        ({"inputs": [["a"], "b"]}, "found at incorrect level"),
        ({"inputs": [["a"], ["b", "c"]]}, "Encountered list at unexpected size: 2"),
    ],
)
def test_bodies_that_are_wrong(http_call: Any, body: Any, message: str) -> None:
    code, answer = http_call("POST", MODEL + ":predict", body)
    assert code == 400
    assert message in answer["error"]


def test_error_does_not_quote_the_request(http_call: Any) -> None:
    body = {"inputs": {"image_bytes": ["DOE^JANE"], "view": [{"DOE": 1}]}, "signature_name": "predict_view"}
    code, answer = http_call("POST", MODEL + ":predict", body)
    assert code == 400
    assert "DOE" not in answer["error"]


def test_oversized_and_unreadable_bodies(http_call: Any, running: RunningServer) -> None:
    host = urlsplit(running.rest_address).netloc
    connection = http.client.HTTPConnection(host, timeout=HANG)
    connection.putrequest("POST", MODEL + ":predict")
    connection.putheader("Content-Length", str(1 << 40))
    connection.endheaders()
    response = connection.getresponse()
    assert response.status == 413
    assert "exceeds" in json.loads(response.read())["error"]
    connection.close()
    assert http_call("POST", MODEL + ":predict", b"", **{"Content-Length": "many"})[0] == 400
    assert http_call("GET", MODEL)[0] == 200


def test_chunked_body_and_two_requests_on_one_connection(running: RunningServer) -> None:
    connection = http.client.HTTPConnection(urlsplit(running.rest_address).netloc, timeout=HANG)
    body = json.dumps(
        {"signature_name": "predict_view", "inputs": {"image_bytes": [b64_png(30)], "view": ["CC_R"]}}
    ).encode()
    for _ in range(2):
        parts = iter([body[:50], body[50:]])
        connection.request(
            "POST", MODEL + ":predict", parts, encode_chunked=True, headers={"Transfer-Encoding": "chunked"}
        )
        response = connection.getresponse()
        assert response.status == 200
        assert json.loads(response.read())["outputs"]["density"] == ["A"]
    connection.close()


def test_classify_is_refused_as_tensorflow_serving_does(http_call: Any) -> None:
    code, answer = http_call("POST", MODEL + ":classify", {"examples": [{}]})
    assert code == 400
    assert answer["error"].startswith("Expected classification signature method_name")
