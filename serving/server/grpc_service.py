"""TensorFlow Serving's gRPC services for the served model.

Differences from TensorFlow Serving: messages are limited to `Limits.message_bytes`; ``MultiInference`` and ``Watch`` of
the health service are UNIMPLEMENTED; ``HandleReloadConfigRequest`` only changes the version policy and labels of the
served model, and if it fails, the served versions stay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any, Final

import grpc
from google.protobuf import any_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_management_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from serving.server.core import ServerCore
from serving.server.manager import ModelManager
from serving.server.model import DEFAULT_SIGNATURE, LoadedModel
from serving.server.tensors import AnswerWriter, to_array
from serving.server.text_protos import policy_of
from serving.wire.errors import StatusError, invalid_argument, not_found, unimplemented

_log = logging.getLogger(__name__)

SIGNATURE_DEF_FIELD: Final = "signature_def"
PREDICTION_SERVICE: Final = "tensorflow.serving.PredictionService"


def _answered(method: Callable[..., Any]) -> Callable[..., Any]:
    """Turn errors of a service method into gRPC statuses, without logging the request."""

    @wraps(method)
    def answer(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return method(self, request, context)
        except StatusError as error:
            context.abort(error.code, error.message)
        except Exception as error:
            _log.error("%s failed: %s", method.__name__, type(error).__name__)
            context.abort(grpc.StatusCode.INTERNAL, "Internal error of the server")

    return answer


def _served(manager: ModelManager, request: Any) -> LoadedModel:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    spec = request.model_spec
    version = spec.version.value if spec.HasField("version") else None
    return manager.model(spec.name, version, spec.version_label)


def _seconds_left(context: grpc.ServicerContext) -> float:
    left = context.time_remaining()
    return float("inf") if left is None else left


def _fill_spec(spec: model_pb2.ModelSpec, manager: ModelManager, model: LoadedModel) -> None:
    spec.name = manager.name
    spec.version.value = model.version


def model_metadata(manager: ModelManager, model: LoadedModel) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """Return the response of ``GetModelMetadata``: all signatures, as Any of SignatureDefMap."""
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    _fill_spec(response.model_spec, manager, model)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in model.signature_defs.items():
        signatures.signature_def[name].CopyFrom(signature)
    packed = any_pb2.Any()
    packed.Pack(signatures)
    response.metadata[SIGNATURE_DEF_FIELD].CopyFrom(packed)
    return response


def refuse_other_method(model: LoadedModel, signature_name: str, kind: str, method: str) -> None:
    """Refuse ``Classify`` and ``Regress`` as TensorFlow Serving does for predict signatures.

    Args:
        model: The served model.
        signature_name: Signature of the request; empty is the default one.
        kind: ``classification`` or ``regression``.
        method: ``classify`` or ``regress``.

    Raises:
        StatusError: INVALID_ARGUMENT, always.
    """
    name = signature_name or DEFAULT_SIGNATURE
    signature = model.signature(name)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {name}")
    raise invalid_argument(
        f"Expected {kind} signature method_name to be tensorflow/serving/{method}. Was: {signature.method_name}"
    )


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """``tensorflow.serving.PredictionService``."""

    def __init__(self, core: ServerCore) -> None:
        self._core = core
        self._manager = core.manager
        self._answers = AnswerWriter()

    @_answered
    def Predict(  # noqa: N802 (name of the service definition)
        self, request: predict_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> bytes:
        """Run one signature and return a serialized ``PredictResponse``, see `add_prediction_service`."""
        with self._core.counted(request.model_spec.name, "Predict", "GRPC"):
            model = _served(self._manager, request)
            signature = request.model_spec.signature_name
            spec = model_pb2.ModelSpec(signature_name=signature or DEFAULT_SIGNATURE)
            _fill_spec(spec, self._manager, model)

            def answered() -> bytes:
                inputs = {name: to_array(name, proto) for name, proto in request.inputs.items()}
                outputs = self._core.infer(model, signature, inputs, list(request.output_filter))
                return self._answers.write(outputs, spec)

            return self._core.run(answered, _seconds_left(context), context.is_active)

    @_answered
    def GetModelMetadata(  # noqa: N802
        self, request: get_model_metadata_pb2.GetModelMetadataRequest, context: grpc.ServicerContext
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """Return the signatures."""
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        if not request.metadata_field:
            raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != SIGNATURE_DEF_FIELD:
                raise invalid_argument(f"Metadata field {field} is not supported")
        return model_metadata(self._manager, _served(self._manager, request))

    @_answered
    def Classify(  # noqa: N802
        self, request: classification_pb2.ClassificationRequest, context: grpc.ServicerContext
    ) -> None:
        """Refuse the request: the model only has predict signatures."""
        with self._core.counted(request.model_spec.name, "Classify", "GRPC"):
            model = _served(self._manager, request)
            refuse_other_method(model, request.model_spec.signature_name, "classification", "classify")

    @_answered
    def Regress(  # noqa: N802
        self, request: regression_pb2.RegressionRequest, context: grpc.ServicerContext
    ) -> None:
        """Refuse the request: the model only has predict signatures."""
        with self._core.counted(request.model_spec.name, "Regress", "GRPC"):
            model = _served(self._manager, request)
            refuse_other_method(model, request.model_spec.signature_name, "regression", "regress")


def add_prediction_service(service: PredictionService, server: grpc.Server) -> None:
    """Add ``tensorflow.serving.PredictionService`` to a server. ``Predict`` returns bytes, see `AnswerWriter`."""
    predict = grpc.unary_unary_rpc_method_handler(
        service.Predict, predict_pb2.PredictRequest.FromString, response_serializer=bytes
    )
    handler = grpc.method_handlers_generic_handler(PREDICTION_SERVICE, {"Predict": predict})
    server.add_generic_rpc_handlers((handler,))  # gRPC uses the first handler that knows a method
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(service, server)


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """``tensorflow.serving.ModelService``."""

    def __init__(self, manager: ModelManager) -> None:
        self._manager = manager

    @_answered
    def GetModelStatus(  # noqa: N802
        self, request: get_model_status_pb2.GetModelStatusRequest, context: grpc.ServicerContext
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """Return the state of the versions."""
        if not request.HasField("model_spec"):
            raise invalid_argument("Missing ModelSpec")
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        response = get_model_status_pb2.GetModelStatusResponse()
        for status in self._manager.status(spec.name, version):
            entry = response.model_version_status.add(version=status.version)
            entry.state = get_model_status_pb2.ModelVersionStatus.State.Value(status.state)
            entry.status.error_code = status.code.value[0]
            entry.status.error_message = status.message
        return response

    @_answered
    def HandleReloadConfigRequest(  # noqa: N802
        self, request: model_management_pb2.ReloadConfigRequest, context: grpc.ServicerContext
    ) -> model_management_pb2.ReloadConfigResponse:
        """Change the version policy and the labels."""
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest."
                " Only ModelConfigList is currently supported"
            )
        configs = request.config.model_config_list.config
        if len(configs) != 1:
            raise unimplemented(f"This server serves exactly one model; the request lists {len(configs)}.")
        (config,) = configs
        if config.name != self._manager.name:
            raise not_found(f"This server serves no model named {config.name}.")
        # With another base_path every client could read any folder of the host.
        if config.base_path.rstrip("/") not in (str(self._manager.model_dir), str(self._manager.model_dir.resolve())):
            raise unimplemented("This server does not change base_path: restart it on the other folder.")
        try:
            policy = policy_of(config)
        except ValueError:
            raise invalid_argument("model_version_policy names no version that can be served") from None
        self._manager.reload(policy, dict(config.version_labels))
        return model_management_pb2.ReloadConfigResponse()
