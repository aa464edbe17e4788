"""Training images a second: our input and step against the published way and against the bare step, in one run.

    python -m benchmarks.training [--size 450] [--width 1] [--steps 10] [--rounds 3]

Prints a section of Markdown. The network, its optimiser, the batch and the augmentation are those of the thesis. The
floor is our training step on one batch that is already in memory. The published way is Keras' ``fit`` on
``ImageDataGenerator.flow_from_directory``, which reads PNG files and augments with numpy in Python. Rounds alternate
between the ways, so that a machine that slows down slows them all; the figures are medians over the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from google.protobuf import text_format
from keras.src.legacy.preprocessing.image import ImageDataGenerator
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io

from benchmarks.pictures import breast_png
from components.common.shards import shard_name, write_shard
from components.trainer.config import NetworkConfig, TrainConfig
from components.trainer.input_pipeline import Batches, ViewData, batches
from components.trainer.network import build_network
from components.trainer.optimization import make_optimizer
from components.trainer.steps import Steps
from components.transform.config import ImageConfig
from components.transform.preprocessing import preprocessing_fn
from schema import features as f

_SHARDS = 4
_SCHEMA = Path(__file__).resolve().parents[1] / "schema" / "schema.pbtxt"


def _row(number: int, size: int) -> dict[str, Any]:
    return {
        f.IMAGE: breast_png(number, size),
        f.IMAGE_HEIGHT: size,
        f.IMAGE_WIDTH: size,
        f.VIEW: f.VIEWS[0].encode(),
        f.EXAM_ID: f"exam{number}".encode(),
        f.DENSITY: f.DENSITY_CLASSES[number % len(f.DENSITY_CLASSES)].encode(),
        f.PATIENT_AGE: 50,
        f.ACQUISITION_SYSTEM: b"benchmark",
    }


def _write(folder: Path, count: int, size: int) -> ViewData:
    """Write the images as records and as ``directory/CLASS/NUMBER.png``; return the records."""
    schema = text_format.Parse(_SCHEMA.read_text(encoding="utf-8"), schema_pb2.Schema())
    kept = [feature for feature in schema.feature if feature.name in _row(0, 32)]
    del schema.feature[:]
    schema.feature.extend(kept)
    rows = [_row(number, size) for number in range(count)]
    for number, row in enumerate(rows):
        path = folder / "directory" / row[f.DENSITY].decode() / f"{number:05d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row[f.IMAGE])
    coder = tft.coders.ExampleProtoCoder(schema)
    files = tuple(str(folder / "Split-train" / shard_name(index, _SHARDS)) for index in range(_SHARDS))
    for index, file in enumerate(files):
        write_shard(file, (coder.encode(row) for row in rows[index::_SHARDS]))
    metadata = dataset_metadata.DatasetMetadata(schema)
    with tft_beam.Context(temp_dir=str(folder / "temporary")):
        _, function = (rows[:4], metadata) | tft_beam.AnalyzeAndTransformDataset(
            lambda inputs: preprocessing_fn(inputs, {})
        )
        function | tft_beam.WriteTransformFn(str(folder / "transform"))
    metadata_io.write_metadata(metadata, str(folder / "transform" / "metadata"))
    return ViewData(files, f.VIEWS[:1], tft.TFTransformOutput(str(folder / "transform")))


def _iterator(given: Batches) -> Iterator[Any]:
    return iter(given.stream(0, tf.distribute.InputContext()))


def _published_input(folder: Path, config: TrainConfig) -> Any:
    """Make Keras' directory iterator with the augmentation of the thesis."""
    augmentation = config.augmentation
    generator = ImageDataGenerator(
        rescale=1.0 / 255.0,
        zoom_range=augmentation.zoom,
        width_shift_range=augmentation.shift,
        height_shift_range=augmentation.shift,
        rotation_range=augmentation.rotation_degrees,
    )
    size = (config.image.size, config.image.size)
    with contextlib.redirect_stdout(sys.stderr):  # it tells how many images it found; the page is on stdout
        return generator.flow_from_directory(
            str(folder / "directory"), size, color_mode="grayscale", batch_size=config.batch_size, seed=config.seed
        )


def _published_training(folder: Path, config: TrainConfig) -> Callable[[int], None]:
    """Compile the network for Keras' own loop; return a function that trains a number of steps."""
    network = build_network(config.image, config.network, config.seed, head=config.head)
    network.compile(make_optimizer(config), keras.losses.CategoricalCrossentropy(from_logits=True))
    images = _published_input(folder, config)
    return lambda steps: network.fit(images, steps_per_epoch=steps, epochs=1, verbose=0)


def _rate(action: Callable[[int], object], steps: int, batch: int) -> float:
    """Return the images per second of an action that takes a number of steps."""
    started = time.perf_counter()
    action(steps)
    return steps * batch / (time.perf_counter() - started)


def _table(ways: Mapping[str, Callable[[int], object]], floor: str, rounds: int, steps: int, batch: int) -> list[str]:
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):  # the first traces, compiles and fills caches
        for name, action in ways.items():
            rate = _rate(action, steps if number else 2, batch)
            if number:
                rates[name].append(rate)
    lines = [f"| way | images/s | lowest to highest | against {floor} |", "| --- | ---: | ---: | ---: |"]
    for name, values in rates.items():
        ratio = statistics.median(value / base for value, base in zip(values, rates[floor], strict=True))
        median = statistics.median(values)
        lines.append(f"| {name} | {median:.2f} | {min(values):.2f} to {max(values):.2f} | {ratio:.3f} |")
    return lines


def _measure(folder: Path, config: TrainConfig, images: int, steps: int, rounds: int) -> list[str]:
    data = _write(folder, images, config.image.size)
    ours = batches(data, config, training=True)
    stream, steps_of = _iterator(ours), Steps(config, np.ones(len(f.DENSITY_CLASSES), np.float32), _one_device())
    batch = next(stream)

    def repeat(action: Callable[[], object]) -> Callable[[int], None]:
        def run(count: int) -> None:
            for _ in range(count):
                action()

        return run

    training = {
        "bare step": repeat(lambda: steps_of.train_step(*batch)),
        "our input and step": repeat(lambda: steps_of.train_step(*next(stream))),
        "published": _published_training(folder, config),
    }
    lines = ["Training:\n", *_table(training, "bare step", rounds, steps, config.batch_size)]
    alone, published = _iterator(ours), _published_input(folder, config)
    inputs = {"published": repeat(lambda: next(published)), "ours": repeat(lambda: next(alone))}
    several = max(steps, 4 * images // config.batch_size)
    return [*lines, "\nInput alone:\n", *_table(inputs, "published", rounds, several, config.batch_size)]


def _one_device() -> tf.distribute.Strategy:
    return tf.distribute.get_strategy()


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=450, help="height and width of the images, pixels")
    parser.add_argument("--width", type=float, default=1.0, help="factor on the network's filters")
    parser.add_argument("--steps", type=int, default=10, help="steps of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=64)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    config = TrainConfig(
        image=ImageConfig(size=arguments.size), network=NetworkConfig(width=arguments.width), epochs=10_000
    )
    with tempfile.TemporaryDirectory() as name:
        lines = _measure(Path(name), config, arguments.images, arguments.steps, arguments.rounds)
    print(
        f"## Training\n\n{arguments.images} images of {arguments.size} x {arguments.size} pixels, batches of"
        f" {config.batch_size}, network of width {arguments.width:g}, medians of {arguments.rounds} rounds of"
        f" {arguments.steps} steps:\n"
    )
    print("\n".join(lines), flush=True)


if __name__ == "__main__":
    main()
