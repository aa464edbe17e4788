"""The local server, called only with the public tensorflow-serving-api stubs."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import cv2
import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

from tests.waiting import HANG

if TYPE_CHECKING:
    from serving.server.run import RunningServer

CODE = grpc.StatusCode


def png(grey: int, size: int = 16) -> bytes:
    return cv2.imencode(".png", np.full((size, size), grey, np.uint8))[1].tobytes()


def expected_probabilities(grey: int, bias: float = 0.0) -> np.ndarray:
    place = 4.0 * grey / 255.0 - 0.5 + bias
    weights = np.exp(-np.square(place - np.arange(4.0)))
    return weights / weights.sum()


@pytest.fixture(scope="module")
def channel(running: RunningServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(
        running.grpc_address, options=[("grpc.max_send_message_length", -1), ("grpc.enable_http_proxy", 0)]
    ) as channel:
        yield channel


@pytest.fixture
def stub(channel: grpc.Channel) -> Any:
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request_for(signature: str, name: str = "breast_density", **inputs: Any) -> predict_pb2.PredictRequest:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = name
    request.model_spec.signature_name = signature
    for alias, values in inputs.items():
        request.inputs[alias].CopyFrom(tf.make_tensor_proto(values))
    return request


def refused(call: Any, request: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=HANG)
    return caught.value.code(), caught.value.details()


def test_predict_view_gives_numbers_classes_and_model_spec(stub: Any) -> None:
    response = stub.Predict(request_for("predict_view", image_bytes=[png(30), png(200)], view=["CC_R", "MLO_L"]))
    spec = response.model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("breast_density", 3, "predict_view")
    assert set(response.outputs) == {"probabilities", "density"}
    probabilities = tf.make_ndarray(response.outputs["probabilities"])
    np.testing.assert_allclose(probabilities, [expected_probabilities(30), expected_probabilities(200)], atol=1e-6)
    assert list(response.outputs["density"].string_val) == [b"A", b"D"]
    # TensorFlow Serving answers in typed fields, not in tensor_content.
    assert len(response.outputs["probabilities"].float_val) == 8


def test_serving_default_is_the_signature_of_an_empty_name(stub: Any) -> None:
    example = tf.train.Example()
    example.features.feature["image/encoded"].bytes_list.value.append(png(100))
    response = stub.Predict(request_for("", examples=[example.SerializeToString()]))
    assert response.model_spec.signature_name == "serving_default"
    np.testing.assert_allclose(
        tf.make_ndarray(response.outputs["probabilities"])[0], expected_probabilities(100), atol=1e-6
    )


def test_predict_exam_and_gradcam_keep_types_and_shapes(stub: Any) -> None:
    exam = stub.Predict(
        request_for(
            "predict_exam",
            image_bytes=[png(30), png(60), png(90)],
            view=["CC_R", "CC_L", "CC_R"],
            exam_id=["a", "a", "b"],
        )
    ).outputs
    assert list(exam["exam_id"].string_val) == [b"a", b"b"]
    counts = tf.make_ndarray(exam["view_count"])
    assert counts.dtype == np.int32
    assert counts.tolist() == [2, 1]
    cam = stub.Predict(request_for("gradcam", image_bytes=[png(30)], view=["CC_R"], target_class=["C"])).outputs
    heatmap = tf.make_ndarray(cam["heatmap"])
    assert (heatmap.dtype, heatmap.shape) == (np.float32, (1, 8, 8))
    np.testing.assert_allclose(heatmap, 0.5)
    assert cam["overlay_png_bytes"].string_val[0] == png(30)


def test_output_filter(stub: Any) -> None:
    request = request_for("predict_view", image_bytes=[png(30)], view=["CC_R"])
    request.output_filter.append("density")
    assert set(stub.Predict(request).outputs) == {"density"}
    request.output_filter.append("density")
    assert refused(stub.Predict, request) == (CODE.INVALID_ARGUMENT, "duplicate output tensor alias: density")
    request.output_filter[:] = ["grade"]
    code, message = refused(stub.Predict, request)
    assert code == CODE.INVALID_ARGUMENT
    assert message == (
        "output tensor alias not found in signature: grade Outputs expected to be in the set {density,probabilities}."
    )


def test_unknown_model_version_label_and_missing_spec(stub: Any) -> None:
    request = request_for("predict_view", name="other", image_bytes=[png(1)], view=["CC_R"])
    assert refused(stub.Predict, request) == (CODE.NOT_FOUND, "Servable not found for request: Latest(other)")
    request.model_spec.name = "breast_density"
    request.model_spec.version.value = 9
    assert refused(stub.Predict, request) == (
        CODE.NOT_FOUND,
        "Servable not found for request: Specific(breast_density, 9)",
    )
    request.model_spec.version.value = 3
    assert stub.Predict(request).model_spec.version.value == 3
    request.model_spec.version_label = "stable"
    assert refused(stub.Predict, request)[0] == CODE.INVALID_ARGUMENT
    request.ClearField("model_spec")
    assert refused(stub.Predict, request) == (CODE.INVALID_ARGUMENT, "Missing ModelSpec")


def test_unknown_signature_has_tensorflow_servings_code(stub: Any) -> None:
    assert refused(stub.Predict, request_for("segment", image_bytes=[png(1)])) == (
        CODE.FAILED_PRECONDITION,
        'Serving signature key "segment" not found.',
    )


def test_wrong_input_names(stub: Any) -> None:
    code, message = refused(stub.Predict, request_for("predict_view", image_bytes=[png(1)], side=["R"]))
    assert code == CODE.INVALID_ARGUMENT
    assert "Sent extra: {side}. Missing but required: {view}." in message
    code, message = refused(stub.Predict, request_for("predict_view", image_bytes=[png(1)]))
    assert code == CODE.INVALID_ARGUMENT
    assert message.startswith("input size does not match signature: 1!=2 len({image_bytes})")


def test_wrong_type_and_shape(stub: Any) -> None:
    assert refused(stub.Predict, request_for("predict_view", image_bytes=[0.5], view=["CC_R"])) == (
        CODE.INVALID_ARGUMENT,
        "Expects arg[0] to be string but float is provided",
    )
    code, message = refused(stub.Predict, request_for("predict_view", image_bytes=png(1), view=["CC_R"]))
    assert code == CODE.INVALID_ARGUMENT
    assert message == "Input image_bytes must have shape [?] but has shape []"


@pytest.mark.parametrize("size", [-1, 1 << 40])
def test_tensor_whose_shape_is_no_fit_is_refused(stub: Any, size: int) -> None:
    request = request_for("predict_view", image_bytes=[png(1)], view=["CC_R", "CC_L"])
    request.inputs["view"].tensor_shape.dim[0].size = size
    assert refused(stub.Predict, request) == (CODE.INVALID_ARGUMENT, "tensor parsing error: view")


def test_graph_assertion_and_broken_image_are_invalid_arguments(stub: Any) -> None:
    code, message = refused(stub.Predict, request_for("predict_view", image_bytes=[png(1)], view=["XX"]))
    assert code == CODE.INVALID_ARGUMENT
    assert message.startswith("assertion failed: [unknown view]")
    assert "function_node" not in message
    code, _ = refused(stub.Predict, request_for("predict_view", image_bytes=[b"no image"], view=["CC_R"]))
    assert code == CODE.INVALID_ARGUMENT


def test_kernel_message_does_not_quote_the_request(stub: Any) -> None:
    code, message = refused(stub.Predict, request_for("serving_default", examples=[b"DOE^JANE"]))
    assert code == CODE.INVALID_ARGUMENT
    assert "Could not parse example input" in message
    assert "DOE" not in message


def test_oversized_request_is_refused_and_the_server_goes_on(stub: Any) -> None:
    request = request_for("predict_view", image_bytes=[b"\0" * (65 << 20)], view=["CC_R"])
    assert refused(stub.Predict, request)[0] == CODE.RESOURCE_EXHAUSTED
    assert stub.Predict(request_for("predict_view", image_bytes=[png(9)], view=["CC_R"])).outputs


def test_metadata_round_trip(stub: Any) -> None:
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "breast_density"
    code, message = refused(stub.GetModelMetadata, request)
    assert code == CODE.INVALID_ARGUMENT
    assert message == "GetModelMetadataRequest must specify at least one metadata_field"
    request.metadata_field.append("signature_def")
    response = stub.GetModelMetadata(request)
    assert response.model_spec.version.value == 3
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    signatures = signatures.signature_def
    assert {"serving_default", "predict_view", "predict_exam", "gradcam"} <= set(signatures)
    gradcam = signatures["gradcam"]
    assert set(gradcam.inputs) == {"image_bytes", "view", "target_class"}
    assert tf.as_dtype(gradcam.outputs["heatmap"].dtype) == tf.float32
    assert [d.size for d in gradcam.inputs["view"].tensor_shape.dim] == [-1]
    request.metadata_field.append("weights")
    assert refused(stub.GetModelMetadata, request)[0] == CODE.INVALID_ARGUMENT


def test_model_status(channel: grpc.Channel) -> None:
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "breast_density"
    (status,) = models.GetModelStatus(request).model_version_status
    assert (status.version, status.state, status.status.error_code) == (
        3,
        get_model_status_pb2.ModelVersionStatus.AVAILABLE,
        0,
    )
    request.model_spec.version.value = 4
    assert refused(models.GetModelStatus, request) == (
        CODE.NOT_FOUND,
        "Could not find version 4 of model breast_density",
    )
    request.model_spec.Clear()
    request.model_spec.name = "other"
    assert refused(models.GetModelStatus, request) == (
        CODE.NOT_FOUND,
        "Could not find any versions of model other",
    )


def test_methods_the_model_has_no_signature_for(stub: Any) -> None:
    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "breast_density"
    code, message = refused(stub.Classify, request)
    assert code == CODE.INVALID_ARGUMENT
    assert message == (
        "Expected classification signature method_name to be tensorflow/serving/classify. "
        "Was: tensorflow/serving/predict"
    )
    assert refused(stub.MultiInference, inference_pb2.MultiInferenceRequest())[0] == CODE.UNIMPLEMENTED


def test_reload_of_another_model_or_path_is_refused(channel: grpc.Channel) -> None:
    models = model_service_pb2_grpc.ModelServiceStub(channel)
    request = model_management_pb2.ReloadConfigRequest()
    assert refused(models.HandleReloadConfigRequest, request)[0] == CODE.INVALID_ARGUMENT
    config = request.config.model_config_list.config.add(name="other", base_path="/etc")
    assert refused(models.HandleReloadConfigRequest, request)[0] == CODE.NOT_FOUND
    config.name = "breast_density"
    assert refused(models.HandleReloadConfigRequest, request)[0] == CODE.UNIMPLEMENTED


def test_eight_threads_each_get_their_own_answer(stub: Any) -> None:
    def grade(grey: int) -> np.ndarray:
        response = stub.Predict(request_for("predict_view", image_bytes=[png(grey)], view=["CC_R"]), timeout=HANG)
        return tf.make_ndarray(response.outputs["probabilities"])[0]

    greys = [(37 * i) % 256 for i in range(160)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(grade, greys))
    np.testing.assert_allclose(answers, [expected_probabilities(grey) for grey in greys], atol=1e-6)
