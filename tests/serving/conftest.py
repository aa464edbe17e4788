"""A tiny SavedModel with the serving contract's signatures, and a real server over it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
import tensorflow as tf

from tests.waiting import wait_until

if TYPE_CHECKING:
    from serving.server.run import RunningServer

CLASSES = ("A", "B", "C", "D")
VIEWS = ("CC_R", "CC_L", "MLO_R", "MLO_L")


def png(grey: int, size: int = 16) -> bytes:
    ok, encoded = cv2.imencode(".png", np.full((size, size), grey, np.uint8))
    assert ok
    return encoded.tobytes()


class MeanGreyModel(tf.Module):
    """Probabilities from the mean grey: softmax of -(4 * grey / 255 - 0.5 - class + bias)^2."""

    def __init__(self, bias: float) -> None:
        super().__init__()
        self.bias = tf.Variable(bias, dtype=tf.float32)

    def _probabilities(self, image_bytes: tf.Tensor) -> tf.Tensor:
        grey = tf.map_fn(
            lambda png_bytes: tf.reduce_mean(tf.cast(tf.io.decode_png(png_bytes, channels=1), tf.float32)),
            image_bytes,
            fn_output_signature=tf.float32,
        )
        place = 4.0 * grey[:, None] / 255.0 - 0.5 + self.bias
        return tf.nn.softmax(-tf.square(place - tf.range(4.0)))

    def _answer(self, probabilities: tf.Tensor) -> dict[str, tf.Tensor]:
        density = tf.gather(tf.constant(CLASSES), tf.argmax(probabilities, axis=-1))
        return {"probabilities": probabilities, "density": density}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        features = tf.io.parse_example(examples, {"image/encoded": tf.io.FixedLenFeature([], tf.string)})
        return self._answer(self._probabilities(features["image/encoded"]))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="image_bytes"),
            tf.TensorSpec([None], tf.string, name="view"),
        ]
    )
    def predict_view(self, image_bytes: tf.Tensor, view: tf.Tensor) -> dict[str, tf.Tensor]:
        known = tf.reduce_any(view[:, None] == tf.constant(VIEWS)[None, :], axis=1)
        with tf.control_dependencies([tf.debugging.Assert(tf.reduce_all(known), ["unknown view"])]):
            return self._answer(self._probabilities(image_bytes))

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="image_bytes"),
            tf.TensorSpec([None], tf.string, name="view"),
            tf.TensorSpec([None], tf.string, name="exam_id"),
        ]
    )
    def predict_exam(self, image_bytes: tf.Tensor, view: tf.Tensor, exam_id: tf.Tensor) -> dict[str, tf.Tensor]:
        by_view = self.predict_view(image_bytes, view)["probabilities"]
        exams, index = tf.unique(exam_id)
        count = tf.size(exams)
        right = tf.cast(tf.strings.regex_full_match(view, ".*_R"), tf.float32)

        def mean(weights: tf.Tensor) -> tf.Tensor:
            total = tf.math.unsorted_segment_sum(by_view * weights[:, None], index, count)
            return tf.math.divide_no_nan(total, tf.math.unsorted_segment_sum(weights, index, count)[:, None])

        exam = mean(tf.ones_like(right))
        return {
            "exam_id": exams,
            **self._answer(exam),
            "right_probabilities": mean(right),
            "left_probabilities": mean(1.0 - right),
            "view_count": tf.math.unsorted_segment_sum(tf.ones_like(index), index, count),
        }

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="image_bytes"),
            tf.TensorSpec([None], tf.string, name="view"),
            tf.TensorSpec([None], tf.string, name="target_class"),
        ]
    )
    def gradcam(self, image_bytes: tf.Tensor, view: tf.Tensor, target_class: tf.Tensor) -> dict[str, tf.Tensor]:
        answer = self.predict_view(image_bytes, view)
        chosen = tf.where(target_class == "", answer["density"], target_class)
        index = tf.argmax(tf.cast(chosen[:, None] == tf.constant(CLASSES), tf.int32), axis=-1)
        level = tf.cast(index, tf.float32)[:, None, None] / 4.0
        heatmap = level + tf.zeros([tf.shape(level)[0], 8, 8])
        return {**answer, "heatmap": heatmap, "overlay_png_bytes": image_bytes}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.string, name="image_bytes"),
            tf.TensorSpec([None], tf.string, name="view"),
            tf.TensorSpec([None], tf.string, name="exam_id"),
            tf.TensorSpec([None], tf.string, name="target_class"),
        ]
    )
    def explain_exam(
        self, image_bytes: tf.Tensor, view: tf.Tensor, exam_id: tf.Tensor, target_class: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        exams = self.predict_exam(image_bytes, view, exam_id)
        views = self.gradcam(image_bytes, view, target_class)
        named = {f"view_{name}": views.pop(name) for name in ("probabilities", "density")}
        return {
            **exams,
            **views,
            **named,
            "preprocessing": tf.fill([tf.size(exams["exam_id"])], '{"longest_side": 300}'),
        }


def save_stand_in(folder: Path, bias: float) -> None:
    module = MeanGreyModel(bias)
    signatures = {
        name: getattr(module, name)
        for name in ("serving_default", "predict_view", "predict_exam", "gradcam", "explain_exam")
    }
    tf.saved_model.save(module, str(folder), signatures=signatures)


@pytest.fixture
def push(saved_models: dict[int, Path], tmp_path: Path) -> Callable[[int, int], Path]:
    """Copy a stand-in into a model folder as a version, as the Pusher does; return the model folder."""

    def _push(version: int, bias: int) -> Path:
        shutil.copytree(saved_models[bias], tmp_path / "models" / str(version))
        return tmp_path / "models"

    return _push


@pytest.fixture
def two_looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Wait until running servers finish one call of a function and begin the next."""

    def wait(target: str) -> None:
        module, _, name = target.rpartition(".")
        called, calls = getattr(sys.modules[module], name), []

        def counted(*arguments: Any) -> Any:
            calls.append(name)
            return called(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(target, counted)
            wait_until(lambda: len(calls) >= 2)

    return wait


@pytest.fixture(scope="session")
def running(saved_models: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that serves version 3 of the stand-in on free ports."""
    from serving.server.run import start_server

    model_dir = tmp_path_factory.mktemp("served")
    shutil.copytree(saved_models[0], model_dir / "3")
    with start_server(model_dir, grpc_port=0, rest_port=0) as server:
        yield server
