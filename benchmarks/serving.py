"""What the model server costs: latency and exams a second through gRPC against the bare SavedModel, in one run.

    python -m benchmarks.serving [--demo demo] [--seconds 40]

Prints a section of Markdown. The server runs in a process of its own, as it would; the floor calls the same signature
of the same SavedModel in this process, on the same bytes, to numpy arrays. Calls of all ways alternate, so that a
machine that slows down slows them all. Two models: the one that a demo run pushed (96 pixels, a sixteenth of the
filters' work), where there is one, and the published network at 450 pixels as a hospital would run it, untrained,
which changes no time. One exam is four images, the batch of every call.
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from benchmarks.pictures import breast_png
from benchmarks.timing import Call, alternate, load, percentiles, ratio
from components.exam_ensemble.ensemble import load_exam_model
from components.exam_model.signatures import ExamSettings, export
from components.exam_model.versions import find_versions
from components.trainer.config import NetworkConfig
from components.trainer.network import build_network
from components.transform.config import ImageConfig
from components.transform.images import decode_images, normalise
from schema.features import VIEWS
from serving.client.grpc_client import ExamClient, open_channel
from serving.client.local_model import LocalModel

_NAME: Final = "breast_density"
_SERVING: Final = re.compile(r"gRPC (\S+), REST (\S+)")
_START_SECONDS: Final = 300.0
_CLIENTS: Final = 4
_FLOATS: Final = "floats"
_ROUNDS: Final = 20
_HOSPITAL: Final = (450, 1.0)  # pixels, factor on the filters


def save_model(folder: Path, size: int, width: float, recipe: str = "{}", seed: int = 0, networks: int = 4) -> Path:
    """Export an exam model of untrained networks, as ExamEnsemble does.

    Args:
        folder: Folder to write to.
        size: Height and width of the input, pixels.
        width: Factor on the network's filters.
        recipe: JSON of the preprocessing recipe that it carries.
        seed: Seed of the first network's weights.
        networks: How many there are; views share them where they are fewer than four.

    Returns:
        The folder of versions.
    """
    image = ImageConfig(size=size)
    files = {}
    folder.mkdir(parents=True, exist_ok=True)
    for number, view in enumerate(VIEWS):
        files[view] = str(folder / f"{number % networks}.keras")
        if number < networks:
            build_network(image, NetworkConfig(width=width), seed=seed + number).save(files[view])
    model = load_exam_model(files, image, ExamSettings(recipe))
    export(model, str(folder / "models" / "1"))
    return folder / "models"


def save_float_model(folder: Path, size: int, width: float) -> Path:
    """Export one network whose input is the normalised image, as most published models take it."""
    image = ImageConfig(size=size)
    network = build_network(image, NetworkConfig(width=width), seed=0)
    module = tf.Module()
    module.network = network

    @tf.function(input_signature=[tf.TensorSpec([None, size, size, 1], tf.float32, name="images")])
    def serve(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probabilities": tf.nn.softmax(network(images, training=False))}

    tf.saved_model.save(module, str(folder / "models" / "1"), signatures={"serving_default": serve})
    return folder / "models"


@dataclass(frozen=True)
class ServerProcess:
    """A server in a process of its own.

    Attributes:
        process: The process.
        grpc: ``host:port`` of gRPC.
        rest: ``http://host:port`` of REST.
    """

    process: subprocess.Popen[str]
    grpc: str
    rest: str


@contextmanager
def server_process(models: Path, grpc_port: int = 0) -> Iterator[ServerProcess]:
    """Serve a model by ``breast-density serve``."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "serve", str(models)]
    ports = ["--grpc-port", str(grpc_port), "--rest-port", "0"]
    process = subprocess.Popen([*command, *ports], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    killer = threading.Timer(_START_SECONDS, process.kill)
    killer.start()
    try:
        assert process.stdout is not None
        found = next((match for line in process.stdout if (match := _SERVING.search(line))), None)
        if found is None:
            raise RuntimeError("The server did not start.")
        killer.cancel()
        yield ServerProcess(process, found[1], found[2].rstrip("."))
    finally:
        killer.cancel()
        process.terminate()
        process.wait()


@contextmanager
def served(models: Path) -> Iterator[tuple[str, str]]:
    """Serve a model in its own process; yield the gRPC and REST addresses."""
    with server_process(models) as server:
        yield server.grpc, server.rest


def _rate(call: Call, seconds: float, clients: int) -> float:
    """Return the calls per second of several threads that call at the same time."""
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


def exam_inputs(signature: str, pngs: Sequence[bytes]) -> dict[str, NDArray[Any]]:
    """Return the inputs of a signature for one exam, one image per view."""
    inputs = {"image_bytes": np.array(list(pngs), object), "view": np.array([v.encode() for v in VIEWS], object)}
    if signature.endswith("_exam"):
        inputs["exam_id"] = np.array([b"exam"] * len(VIEWS), object)
    if signature in ("gradcam", "explain_exam"):
        inputs["target_class"] = np.array([b""] * len(VIEWS), object)
    return inputs


def _bare(model: Any, signature: str, inputs: Mapping[str, NDArray[Any]]) -> Call:
    function = model.signatures[signature]
    return lambda: {
        key: value.numpy() for key, value in function(**{k: tf.constant(v) for k, v in inputs.items()}).items()
    }


def _by_stubs(address: str, signature: str, inputs: Mapping[str, NDArray[Any]]) -> Call:
    """Make a call through the public stubs and TensorFlow's own functions, from arrays to arrays."""
    stub = prediction_service_pb2_grpc.PredictionServiceStub(open_channel(address))

    def call() -> dict[str, NDArray[Any]]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = _NAME, signature
        for name, values in inputs.items():
            request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
        return {name: tf.make_ndarray(tensor) for name, tensor in stub.Predict(request).outputs.items()}

    return call


def _latency(model: Any, client: ExamClient, pngs: Sequence[bytes], seconds: float) -> Iterator[str]:
    """Time grades without and with heat maps, in process and through the server, in one set of rounds."""
    ways: dict[str, Call] = {}
    for signature in ("predict_exam", "gradcam", "explain_exam"):
        inputs = exam_inputs(signature, pngs)
        ways[f"{signature}, bare"] = _bare(model, signature, inputs)
        ways[f"{signature}, gRPC"] = partial(client.run, signature, inputs)
    ways["explain_exam, stubs"] = _by_stubs(client.address, "explain_exam", exam_inputs("explain_exam", pngs))
    times = alternate(ways, seconds, _ROUNDS)
    yield "| signature | way | p50, ms | p95, ms | p99, ms | n | exams/s | against bare | against predict_exam |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, values in times.items():
        signature, way = name.split(", ")
        floor = times[f"{signature}, bare"]
        plain = times[f"predict_exam, {'bare' if way == 'bare' else 'gRPC'}"]
        yield (
            f"| `{signature}` | {way} | {percentiles(values)} | {1 / statistics.mean(values):.2f} |"
            f" {ratio(values, floor)} | {ratio(values, plain)} |"
        )


def _throughput(model: Any, client: ExamClient, pngs: Sequence[bytes], seconds: float) -> Iterator[str]:
    yield f"\n{_CLIENTS} clients at once, `predict_exam`:\n"
    yield "| way | exams/s | against bare, one caller |"
    yield "| --- | ---: | ---: |"
    inputs = exam_inputs("predict_exam", pngs)
    bare = _bare(model, "predict_exam", inputs)
    rates = {
        "bare, one caller": _rate(bare, seconds, 1),
        f"bare, {_CLIENTS} threads": _rate(bare, seconds, _CLIENTS),
        f"gRPC, {_CLIENTS} clients": _rate(lambda: client.run("predict_exam", inputs), seconds, _CLIENTS),
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
        times = alternate(ways, seconds, _ROUNDS // 2)
    yield "\nFour images of one view over REST, as PNG and as numbers:\n"
    yield "| body | MB | p50, ms | p95, ms | p99, ms | n | against PNG |"
    yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"
    for name, values in times.items():
        label = "PNG, base64" if name == "PNG" else "floats, JSON"
        yield f"| {label} | {len(bodies[name]) / 1e6:.2f} | {percentiles(values)} | {ratio(values, times['PNG'])} |"


def of_demo(demo: Path, seconds: float) -> Iterator[str]:
    """Measure the model that a demo run pushed; return lines of Markdown."""
    models = next((folder for folder in sorted(demo.glob("serving/*")) if find_versions(folder)), None)
    if models is None:
        yield f"\nThere is no pushed model in `{demo}`, so none is measured: run `make demo` first."
        return
    versions = find_versions(models)
    size = LocalModel(models).model_recipe().recipe.preprocess.output_size
    pngs = [breast_png(number, size) for number in range(len(VIEWS))]
    with served(models) as (address, _), ExamClient(address, _NAME) as client:
        model = tf.saved_model.load(str(versions[max(versions)]))
        yield f"\n### The demo's model, {size} x {size} pixels\n"
        yield from _latency(model, client, pngs, seconds)
        yield from _throughput(model, client, pngs, seconds / 6)


def of_hospital(seconds: float) -> Iterator[str]:
    """Measure the published network, untrained; return lines of Markdown."""
    size, width = _HOSPITAL
    pngs = [breast_png(number, size) for number in range(len(VIEWS))]
    with tempfile.TemporaryDirectory() as name:
        models = save_model(Path(name), size, width)
        with served(models) as (address, rest), ExamClient(address, _NAME) as client:
            model = tf.saved_model.load(str(models / "1"))
            yield f"\n### The published network, {size} x {size} pixels\n"
            yield from _latency(model, client, pngs, 2 * seconds)
            yield from _throughput(model, client, pngs, seconds / 4)
            del model
            yield from _rest(Path(name), rest, pngs, size, width, seconds / 2)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--demo", type=Path, default=Path("demo"), help="output folder of a demo run")
    parser.add_argument("--seconds", type=float, default=40.0, help="length of a set of rounds")
    arguments = parser.parse_args()
    print(f"## Serving\n\n{load()} gRPC: this product's client; stubs: the public stubs with `tf.make_ndarray`.")
    print("In brackets 95 % intervals, by a bootstrap over rounds.")
    for line in of_demo(arguments.demo, arguments.seconds / 2):
        print(line, flush=True)
    for line in of_hospital(arguments.seconds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
