"""One worker and two, in this process, on Spark and on Flink: speed, CPU, bytes and memory of the nodes that use Beam.

PYTHONPATH=.flink:.spark python -m benchmarks.beam_workers --exams 8 96

Each way runs on a small and on a large archive. Their difference is what further images cost; starting Python,
TensorFlow and the workers is in both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from tests.clusters.flink import FlinkCluster, find_flink, flink_cluster
from tests.clusters.spark import ClusterSize, SparkCluster, find_spark, spark_cluster

_NODES: Final = {
    "DicomExampleGen": "examples",
    "MammogramPreprocessor": "preprocessed_examples",
    "StatisticsGen": "statistics",
    "Transform": "transform_graph",
}
_SPLITS: Final = {"train": 0.5, "eval": 0.25, "test": 0.25}  # none is empty where exams are few
_MIB: Final = 2**20


@dataclass(frozen=True)
class _Way:
    """A runner with a number of workers, and where it is."""

    runner: str
    workers: int
    settings: dict[str, Any]
    cluster: SparkCluster | FlinkCluster | None = None


@dataclass(frozen=True)
class _Archive:
    """Phantoms.

    Attributes:
        folder: With images and labels.
        images: How many there are.
        size: Bytes of them.
    """

    folder: Path
    images: int
    size: int


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _archive(folder: Path, exams: int, reduction: int) -> _Archive:
    generate_phantoms(PhantomConfig(exams=exams, seed=3, reduction=reduction, repeat_share=0.0, workers=2), folder)
    images = folder / "images"
    return _Archive(folder, sum(1 for _ in images.rglob("*.dcm")), _size(images))


def _run(way: _Way, archive: _Archive, folder: Path) -> dict[str, Any]:
    """Run the nodes; return the measurements of each, with the bytes that it wrote."""
    folder.mkdir()
    settings = folder / "settings.yaml"
    document = {
        "pipeline": {"ingest": {"shard_size": 8, "splits": _SPLITS}, "drift": {"enabled": False}},
        "data": {"folder": str(archive.folder / "images"), "labels": str(archive.folder / "labels.csv")},
        "output": str(folder / "out"),
        **way.settings,
    }
    settings.write_text(yaml.safe_dump(document), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.beam_stages", str(settings), "--last", "Transform"]
    for session in [os.getsid(0), *(way.cluster.sessions if way.cluster else [])]:
        command += ["--session", str(session)]
    environment = {**os.environ, **(way.cluster.environment if way.cluster else {})}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    return {node: found[node] | {"written": _size(Path(found[node]["outputs"][key]))} for node, key in _NODES.items()}


def _ways(folder: Path, most_workers: int) -> Iterator[tuple[_Way, ExitStack]]:
    """Yield each way to lose a worker, with the function that ends it."""
    spark, flink = find_spark(os.environ), find_flink(os.environ)
    for workers in range(1, most_workers + 1):
        yield (
            _Way("direct, threads", workers, {"beam": {"runner": "direct"}, "runner": {"workers": workers}}),
            ExitStack(),
        )
    if spark:
        for workers in range(1, most_workers + 1):
            ending = ExitStack()
            on_spark = ending.enter_context(spark_cluster(*spark, folder / f"Spark {workers}", ClusterSize(workers)))
            beam = {"runner": "spark", "master": on_spark.master_url, "partitions": 4}
            yield _Way("Spark, workers", workers, {"beam": beam}, on_spark), ending
    if flink:
        for workers in range(1, most_workers + 1):
            ending = ExitStack()
            on_flink = ending.enter_context(flink_cluster(*flink, folder / f"Flink {workers}", workers))
            beam = {"runner": "flink", "master": on_flink.master, "partitions": 4}
            yield _Way("Flink, TaskManagers", workers, {"beam": beam}, on_flink), ending


def _row(node: str, way: _Way, found: Sequence[dict[str, Any]], further: int, alone: float) -> str:
    """Return a table row; ``alone`` is the time that one worker takes for the further images, s."""
    small, large = (run[node] for run in found)
    seconds, cpu = (large[key] - small[key] for key in ("seconds", "cpu_seconds"))
    speed = f"{further / seconds:.1f}" if seconds > 0.5 else "not to be told"
    gain = f"{alone / seconds:.2f}" if alone > 0.5 and seconds > 0.5 and way.workers > 1 else ""
    handed_on = (large["handed_on"] - small["handed_on"]) / 1024 / further
    written = (large["written"] - small["written"]) / _MIB / further
    return (
        f"| {node} | {way.runner} | {way.workers} | {small['seconds']:.1f} | {large['seconds']:.1f} | {speed} | {gain}"
        f" | {1000 * cpu / further:.0f} | {written:.3f} | {handed_on if way.cluster else 0:.2f} |"
        f" {large['peak_mib']:.0f} |"
    )


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exams", type=int, nargs=2, default=(8, 96), metavar=("SMALL", "LARGE"))
    parser.add_argument("--reduction", type=int, default=2, help="of the phantoms' matrices")
    parser.add_argument("--workers", type=int, default=2, help="at most")
    arguments = parser.parse_args()
    os.setsid()  # so that this session holds the benchmark's processes and no others
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archives = [_archive(folder / f"archive {n}", n, arguments.reduction) for n in arguments.exams]
        _print(folder, archives, arguments.workers)


def _print(folder: Path, archives: Sequence[_Archive], most_workers: int) -> None:
    small, large = archives
    further = large.images - small.images
    rows: dict[str, list[str]] = {node: [] for node in _NODES}
    alone: dict[tuple[str, str], float] = {}
    for way, ending in _ways(folder, most_workers):
        with ending:
            found = [_run(way, one, folder / f"{way.runner} {way.workers} {one.images}") for one in archives]
        for node in _NODES:
            alone.setdefault((node, way.runner), found[1][node]["seconds"] - found[0][node]["seconds"])
            rows[node].append(_row(node, way, found, further, alone[node, way.runner]))
    print(
        f"## Workers\n\nPhantom views, {large.size / _MIB / large.images:.1f} MiB each, {small.images} and then"
        f" {large.images} of them; a further image is one of the {further} between. CPU is of all processes. What is"
        " handed on are bytes between stages, in files of the runner for Spark and Flink.\n"
    )
    print(
        f"| node | runner | of them | s, {small.images} views | s, {large.images} views | further images a second"
        " | gain over one | CPU ms a further image | MiB written a further image | KiB handed on a further image"
        " | largest process, MiB |\n| --- | --- " + "| ---: " * 9 + "|"
    )
    print("\n".join(row for node in _NODES for row in rows[node]))


if __name__ == "__main__":
    main()
