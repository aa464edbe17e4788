"""The nodes that use Beam in a process of their own, and what must be equal wherever they ran."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from tests.waiting import LONG, wait_until

ROOT = Path(__file__).parents[2]
PIPELINE: dict[str, Any] = {
    "drift": {"enabled": False},
    "evaluator": {"bootstrap_draws": 100},
    "ingest": {
        "longest_side": 320,
        "shard_size": 4,
        "splits": {"train": 0.5, "eval": 0.25, "test": 0.25},
        "split_seed": "e2e 2",
    },
    "preprocess": {"output_size": 64},
    "trainer": {"image": {"size": 64}},
}
Outputs = dict[str, dict[str, Any]]


def settings(folder: Path, phantoms: Path, beam: dict[str, Any]) -> Path:
    """Writes a configuration; but for ``beam`` and the output's place all are alike."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "pipeline": PIPELINE,
        "data": {"folder": str(phantoms / "images"), "labels": str(phantoms / "labels.csv")},
        "output": str(folder / "out"),
        "beam": beam,
    }
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


class Nodes:
    """The nodes that use Beam, running in a process of their own."""

    def __init__(self, path: Path, environment: Mapping[str, str]):
        self._answer, self._errors = path.with_suffix(".out"), path.with_suffix(".err")
        command = [sys.executable, "-m", "benchmarks.beam_stages", str(path)]
        with self._answer.open("wb") as out, self._errors.open("wb") as err:
            self._process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=out, stderr=err)

    @property
    def said(self) -> str:
        """What it wrote to its standard error."""
        return self._errors.read_text(errors="replace")

    def until(self, condition: Callable[[], bool]) -> None:
        """Waits for something that it does."""

        def alive() -> None:
            assert self._process.poll() is None, self.said[-3000:]

        wait_until(condition, alive, LONG)

    def outputs(self) -> Outputs:
        """Waits for its end."""
        assert self._process.wait(LONG) == 0, self.said[-3000:]
        return json.loads(self._answer.read_text().splitlines()[-1])

    def ends(self) -> int:
        """Waits for its end, which may be an error; gives its exit code."""
        return self._process.wait(LONG)

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


def make_archive(folder: Path) -> Path:
    generate_phantoms(PhantomConfig(exams=16, seed=5, distribution="uniform", reduction=8, workers=2), folder)
    return folder


def outputs_though_workers_die(
    nodes: Nodes, made: Path, kill: Callable[[int, Callable[[], bool]], None], add: Callable[[], object]
) -> Outputs:
    """Kills a worker in the midst of preprocessing, of statistics and of Transform; gives what the nodes wrote.

    Args:
        nodes: They run on two workers.
        made: Folder of their artifacts.
        kill: Kills a worker, by its number, as soon as something is true.
        add: Starts one more.
    """
    scratch = made.parent / "scratch"

    def a_task_done_in(node: str) -> Callable[[], bool]:
        """The driver writes a pipeline's first file; a further one is of a task."""
        return lambda: (made / node).exists() and sum(path.is_file() for path in scratch.glob("*/*")) > 1

    kill(0, lambda: any((made / "MammogramPreprocessor").rglob("*.gz")))
    add()
    kill(1, a_task_done_in("StatisticsGen"))
    kill(2, a_task_done_in("Transform"))  # the only one that is left
    add()
    found = nodes.outputs()
    assert not any(scratch.iterdir())
    return found


def output(outputs: Outputs, node: str, key: str) -> Path:
    return Path(outputs[node]["outputs"][key])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def assert_equal(found: Outputs, direct: Outputs) -> None:
    """Compares the outputs of all nodes with the DirectRunner's."""
    for node, key in [
        ("DicomExampleGen", "examples"),
        ("DicomExampleGen", "ingest_report"),
        ("MammogramPreprocessor", "preprocessed_examples"),
        ("MammogramPreprocessor", "quality_report"),
    ]:
        assert files(output(found, node, key)) == files(output(direct, node, key)), node
    assert statistics(found) == statistics(direct)
    features, wanted = transformed(found), transformed(direct)
    assert features.keys() == wanted.keys()
    for name, values in wanted.items():
        if values.dtype.kind == "f":  # the deviation is a sum of parts, whose last place depends on how it was parted
            np.testing.assert_allclose(features[name], values, rtol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(features[name], values, err_msg=name)
    assert judged(found) == judged(direct)


def rounded(text: str) -> str:
    """Shortens fractions to nine digits: the last places of a sum depend on how it was parted."""
    return re.sub(r"-?\d+\.\d+(e[-+]?\d+)?", lambda found: f"{float(found[0]):.9g}", text)


def statistics(outputs: Outputs) -> dict[tuple[str, tuple[str, ...]], tuple[int, str]]:
    """Statistics of each split and feature."""
    from tensorflow_metadata.proto.v0 import statistics_pb2

    found = {}
    for path in sorted(output(outputs, "StatisticsGen", "statistics").glob("Split-*/*.pb")):
        [dataset] = statistics_pb2.DatasetFeatureStatisticsList.FromString(path.read_bytes()).datasets
        for feature in dataset.features:
            found[path.parent.name, tuple(feature.path.step)] = (dataset.num_examples, rounded(str(feature)))
    return found


def transformed(outputs: Outputs) -> dict[str, np.ndarray]:
    """What Transform's graph makes of the first shard."""
    import tensorflow as tf
    import tensorflow_transform as tft

    from components.common.shards import read_shard, shards_of, split_folder

    graph = tft.TFTransformOutput(str(output(outputs, "Transform", "transform_graph")))
    [shard, *_] = shards_of(
        split_folder(str(output(outputs, "MammogramPreprocessor", "preprocessed_examples")), "eval")
    )
    raw = tf.io.parse_example(list(read_shard(shard)), graph.raw_feature_spec())
    return {name: np.asarray(value) for name, value in graph.transform_features_layer()(raw).items()}


def judged(outputs: Outputs) -> dict[str, Any]:
    summary = json.loads((output(outputs, "Evaluator", "evaluation") / "exam_metrics.json").read_text())
    assert summary["exam"]
    return json.loads(rounded(json.dumps(summary)))
