"""Throughput of ingest and preprocessing, with one worker and two, against the plain loop, in one run.

    python -m benchmarks.throughput [--exams 100] [--rounds 3]

Prints a section of Markdown. Speeds of different machines do not compare, nor do those of one virtual machine minutes
apart. So the plain loop and ingest take turns, each round measures both, and the median of the rounds' ratios counts,
by the clock and by processor time.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pydicom
import tensorflow as tf
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from benchmarks.decoders import BITS, COLUMNS, ROWS, encoded, phantom
from benchmarks.nodes import (
    CONFIG,
    beam_arguments,
    ingest,
    ingested_views,
    preprocess,
    preprocessed_views,
    write_archive,
)
from benchmarks.reference_images import file_bytes, mammogram
from components.common.png import decode_png, encode_png
from components.common.progress import PROGRESS_FILE_VARIABLE, read_progress
from components.common.shards import read_shard, shards_of, split_folder
from components.common.stages import prepare_worker
from components.dicom.grey.greyscale import grey_scale_of, to_grey
from components.dicom.grey.stored_values import cells_of
from components.dicom.reading import reduce_by_area
from components.preprocessing.config import PreprocessConfig
from components.sources.source import FolderSource
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from schema import features as f
from schema.features import SPLITS

# Transfer syntax and number of files: some three to six seconds of work for one worker each.
_SYNTAXES: dict[str, tuple[UID, int]] = {
    "uncompressed": (ExplicitVRLittleEndian, 48),
    "RLE": (RLELossless, 48),
    "JPEG baseline": (JPEGBaseline8Bit, 48),
    "JPEG extended": (JPEGExtended12Bit, 48),
    "JPEG lossless SV1": (JPEGLosslessSV1, 32),
    "JPEG-LS": (JPEGLSLossless, 24),
    "JPEG 2000": (JPEG2000Lossless, 32),  # with fewer, the end of the slower worker counts as its speed
}
# What decodes with nothing around it.
_DECODERS: dict[UID, Callable[[bytes], NDArray[Any]]] = {
    RLELossless: lambda stream: np.frombuffer(imagecodecs.dicomrle_decode(stream, "uint16"), np.uint16),
    JPEGBaseline8Bit: imagecodecs.jpeg8_decode,
    JPEGExtended12Bit: imagecodecs.jpeg8_decode,
    JPEGLosslessSV1: imagecodecs.jpeg8_decode,
    JPEGLSLossless: imagecodecs.jpegls_decode,
    JPEG2000Lossless: imagecodecs.jpeg2k_decode,
}
_FEW = 12  # small files: hardly any work
_PHANTOMS = 16  # different phantom exams
_WARM = 1 / 4  # share of the images after which all workers are at work
_WORKERS = (1, 2)
_HEAD = "floor, images/s | 1 worker, images/s | MB/s | floor / 1 worker | 2 workers, images/s | gain |"
_RULE = "| ---: " * 6 + "|"


@dataclass(frozen=True)
class _Round:
    """What one round measured.

    Attributes:
        floor: Images a second of the plain loop.
        rates: Images a second of the node with each number of workers.
        of_floor: Processor time of the plain loop, seconds an image.
        of_worker: Processor time of the node with one worker, likewise.
    """

    floor: float
    rates: tuple[float, float]
    of_floor: float
    of_worker: float


class _Clock(threading.Thread):
    """Watches how many images a node has finished, by its progress file."""

    def __init__(self, path: Path, unit: str):
        super().__init__(daemon=True)
        self._path, self._unit = path, unit
        self._samples: list[tuple[float, float, int]] = []
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.02):
            progress = read_progress(self._path)
            if progress.unit == self._unit and progress.done > (self._samples[-1][2] if self._samples else 0):
                self._samples.append((time.perf_counter(), time.process_time(), progress.done))

    def rate(self) -> tuple[float, float]:
        """Stop the clock; return images per second: the slope of the count while all workers are at work.

        Returns:
            Images a second, and processor time, seconds an image.
        """
        self._over.set()
        self.join()
        last = self._samples[-1][2]
        times, work, counts = zip(*(sample for sample in self._samples if sample[2] >= _WARM * last), strict=True)
        return float(np.polyfit(times, counts, 1)[0]), float(np.polyfit(counts, work, 1)[0])


def _rate(node: Callable[[], object], unit: str) -> tuple[float, float]:
    """Measure a node as ``_Clock.rate``, without what its Beam pipeline needs to start and end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "progress.tsv")
        os.environ[PROGRESS_FILE_VARIABLE] = str(path)
        clock = _Clock(path, unit)
        clock.start()
        node()
        os.environ.pop(PROGRESS_FILE_VARIABLE)
        return clock.rate()


def seconds(action: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Measure one run, by the clock or by processor time; what ran before leaves no garbage to it."""
    gc.collect()
    started = clock()
    action()
    return clock() - started


def _cells(floor: float, rates: Sequence[float], megabytes: float) -> str:
    """Write speeds and their ratios as cells of a Markdown table.

    Args:
        floor: Images a second of the plain loop.
        rates: Images a second of the node with each number of workers.
        megabytes: Size of an image's file, MB.
    """
    one, two = rates
    cells = [f"{floor:.1f}", f"{one:.1f}", f"{megabytes * one:.0f}", f"{floor / one:.2f}"]
    return " | ".join([*cells, f"{two:.1f}", f"{two / one:.2f}"])


def _files(source: FolderSource) -> list[Path]:
    return sorted(Path(str(source.folder)).rglob("*.dcm"))


def _ingest_floor(source: FolderSource) -> None:
    """Read, decode, convert to grey, reduce and encode, without any check."""
    for path in _files(source):
        dataset = pydicom.dcmread(path)
        syntax, element = dataset.file_meta.TransferSyntaxUID, dataset["PixelData"]
        if syntax.is_encapsulated:
            stored = _DECODERS[syntax](get_frame(element.value, 0, number_of_frames=1))
        else:
            stored = np.frombuffer(element.value, np.uint16)
        pixels = stored.reshape(dataset.Rows, dataset.Columns)
        grey = to_grey(pixels, cells_of(pixels, dataset, 0, str(path)), grey_scale_of(dataset, str(path)))
        encode_png(reduce_by_area(grey, CONFIG.longest_side))


def _records(examples_uri: str) -> Iterator[tf.train.Example]:
    for split in SPLITS:
        for shard in shards_of(split_folder(examples_uri, split)):
            for record in read_shard(shard):
                yield tf.train.Example.FromString(record)


def _preprocess_floor(examples_uri: str, size: int) -> None:
    for example in _records(examples_uri):
        pixels = decode_png(example.features.feature[f.IMAGE].bytes_list.value[0])
        cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)


def _require(found: int, expected: int) -> None:
    if found != expected:
        raise RuntimeError(f"A node must give one view a file. Received: {found} views of {expected} files")


def _ingest(source: FolderSource, folder: Path, workers: int) -> None:
    ingest(source, folder, beam_arguments(workers))
    _require(ingested_views(folder / "examples"), len(_files(source)))


def _starts(folder: Path) -> list[float]:
    """Measure what a node takes for hardly any work, with each number of workers."""
    few = write_archive(folder / "few", [_small()], _FEW)
    _ingest(few, folder / "warm", 1)
    return [seconds(partial(_ingest, few, folder / f"start {workers}", workers)) for workers in _WORKERS]


def _round(source: FolderSource, folder: Path) -> _Round:
    """Measure the plain loop and the node with each number of workers, one after the other."""
    files, floor = len(_files(source)), partial(_ingest_floor, source)
    work = seconds(floor, time.process_time) / files
    rate = files / seconds(floor)
    one, two = (_rate(partial(_ingest, source, folder / str(workers), workers), "files") for workers in _WORKERS)
    return _Round(rate, (one[0], two[0]), work, one[1])


def _ingest_table(folder: Path, rounds: int) -> list[str]:
    head = "floor / 1 worker | processor time, 1 worker / floor | 2 workers, images/s | gain |"
    lines = [f"| transfer syntax | files | MB a file | floor, images/s | 1 worker, images/s | MB/s | {head}"]
    lines.append("| --- " + "| ---: " * 9 + "|")
    for name, (syntax, files) in _SYNTAXES.items():
        source = write_archive(folder / name, [encoded(phantom(), syntax)], files)
        megabytes = sum(path.stat().st_size for path in _files(source)) / 1e6 / files
        found = [_round(source, folder / f"{name} {number}") for number in range(rounds)]
        floor, one, two, above, work, gain = (
            median(map(value, found))
            for value in (
                lambda found: found.floor,
                lambda found: found.rates[0],
                lambda found: found.rates[1],
                lambda found: found.floor / found.rates[0],
                lambda found: found.of_worker / found.of_floor,
                lambda found: found.rates[1] / found.rates[0],
            )
        )
        cells = f"{floor:.1f} | {one:.1f} | {megabytes * one:.0f} | {above:.2f} | {work:.2f} | {two:.1f} | {gain:.2f}"
        lines.append(f"| {name} | {files} | {megabytes:.1f} | {cells} |")
        for place in folder.glob(f"{name}*"):
            shutil.rmtree(place)
    return lines


def _phantoms(folder: Path, exams: int) -> FolderSource:
    """Write an archive from a few phantom exams, each taken many times under a window of its own."""
    generate_phantoms(PhantomConfig(exams=min(exams, _PHANTOMS), reduction=2, repeat_share=0.0), folder / "phantoms")
    by_exam = sorted((folder / "phantoms" / "images").iterdir())
    images = [(exam / f"{view}.dcm").read_bytes() for exam in by_exam for view in f.VIEWS]
    return write_archive(folder / "data", images, 4 * exams)


def _preprocess_table(folder: Path, exams: int) -> list[str]:
    examples = ingest(_phantoms(folder, exams), folder, beam_arguments(2))
    count = ingested_views(folder / "examples")
    megabytes = sum(path.stat().st_size for path in (folder / "examples").rglob("*.gz")) / 1e6 / count
    lines = [f"| method | views | MB a view | {_HEAD}", f"| --- | ---: | ---: {_RULE}"]
    for method in ("thesis", "auto"):
        config = PreprocessConfig(method=method)

        def run(workers: int, config: PreprocessConfig = config) -> None:
            target = folder / f"{config.method} {workers}"
            preprocess(examples, config, target, beam_arguments(workers))
            _require(preprocessed_views(target), count)

        floor = count / seconds(partial(_preprocess_floor, examples.uri, config.output_size))
        rates = [_rate(partial(run, workers), "images")[0] for workers in _WORKERS]
        lines.append(f"| {method} | {count} | {megabytes:.1f} | {_cells(floor, rates, megabytes)} |")
    return lines


def _small() -> bytes:
    return file_bytes(mammogram(phantom()[::32, ::32].copy(), BITS))


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exams", type=int, default=100, help="phantom exams to preprocess")
    parser.add_argument("--rounds", type=int, default=3, help="turns of the plain loop and ingest")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_worker()  # the plain loop keeps its memory as a worker does
        starts = _starts(folder)
        print(
            f"## Throughput\n\nIngest of images of {ROWS} x {COLUMNS} pixels, {BITS} bits, to {CONFIG.longest_side}."
            " The floor is a plain loop that reads, decodes with the same library, makes grey, reduces, encodes a PNG,"
            f" and checks and writes nothing. It and ingest take turns; medians of {arguments.rounds} rounds, of which"
            " each gives its own ratios. Workers are threads. Starting and ending a node takes"
            f" {starts[0]:.0f} s with one and {starts[1]:.0f} s with two, which speeds and processor times leave"
            " out.\n"
        )
        print("\n".join(_ingest_table(folder, arguments.rounds)), flush=True)
        print("\nPreprocessing of phantoms; the floor decodes the PNG and resizes:\n")
        print("\n".join(_preprocess_table(folder / "preprocess", arguments.exams)), flush=True)


if __name__ == "__main__":
    main()
