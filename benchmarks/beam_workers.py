"""One worker and two, in this process and on a Spark cluster: seconds, CPU, bytes, shuffle and memory of image nodes.

PYTHONPATH=.spark python -m benchmarks.beam_workers --exams 32
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from pipeline.beam_runners.local_spark import ClusterSize, SparkCluster, find_spark, spark_cluster
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from schema.features import VIEWS

_NODES: Final = {
    "DicomExampleGen": "examples",
    "MammogramPreprocessor": "preprocessed_examples",
}
_MIB: Final = 2**20


@dataclass(frozen=True)
class _Way:
    """A runner with a number of workers, and where it is."""

    name: str
    beam: dict[str, Any]
    runner: dict[str, Any]
    cluster: SparkCluster | None = None


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _events(cluster: SparkCluster) -> Iterator[dict[str, Any]]:
    for path in (cluster.folder / "events").iterdir():
        for line in path.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):  # the last line may be half written
                yield json.loads(line)


def _shuffled(cluster: SparkCluster | None, began: float, ended: float) -> float:
    """Adds up what tasks wrote to shuffles between two times, MiB."""
    if cluster is None:
        return 0.0
    tasks = (event for event in _events(cluster) if event["Event"] == "SparkListenerTaskEnd")
    return sum(
        task["Task Metrics"]["Shuffle Write Metrics"]["Shuffle Bytes Written"] / _MIB
        for task in tasks
        if began <= task["Task Info"]["Finish Time"] / 1000 <= ended
    )


def _measure(way: _Way, archive: Path, folder: Path) -> dict[str, Any]:
    folder.mkdir()
    settings = folder / "settings.yaml"
    document = {
        "pipeline": {"ingest": {"shard_size": 8}, "drift": {"enabled": False}},
        "data": {"folder": str(archive / "images"), "labels": str(archive / "labels.csv")},
        "output": str(folder / "out"),
        "beam": way.beam,
        "runner": way.runner,
    }
    settings.write_text(yaml.safe_dump(document), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.beam_stages", str(settings), "--last", "MammogramPreprocessor"]
    sessions = [os.getsid(0), *(worker.pid for worker in way.cluster.workers)] if way.cluster else [os.getsid(0)]
    for session in sessions:
        command += ["--session", str(session)]
    environment = {**os.environ, **(way.cluster.environment if way.cluster else {})}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _rows(way: _Way, found: dict[str, Any], images: int, archive: Path) -> list[str]:
    rows = []
    read = _size(archive / "images")
    for node, key in _NODES.items():
        figures = found[node]
        written = _size(Path(figures["outputs"][key]))
        shuffled = _shuffled(way.cluster, figures["began"], figures["ended"])
        rows.append(
            f"| {node} | {way.name} | {figures['seconds']:.0f} | {figures['cpu_seconds']:.0f}"
            f" | {figures['cpu_seconds'] / images:.3f} | {read / _MIB / images:.2f} | {written / _MIB / images:.2f}"
            f" | {shuffled * 1024 / images:.2f} | {figures['peak_mib']:.0f} |"
        )
        read = written
    return rows


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exams", type=int, default=32)
    parser.add_argument("--reduction", type=int, default=2, help="of the phantoms' matrices")
    arguments = parser.parse_args()
    os.setsid()  # so that this session holds the benchmark's processes and no others
    spark = find_spark(os.environ)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive = folder / "archive"
        generate_phantoms(
            PhantomConfig(exams=arguments.exams, seed=3, reduction=arguments.reduction, repeat_share=0.0), archive
        )
        images = sum(1 for _ in (archive / "images").rglob("*.dcm"))
        rows = []
        for workers in (1, 2):
            way = _Way(f"direct, {workers} thread{'s' * (workers > 1)}", {"runner": "direct"}, {"workers": workers})
            rows += _rows(way, _measure(way, archive, folder / f"direct {workers}"), images, archive)
        for workers in (1, 2) if spark is not None else ():
            with spark_cluster(*spark, folder / f"cluster {workers}", ClusterSize(workers)) as cluster:
                beam = {"runner": "spark", "master": cluster.master_url, "partitions": 8}
                way = _Way(f"Spark, {workers} worker{'s' * (workers > 1)}", beam, {}, cluster)
                rows += _rows(way, _measure(way, archive, folder / f"spark {workers}"), images, archive)
        print(
            f"## Workers\n\n{images} phantom views of {len(VIEWS)} a exam. CPU is of all processes, start included.\n"
        )
        print(
            "| node | runner | seconds | CPU s | CPU s an image | MiB read an image | MiB written an image"
            " | KiB shuffled an image | largest process, MiB |\n| --- | --- " + "| ---: " * 7 + "|"
        )
        print("\n".join(sorted(rows)))


if __name__ == "__main__":
    main()
