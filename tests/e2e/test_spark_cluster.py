"""The nodes that use Beam on a real Spark cluster: the DirectRunner's records, and none lost with a worker.

``make test-spark`` fetches Spark and Java; without them these tests skip.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipeline.beam_runners.local_spark import SparkCluster, find_spark, spark_cluster

LIMIT = 1500.0  # seconds; what takes longer hangs
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(2 * LIMIT)]

ROOT = Path(__file__).parents[2]
PIPELINE: dict[str, Any] = {
    "drift": {"enabled": False},
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


def command(path: Path, last: str) -> list[str]:
    return [sys.executable, "-m", "benchmarks.beam_stages", str(path), "--last", last]


def run(path: Path, environment: dict[str, str], last: str = "Evaluator") -> Outputs:
    done = subprocess.run(
        command(path, last), env=environment, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def output(outputs: Outputs, node: str, key: str) -> Path:
    return Path(outputs[node]["outputs"][key])


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def programs() -> tuple[Path, Path]:
    """Folders of Spark and Java."""
    found = find_spark(os.environ)
    if found is None:
        pytest.skip("Spark or Java is not here; make test-spark fetches them.")
    return found


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen phantom exams."""
    from pipeline.phantom.config import PhantomConfig
    from pipeline.phantom.generate import generate_phantoms

    folder = tmp_path_factory.mktemp("spark_phantoms") / "set"
    generate_phantoms(PhantomConfig(exams=16, seed=5, distribution="uniform", reduction=8, workers=2), folder)
    return folder


@pytest.fixture(scope="module")
def direct(programs: tuple[Path, Path], archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """What the DirectRunner gives; it is run only where there is something to compare it with."""
    return run(settings(tmp_path_factory.mktemp("direct"), archive, {"runner": "direct"}), dict(os.environ))


@pytest.fixture
def cluster(programs: tuple[Path, Path], tmp_path: Path) -> Iterator[SparkCluster]:
    with spark_cluster(*programs, tmp_path / "cluster") as running:
        yield running


def test_every_node_gives_what_the_direct_runner_gives(
    cluster: SparkCluster, archive: Path, direct: Outputs, tmp_path: Path
) -> None:
    spark = run(
        settings(tmp_path / "run", archive, {"runner": "spark", "master": cluster.master_url, "partitions": 2}),
        dict(cluster.environment),
    )
    for node, key in [
        ("DicomExampleGen", "examples"),
        ("DicomExampleGen", "ingest_report"),
        ("MammogramPreprocessor", "preprocessed_examples"),
        ("MammogramPreprocessor", "quality_report"),
    ]:
        assert files(output(spark, node, key)) == files(output(direct, node, key)), node
    assert statistics(spark) == statistics(direct)
    found, wanted = transformed(spark), transformed(direct)
    assert found.keys() == wanted.keys()
    for name, values in wanted.items():
        if values.dtype.kind == "f":  # the deviation is a sum of parts, whose last place depends on how it was parted
            np.testing.assert_allclose(found[name], values, rtol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(found[name], values, err_msg=name)
    assert judged(spark) == judged(direct)


def rounded(text: str) -> str:
    """Shortens fractions to nine digits: the last places of a sum depend on how it was parted."""
    return re.sub(r"-?\d+\.\d+(e[-+]?\d+)?", lambda found: f"{float(found[0]):.9g}", text)


def statistics(outputs: Outputs) -> dict[str, Any]:
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


def run_and_kill(cluster: SparkCluster, path: Path, folder: Path) -> Outputs | None:
    """Preprocesses, and kills a worker when the first shard appears; None where all was over before it was dead."""
    shards = folder / "out" / "artifacts" / "MammogramPreprocessor"
    answer, errors = folder / "driver.out", folder / "driver.err"
    with answer.open("wb") as out, errors.open("wb") as err:
        driver = subprocess.Popen(
            command(path, "MammogramPreprocessor"), env=cluster.environment, cwd=ROOT, stdout=out, stderr=err
        )
        try:
            deadline = time.monotonic() + LIMIT
            while not any(shards.rglob("*.gz")):
                assert driver.poll() is None, errors.read_text()[-3000:]
                assert time.monotonic() < deadline, errors.read_text()[-3000:]
                time.sleep(0.02)
            cluster.kill_worker(0)
            assert driver.wait(LIMIT) == 0, errors.read_text()[-3000:]
        finally:
            driver.kill()
            driver.wait()
    if "Lost executor" not in errors.read_text():
        return None
    return json.loads(answer.read_text().splitlines()[-1])


def test_a_killed_worker_costs_no_record(
    programs: tuple[Path, Path], archive: Path, direct: Outputs, tmp_path: Path
) -> None:
    found = None
    for attempt in range(5):  # a driver that was done before the worker died has proved nothing
        folder = tmp_path / str(attempt)
        with spark_cluster(*programs, folder / "cluster") as cluster:
            beam = {"runner": "spark", "master": cluster.master_url, "partitions": 8}
            found = run_and_kill(cluster, settings(folder / "run", archive, beam), folder / "run")
        if found is not None:
            break
    assert found is not None
    for key in ("preprocessed_examples", "quality_report"):
        path = output(found, "MammogramPreprocessor", key)
        assert files(path) == files(output(direct, "MammogramPreprocessor", key)), key
