"""Runs the nodes that use Beam, with the runner of a configuration: ``python -m benchmarks.beam_stages FILE.yaml``.

Ingest, preprocessing, statistics and Transform run as the pipeline does; the Evaluator judges a stand-in for a model,
so that nothing needs to be trained. What each node wrote, and how long it took, is printed as JSON.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tfx.types import artifact_utils, standard_artifacts
from tfx.utils import path_utils

from benchmarks.processes import Process, cpu_between, processes_of
from components.evaluator.executor import Executor
from components.statistics.calibration import CALIBRATION_FILE, fit_calibration
from pipeline.beam.config import beam_arguments
from pipeline.beam.staged.staged_runner import LOG as RUNNER_LOG
from pipeline.config import RunConfig, load_config
from pipeline.console import NodeResult
from pipeline.local import runner as local_runner
from schema import features as f

NODES = ("DicomExampleGen", "MammogramPreprocessor", "StatisticsGen", "Transform", "Evaluator")


class _HandedOn(logging.Handler):
    """Adds up the bytes between stages, as the runner tells them."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Take what the runner says at a pipeline's end."""
        assert isinstance(record.args, tuple)
        self.bytes += int(str(record.args[1]))


class _Meter:
    """Measures nodes by the processes of some sessions."""

    def __init__(self, sessions: Collection[int], handed_on: _HandedOn):
        self._sessions = sessions
        self._handed_on = handed_on
        self._handed_on_before = 0
        self._before: dict[int, Process] = {}
        self.figures: dict[str, dict[str, float]] = {}

    def start(self, node: str, number: int, count: int, progress_file: Path) -> None:
        """Note that a node begins."""
        del node, number, count, progress_file
        self._before, self._handed_on_before = processes_of(self._sessions), self._handed_on.bytes

    def finish(self, result: NodeResult) -> None:
        """Note that a node ended."""
        after = processes_of(self._sessions)
        self.figures[result.node] = {
            "cpu_seconds": cpu_between(self._before, after),
            "peak_mib": max((process.peak for process in after.values()), default=0.0),
            "handed_on": self._handed_on.bytes - self._handed_on_before,
        }


class _Brightness(tf.Module):
    """A stand-in for a model: the brighter an image, the denser."""

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        """Grade serialized examples."""
        images = tf.io.parse_example(examples, {f.IMAGE: tf.io.FixedLenFeature((), tf.string)})[f.IMAGE]
        brightness = tf.map_fn(
            lambda png: tf.reduce_mean(tf.cast(tf.io.decode_png(png, dtype=tf.uint16), tf.float32)) / 65535,
            images,
            fn_output_signature=tf.float32,
        )
        probabilities = tf.nn.softmax(-20 * tf.abs(brightness[:, None] - tf.constant([[0.05, 0.15, 0.25, 0.35]])))
        density = tf.gather(tf.constant(f.DENSITY_CLASSES), tf.argmax(probabilities, axis=1))
        return {"probabilities": probabilities, "density": density}


def _artifact(kind: type, folder: Path) -> Any:
    made = kind()
    made.uri = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return made


def _save_model(folder: Path) -> None:
    module = _Brightness()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serving_default})
    file = folder / CALIBRATION_FILE
    file.parent.mkdir(parents=True)
    file.write_text(fit_calibration(np.full((1, 4), 0.25), np.zeros(1, int)).model_dump_json(), encoding="utf-8")


def evaluate(config: RunConfig, examples_uri: Path, schema_uri: Path, folder: Path) -> Path:
    """Run the Evaluator's executor on the test split; return the folder of its evaluation."""
    examples = _artifact(standard_artifacts.Examples, examples_uri)
    examples.split_names = artifact_utils.encode_split_names(["train", "eval", "test"])
    model = _artifact(standard_artifacts.Model, folder / "model")
    _save_model(Path(path_utils.serving_model_path(model.uri)))
    evaluation = _artifact(standard_artifacts.ModelEvaluation, folder / "evaluation")
    context = Executor.Context(
        beam_pipeline_args=beam_arguments(config.beam, str(config.output)) or None, tmp_dir=str(folder), unique_id="1"
    )
    Executor(context).Do(
        {
            "examples": [examples],
            "model": [model],
            "baseline_model": [_artifact(standard_artifacts.Model, folder / "baseline")],
            "schema": [_artifact(standard_artifacts.Schema, schema_uri)],
        },
        {"evaluation": [evaluation], "blessing": [_artifact(standard_artifacts.ModelBlessing, folder / "blessing")]},
        {"config": config.pipeline.evaluator.model_dump_json(), "minimum_views": 1, "code": "any"},
    )
    return Path(evaluation.uri)


def run(config: RunConfig, last: str, sessions: Collection[int] = ()) -> dict[str, Any]:
    """Run the nodes up to one of ``NODES``.

    Args:
        config: Configuration with data.
        last: Node to end with.
        sessions: Whose processes are measured.

    Returns:
        Node -> ``seconds``, ``outputs`` by name, and what was measured of all but the Evaluator.
    """
    handed_on = _HandedOn()
    RUNNER_LOG.addHandler(handed_on)
    RUNNER_LOG.setLevel(logging.INFO)
    meter = _Meter(sessions, handed_on)
    in_pipeline = "Transform" if last == "Evaluator" else last
    results = local_runner.run(local_runner.build(config, in_pipeline), config.output, meter)
    found: dict[str, Any] = {
        result.node: {"seconds": result.seconds, "outputs": result.outputs, **meter.figures[result.node]}
        for result in results
    }
    if last == "Evaluator":
        started = time.monotonic()
        evaluation = evaluate(
            config,
            Path(found["MammogramPreprocessor"]["outputs"]["preprocessed_examples"]),
            Path(found["ImportSchemaGen"]["outputs"]["schema"]),
            config.output / "evaluator",
        )
        found["Evaluator"] = {"seconds": time.monotonic() - started, "outputs": {"evaluation": str(evaluation)}}
    return found


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("settings", type=Path)
    parser.add_argument("--last", choices=NODES, default="Evaluator")
    parser.add_argument("--session", type=int, action="append", default=[], help="whose processes are measured")
    arguments = parser.parse_args()
    logging.getLogger().setLevel(logging.ERROR)
    print(json.dumps(run(load_config(arguments.settings), arguments.last, arguments.session)))


if __name__ == "__main__":
    main()
