"""What the model server costs: latency and exams a second through gRPC against the bare SavedModel, in one run.

    python -m benchmarks.serving [--sizes 96:0.25 450:1] [--seconds 20]

Prints a section of Markdown. The server runs in a process of its own, as it would; the floor calls the same signature
of the same SavedModel in this process, on the same bytes, to numpy arrays. Calls of all ways alternate, so that a
machine that slows down slows them all. The networks are not trained, which changes no time.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks.pictures import breast_png
from components.exam_ensemble.ensemble import load_exam_model
from components.trainer.config import NetworkConfig
from components.trainer.network import build_network
from components.transform.config import ImageConfig
from components.transform.images import decode_images, normalise
from schema.features import VIEWS
from serving.signatures import export

_NAME: Final = "breast_density"
_SERVING: Final = re.compile(r"gRPC (\S+), REST (\S+)")
_START_SECONDS: Final = 300.0
_CLIENTS: Final = 4
_FLOATS: Final = "floats"
_MAX_MESSAGE_BYTES: Final = 64 * 1024 * 1024

Call = Callable[[], Any]


def save_model(folder: Path, size: int, width: float) -> Path:
    """Exports an exam model of four untrained networks, as ExamEnsemble does.

    Args:
        folder: Folder to write to.
        size: Height and width of the input, pixels.
        width: Factor on the network's filters.

    Returns:
        The folder of versions.
    """
    image = ImageConfig(size=size)
    files = {}
    for number, view in enumerate(VIEWS):
        files[view] = str(folder / f"{view}.keras")
        build_network(image, NetworkConfig(width=width), seed=number).save(files[view])
    model = load_exam_model(files, image, "{}")
    export(model, str(folder / "models" / "1"))
    return folder / "models"


def save_float_model(folder: Path, size: int, width: float) -> Path:
    """Exports one network whose input is the normalised image, as most published models take it."""
    image = ImageConfig(size=size)
    network = build_network(image, NetworkConfig(width=width), seed=0)
    module = tf.Module()
    module.network = network

    @tf.function(input_signature=[tf.TensorSpec([None, size, size, 1], tf.float32, name="images")])
    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.nn.softmax(network(images, training=False))}

    tf.saved_model.save(module, str(folder / "models" / "1"), signatures={"serving_default": serve})
    return folder / "models"


@contextmanager
def served(models: Path) -> Iterator[tuple[str, str]]:
    """Serves a model by ``breast-density serve`` in a process of its own; gives gRPC and REST addresses."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "serve", str(models)]
    process = subprocess.Popen(
        [*command, "--grpc-port", "0", "--rest-port", "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    killer = threading.Timer(_START_SECONDS, process.kill)
    killer.start()
    try:
        assert process.stdout is not None
        found = next((match for line in process.stdout if (match := _SERVING.search(line))), None)
        if found is None:
            raise RuntimeError("The server did not start.")
        killer.cancel()
        yield found[1], found[2].rstrip(".")
    finally:
        killer.cancel()
        process.terminate()
        process.wait()


def _alternate(ways: dict[str, Call], seconds: float) -> dict[str, list[float]]:
    """Times calls in turn for some seconds a way (at least 20 calls); seconds of each call."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        for _ in range(3):  # the first traces and fills caches
            call()
    deadline = time.perf_counter() + seconds * len(ways)
    while time.perf_counter() < deadline or len(next(iter(times.values()))) < 20:
        for name, call in ways.items():
            started = time.perf_counter()
            call()
            times[name].append(time.perf_counter() - started)
    return times


def _rate(call: Call, seconds: float, clients: int) -> float:
    """Calls a second of some threads that call at once."""
    deadline = time.perf_counter() + seconds
    counts = [0] * clients

    def run(number: int) -> None:
        while time.perf_counter() < deadline:
            call()
            counts[number] += 1

    started = time.perf_counter()
    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - started)


def _milliseconds(times: Sequence[float]) -> str:
    p50, p95, p99 = (1000 * np.percentile(times, share) for share in (50, 95, 99))
    return f"{p50:.1f} | {p95:.1f} | {p99:.1f}"


def _ratio(times: Sequence[float], floor: Sequence[float]) -> float:
    return statistics.median(times) / statistics.median(floor)


def _inputs(signature: str, pngs: Sequence[bytes], exams: int) -> dict[str, np.ndarray]:
    inputs = {
        "image_bytes": np.array(list(pngs) * exams, object),
        "view": np.array([view.encode() for view in VIEWS] * exams, object),
    }
    if signature.endswith("_exam"):
        inputs["exam_id"] = np.array([str(number).encode() for number in range(exams) for _ in VIEWS], object)
    if signature in ("gradcam", "explain_exam"):
        inputs["target_class"] = np.array([b""] * len(VIEWS) * exams, object)
    return inputs


def _bare(model: Any, signature: str, inputs: dict[str, np.ndarray]) -> Call:
    function = model.signatures[signature]
    return lambda: {
        key: value.numpy() for key, value in function(**{k: tf.constant(v) for k, v in inputs.items()}).items()
    }


def _grpc(address: str, signature: str, inputs: dict[str, np.ndarray]) -> Call:
    """Makes a call through the public stubs, from arrays to arrays."""
    channel = grpc.insecure_channel(address, [("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES)])
    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

    def call() -> dict[str, np.ndarray]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = _NAME, signature
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        answer = stub.Predict(request)
        return {name: tf.make_ndarray(tensor) for name, tensor in answer.outputs.items()}

    return call


def _latency(models: Path, address: str, pngs: Sequence[bytes], seconds: float) -> Iterator[str]:
    model = tf.saved_model.load(str(models / "1"))
    yield "| signature | images | way | p50, ms | p95, ms | p99, ms | n | exams/s, one client | against bare |"
    yield "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    plain: dict[tuple[int, str], list[float]] = {}
    costs = []
    for signature in ("predict_exam", "gradcam", "explain_exam"):
        for exams in (1, 4):
            inputs = _inputs(signature, pngs, exams)
            ways = {
                "bare": _bare(model, signature, inputs),
                "gRPC": _grpc(address, signature, inputs),
            }
            times = _alternate(ways, seconds)
            for way, values in times.items():
                yield (
                    f"| `{signature}` | {exams * len(VIEWS)} | {way} | {_milliseconds(values)} | {len(values)} |"
                    f" {exams / statistics.mean(values):.2f} | {_ratio(values, times['bare']):.3f} |"
                )
                if signature == "predict_exam":
                    plain[exams, way] = values
                else:
                    costs.append(
                        f"| `{signature}` | {exams * len(VIEWS)} | {way} | {_ratio(values, plain[exams, way]):.2f} |"
                    )
    yield "\nGrades with heat maps against grades alone (`predict_exam`), medians:\n"
    yield "| signature | images | way | ratio |"
    yield "| --- | ---: | --- | ---: |"
    yield from costs
    yield f"\n{_CLIENTS} clients at once, `predict_exam`, one exam a request:\n"
    yield "| way | exams/s | against bare, one caller |"
    yield "| --- | ---: | ---: |"
    inputs = _inputs("predict_exam", pngs, 1)
    bare = _bare(model, "predict_exam", inputs)
    rates = {
        "bare, one caller": _rate(bare, seconds, 1),
        f"bare, {_CLIENTS} threads": _rate(bare, seconds, _CLIENTS),
        f"gRPC, {_CLIENTS} clients": _rate(_grpc(address, "predict_exam", inputs), seconds, _CLIENTS),
    }
    for way, rate in rates.items():
        yield f"| {way} | {rate:.2f} | {rate / rates['bare, one caller']:.2f} |"


def _post(url: str, body: bytes) -> bytes:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request) as answer:
        return bytes(answer.read())


def _rest(folder: Path, rest: str, pngs: Sequence[bytes], size: int, width: float, seconds: float) -> Iterator[str]:
    floats = normalise(decode_images(tf.constant(list(pngs)), size), ImageConfig(size=size)).numpy()
    encoded = [{"b64": base64.b64encode(png).decode()} for png in pngs]
    # The network of one view, four images: the same work on both sides.
    png_body = {"signature_name": "predict_view", "inputs": {"image_bytes": encoded, "view": [VIEWS[0]] * len(pngs)}}
    bodies = {"PNG": json.dumps(png_body).encode(), _FLOATS: json.dumps({"inputs": floats.tolist()}).encode()}
    with served(save_float_model(folder / _FLOATS, size, width)) as (_, float_rest):
        urls = {"PNG": rest, _FLOATS: float_rest}
        ways = {
            name: lambda name=name: _post(f"{urls[name]}/v1/models/{_NAME}:predict", bodies[name]) for name in bodies
        }
        times = _alternate(ways, seconds)
    yield "| body | MB | p50, ms | p95, ms | p99, ms | n | against PNG |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, values in times.items():
        label = "PNG, base64" if name == "PNG" else "floats, JSON"
        ratio = _ratio(values, times["PNG"])
        yield f"| {label} | {len(bodies[name]) / 1e6:.2f} | {_milliseconds(values)} | {len(values)} | {ratio:.2f} |"


def measure(size: int, width: float, seconds: float) -> Iterator[str]:
    """Measures one size of network; gives lines of Markdown."""
    pngs = [breast_png(number, size) for number in range(len(VIEWS))]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        models = save_model(folder, size, width)
        with served(models) as (address, rest):
            yield f"\n### {size} x {size} pixels, width {width:g}\n"
            yield from _latency(models, address, pngs, seconds)
            yield "\nFour images of one view over REST:\n"
            yield from _rest(folder, rest, pngs, size, width, seconds)


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", nargs="+", default=["96:0.25", "450:1"], help="pixels:width of the networks")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each way and signature")
    arguments = parser.parse_args()
    print("## Serving")
    for pair in arguments.sizes:
        size, _, width = pair.partition(":")
        for line in measure(int(size), float(width), arguments.seconds):
            print(line, flush=True)


if __name__ == "__main__":
    main()
