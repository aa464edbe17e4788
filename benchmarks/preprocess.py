"""Preprocessing: the Beam stage with one and two workers against the plain loop, in one run.

    python benchmarks/preprocess.py [--exams 24] [--reduction 4]

Prints ratios; a ratio over 1 is faster than the plain loop. Phantom exams are made and ingested first, untimed.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import apache_beam as beam
import tensorflow as tf

from components.common.shards import read_shard, shard_name, shards_of, write_shard
from components.dicom_example_gen.reading import load_view
from components.dicom_example_gen.records import encode_png
from components.mammogram_preprocessor.config import PreprocessConfig
from components.mammogram_preprocessor.overlay import decode_png
from components.mammogram_preprocessor.preprocess import preprocess_view
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from schema import features as f

_SHARD = 16
_CONFIG = PreprocessConfig()


def _record(path: Path) -> bytes:
    loaded = load_view(path, None, 1024)
    values = {f.IMAGE: encode_png(loaded.pixels), f.VIEW: loaded.header.view.encode()}
    features = {k: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for k, v in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _preprocess_shard(path: str) -> int:
    count = 0
    for record in read_shard(path):
        feature = tf.train.Example.FromString(record).features.feature
        pixels = decode_png(feature[f.IMAGE].bytes_list.value[0])
        encode_png(preprocess_view(pixels, feature[f.VIEW].bytes_list.value[0].decode(), _CONFIG).image)
        count += 1
    return count


def _plain_loop(shards: list[str]) -> None:
    for shard in shards:
        _preprocess_shard(shard)


def _beam(shards: list[str], workers: int) -> None:
    arguments = ["--direct_running_mode=multi_threading", f"--direct_num_workers={workers}"]
    with beam.Pipeline(argv=arguments) as pipeline:
        _ = pipeline | beam.Create(shards) | beam.Reshuffle() | beam.Map(_preprocess_shard)


def _seconds(action: Callable[[], None]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exams", type=int, default=24)
    parser.add_argument("--reduction", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        generate_phantoms(PhantomConfig(exams=arguments.exams, reduction=arguments.reduction), Path(folder, "data"))
        files = sorted(Path(folder, "data", "images").rglob("*.dcm"))
        parts = [files[start : start + _SHARD] for start in range(0, len(files), _SHARD)]
        for index, part in enumerate(parts):
            target = Path(folder, "Split-train", shard_name(index, len(parts)))
            write_shard(str(target), (_record(path) for path in part))
        shards = shards_of(str(Path(folder, "Split-train")))
        _preprocess_shard(shards[0])  # warm up
        loop = _seconds(partial(_plain_loop, shards))
        print(f"plain loop          {len(files) / loop:6.1f} images/s   1.00")
        for workers in (1, 2):
            taken = _seconds(partial(_beam, shards, workers))
            print(f"Beam, {workers} worker(s)   {len(files) / taken:6.1f} images/s   {loop / taken:.2f}")


if __name__ == "__main__":
    main()
