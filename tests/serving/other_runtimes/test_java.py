"""The exported model in TensorFlow's Java API: the C++ loader that TensorFlow Serving uses, without Python.

Its TensorFlow (2.18) is another one than the exporting one. Maven fetches it once, 164 MB; the test is skipped where
Java or Maven is absent, or where Maven cannot fetch.
"""

from __future__ import annotations

import base64
import shutil
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from schema import features as f
from tests.pictures import decode_picture
from tests.waiting import HANG

HERE = Path(__file__).parent
VIEWS = (*f.VIEWS, "MLO_L")  # a whole exam, and one view of another
EXAMS = ("first",) * 4 + ("second",)
CLASS_PATH = "org.apache.maven.plugins:maven-dependency-plugin:3.6.1:build-classpath"
# The other TensorFlow may add floats in another order.
RTOL, ATOL = 1e-5, 1e-6

pytestmark = pytest.mark.e2e

Inputs = Mapping[str, Sequence[bytes]]
Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Runtime:
    """TensorFlow for Java.

    Attributes:
        class_path: Its jars.
        classes: Folder with the compiled program.
    """

    class_path: str
    classes: Path

    def answers(self, model: Path, requests: Sequence[tuple[str, Inputs]], folder: Path) -> list[dict[str, Any]]:
        """Answer requests in one process; outputs as arrays, or the message as ``error``."""
        lines = []
        for signature, inputs in requests:
            values = {name: ",".join(base64.b64encode(value).decode() for value in inputs[name]) for name in inputs}
            lines += [signature, *(f"{name}\t{text}" for name, text in values.items()), ""]
        (folder / "requests.txt").write_text("\n".join([*lines, ""]))
        command = ["java", "-cp", f"{self.class_path}:{self.classes}", "Answer", str(model)]
        process = subprocess.run(
            [*command, str(folder / "requests.txt")], capture_output=True, text=True, timeout=HANG, check=False
        )
        assert process.returncode == 0, process.stderr[-2000:]
        found: list[dict[str, Any]] = []
        last = None
        for line in process.stdout.splitlines():
            signature, name, shape, text = line.split("\t")
            if signature != last:
                found.append({})
                last = signature
            found[-1][name] = text if name == "error" else (shape, text)
        return found


@pytest.fixture(scope="module")
def java(tmp_path_factory: pytest.TempPathFactory) -> Runtime:
    if shutil.which("javac") is None or shutil.which("mvn") is None:
        pytest.skip("needs a Java compiler and Maven (Debian: default-jdk-headless, maven)")
    folder = tmp_path_factory.mktemp("java")
    listed = folder / "class_path.txt"
    fetch = ["mvn", "-q", "-B", "-f", str(HERE / "pom.xml"), CLASS_PATH, f"-Dmdep.outputFile={listed}"]
    process = subprocess.run(fetch, capture_output=True, text=True, timeout=HANG, check=False)
    if process.returncode:
        pytest.skip(f"Maven cannot fetch TensorFlow: {process.stdout[-300:]}")
    runtime = Runtime(listed.read_text().strip(), folder)
    compile_it = ["javac", "-cp", runtime.class_path, "-d", str(folder), str(HERE / "Answer.java")]
    subprocess.run(compile_it, capture_output=True, text=True, timeout=HANG, check=True)
    return runtime


def example(png: bytes, view: str) -> bytes:
    def feature(value: bytes) -> Any:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = tf.train.Features(feature={f.IMAGE: feature(png), f.VIEW: feature(view.encode())})
    return tf.train.Example(features=features).SerializeToString()


def requests_of(pngs: Sequence[bytes]) -> list[tuple[str, Inputs]]:
    """A request to every signature."""
    views, exams = [view.encode() for view in VIEWS], [exam.encode() for exam in EXAMS]
    target = [b"A", b"B", b"C", b"D", b""]
    by_view = {"image_bytes": pngs, "view": views}
    return [
        ("serving_default", {"examples": [example(png, view) for png, view in zip(pngs, VIEWS, strict=True)]}),
        ("predict_view", by_view),
        ("predict_exam", by_view | {"exam_id": exams}),
        ("gradcam", by_view | {"target_class": target}),
        ("explain_exam", by_view | {"exam_id": exams, "target_class": target}),
    ]


def pixels(png: bytes) -> np.ndarray:
    decoded = decode_picture(png, cv2.IMREAD_COLOR)
    return decoded.astype(np.int16)


def assert_equal(name: str, theirs: tuple[str, str], ours: np.ndarray) -> None:
    shape, text = theirs
    assert shape == str(list(ours.shape)), name
    values = text.split(",") if text else []
    if ours.dtype != object:
        np.testing.assert_allclose(np.array(values, float), ours.ravel(), rtol=RTOL, atol=ATOL, err_msg=name)
        return
    decoded = [base64.b64decode(value) for value in values]
    if name.endswith("png_bytes"):  # a rounded pixel may be one off
        for their, our in zip(decoded, ours.ravel(), strict=True):
            assert np.abs(pixels(their) - pixels(our)).max() <= 1, name
    else:
        assert decoded == list(ours.ravel()), name


def test_every_signature_answers_and_refuses_as_in_python(
    java: Runtime, exported_exam_model: Path, texture_png: Callable[..., bytes], tmp_path: Path
) -> None:
    pngs = [texture_png(seed) for seed in range(len(VIEWS))]
    requests = requests_of(pngs)
    colour = cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8))[1].tobytes()
    refused: list[tuple[str, Inputs]] = [
        ("predict_view", {"image_bytes": pngs[:1], "view": [b"LMLO"]}),
        ("predict_exam", {"image_bytes": [colour], "view": [b"CC_R"], "exam_id": [b"first"]}),
    ]
    loaded = tf.saved_model.load(str(exported_exam_model))
    assert {signature for signature, _ in requests} == set(loaded.signatures)
    *answers, unknown_view, coloured = java.answers(exported_exam_model, requests + refused, tmp_path)
    for (signature, inputs), theirs in zip(requests, answers, strict=True):
        ours = loaded.signatures[signature](**{name: tf.constant(list(inputs[name])) for name in inputs})
        assert set(theirs) == set(ours), signature
        for name in theirs:
            assert_equal(f"{signature} {name}", theirs[name], ours[name].numpy())
    assert "TFInvalidArgumentException" in unknown_view["error"]
    assert "Unknown view: it must be one of CC_R" in unknown_view["error"]
    assert "TFInvalidArgumentException" in coloured["error"]
