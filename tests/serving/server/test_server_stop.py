"""SIGTERM ends ``breast-density serve`` although a prediction runs that never ends."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from tests.waiting import HANG, wait_until


class Endless(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="x")])
    def answer(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        zero = tf.size(x) * 0
        return {"y": tf.while_loop(lambda i: i >= 0, lambda i: i * 1, [zero])[0]}


def test_sigterm_does_not_wait_for_a_prediction(tmp_path: Path) -> None:
    model = Endless()
    tf.saved_model.save(model, str(tmp_path / "models" / "1"), signatures={"serving_default": model.answer})
    command = [sys.executable, "-m", "pipeline.cli", "serve", str(tmp_path / "models")]
    command += ["--grpc-port", "0", "--rest-port", "0", "--running", "1", "--queued", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r"gRPC (\S+),", process.stdout.readline())
            assert found is not None
            with grpc.insecure_channel(found[1]) as channel:
                request = predict_pb2.PredictRequest()
                request.model_spec.name = "breast_density"
                request.inputs["x"].CopyFrom(tf.make_tensor_proto(["a"]))
                predict = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict

                def has_no_place() -> bool:
                    try:
                        predict(request, timeout=0.2)
                    except grpc.RpcError as error:
                        return bool(error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED)
                    return False

                wait_until(has_no_place)  # one of the calls before runs, although its client left
                process.send_signal(signal.SIGTERM)
                assert process.wait(HANG) == 0
        finally:
            process.kill()
