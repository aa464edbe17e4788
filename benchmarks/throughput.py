"""Throughput of ingest and preprocessing, with one worker and two, against the plain loop, in one run.

    python -m benchmarks.throughput [--files 48] [--exams 16] [--count 1000]

Prints a section of Markdown. The floor of ingest reads, decodes and reduces; that of preprocessing decodes the PNG and
resizes. The loop does all the work of a node on one image after the other, without Beam. A node's speed is taken from
its first image to its last; what its Beam pipeline needs to start and end shows in the seconds of the whole node.
Speeds of different machines do not compare; ratios of one run do.
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
from pathlib import Path

import cv2
import numpy as np
import pydicom
import tensorflow as tf
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
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
from components.common.pixels import pixels_sha256
from components.common.png import decode_png, encode_png
from components.common.progress import PROGRESS_FILE_VARIABLE, read_progress
from components.common.shards import read_shard, shards_of, split_folder, write_shard
from components.dicom_example_gen.config import SPLITS
from components.dicom_example_gen.decoders import DECODERS, decode_stored
from components.dicom_example_gen.manifest import FolderSource
from components.dicom_example_gen.reading import load_view, reduce_by_area
from components.mammogram_preprocessor.config import PreprocessConfig
from components.mammogram_preprocessor.preprocess import preprocess_view
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from schema import features as f

# Transfer syntax, and its share of --files: slow ones need fewer for the same certainty.
_SYNTAXES: dict[str, tuple[UID, float]] = {
    "uncompressed": (ExplicitVRLittleEndian, 1),
    "RLE": (RLELossless, 0.7),
    "JPEG lossless SV1": (JPEGLosslessSV1, 0.3),
    "JPEG-LS": (JPEGLSLossless, 0.5),
    "JPEG 2000": (JPEG2000Lossless, 0.25),
}


# One worker, two threads, two processes.
_WAYS: tuple[tuple[int, str], ...] = ((1, "multi_threading"), (2, "multi_threading"), (2, "multi_processing"))
_HEAD = (
    "floor, images/s | loop, images/s | 1 worker, images/s | 2 threads, images/s | 2 processes, images/s |"
    " 1 worker, MB/s | floor / 1 worker | loop / 1 worker | 2 threads gain | 2 processes gain |"
    " whole node: 1 worker, s | 2 threads, s | 2 processes, s |"
)
_RULE = "| ---: " * 13 + "|"


@dataclass(frozen=True)
class NodeRun:
    """One run of a node.

    Attributes:
        seconds: From start to end.
        rate: Images a second, from the first one finished to the last.
    """

    seconds: float
    rate: float


class _Clock(threading.Thread):
    """Notes when the images of a node are finished, by its progress file."""

    def __init__(self, path: Path, unit: str):
        super().__init__(daemon=True)
        self._path, self._unit = path, unit
        self._samples: list[tuple[float, int]] = []
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.02):
            progress = read_progress(self._path)
            if progress.unit == self._unit and progress.done > (self._samples[-1][1] if self._samples else 0):
                self._samples.append((time.perf_counter(), progress.done))

    def rate(self) -> float:
        """Ends the watch; gives images a second."""
        self._over.set()
        self.join()
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        return (last - first) / (ended - began) if ended > began else 0.0


def seconds(action: Callable[[], object]) -> float:
    """Measures one run; what ran before leaves no garbage to it."""
    gc.collect()
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _watched(action: Callable[[], object], unit: str) -> NodeRun:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "progress.tsv")
        os.environ[PROGRESS_FILE_VARIABLE] = str(path)
        clock = _Clock(path, unit)
        clock.start()
        taken = seconds(action)
        return NodeRun(taken, clock.rate())


def _cells(floor: float, loop: float, runs: Sequence[NodeRun], megabytes_an_image: float) -> str:
    """Writes speeds (images a second) and their ratios as cells of a Markdown table."""
    one, threads, processes = (run.rate for run in runs)
    speeds = [f"{rate:.1f}" for rate in (floor, loop, one, threads, processes)]
    ratios = [f"{ratio:.2f}" for ratio in (floor / one, loop / one, threads / one, processes / one)]
    return " | ".join([*speeds, f"{megabytes_an_image * one:.0f}", *ratios, *(f"{run.seconds:.0f}" for run in runs)])


def _files(source: FolderSource) -> list[Path]:
    return sorted(Path(str(source.folder)).rglob("*.dcm"))


def _ingest_floor(source: FolderSource) -> None:
    for path in _files(source):
        dataset = pydicom.dcmread(path)
        syntax, element = dataset.file_meta.TransferSyntaxUID, dataset["PixelData"]
        stored = decode_stored(dataset, syntax, element.value, element.VR, DECODERS[syntax])
        reduce_by_area(np.ascontiguousarray(stored.astype(np.uint16, copy=False)), CONFIG.longest_side)


def _ingest_loop(source: FolderSource, target: Path) -> None:
    def records() -> Iterator[bytes]:
        for path in _files(source):
            pixels = load_view(path, None, CONFIG.longest_side).pixels
            pixels_sha256(pixels)
            yield encode_png(pixels)

    write_shard(str(target / "Split-loop" / "shard.gz"), records())


def _records(examples_uri: str) -> Iterator[tf.train.Example]:
    for split in SPLITS:
        for shard in shards_of(split_folder(examples_uri, split)):
            for record in read_shard(shard):
                yield tf.train.Example.FromString(record)


def _preprocess_floor(examples_uri: str, size: int) -> None:
    for example in _records(examples_uri):
        pixels = decode_png(example.features.feature[f.IMAGE].bytes_list.value[0])
        cv2.resize(pixels, (size, size), interpolation=cv2.INTER_AREA)


def _preprocess_loop(examples_uri: str, config: PreprocessConfig) -> None:
    for example in _records(examples_uri):
        feature = example.features.feature
        pixels = decode_png(feature[f.IMAGE].bytes_list.value[0])
        encode_png(preprocess_view(pixels, feature[f.VIEW].bytes_list.value[0].decode(), config).image)


def _require(found: int, expected: int) -> None:
    if found != expected:
        raise RuntimeError(f"A node must give one view a file. Received: {found} views of {expected} files")


def _ingest(source: FolderSource, folder: Path, workers: int, mode: str = "multi_threading") -> NodeRun:
    run = _watched(lambda: ingest(source, folder, beam_arguments(workers, mode)), "files")
    _require(ingested_views(folder / "examples"), len(_files(source)))
    return run


def _ingest_table(folder: Path, files: int) -> list[str]:
    tiny = write_archive(folder / "tiny", [_small()], 12)
    _ingest(tiny, folder / "warm", 1)
    lines = [f"| transfer syntax | files | MB a file | {_HEAD}", f"| --- | ---: | ---: {_RULE}"]
    for name, (syntax, share) in _SYNTAXES.items():
        place = folder / name
        source = write_archive(place, [encoded(phantom(), syntax)], max(12, 4 * round(share * files / 4)))
        count = len(_files(source))
        megabytes = sum(path.stat().st_size for path in _files(source)) / 1e6 / count
        floor = count / seconds(lambda s=source: _ingest_floor(s))
        loop = count / seconds(lambda s=source, p=place: _ingest_loop(s, p))
        runs = [_ingest(source, place / f"{mode} {workers}", workers, mode) for workers, mode in _WAYS]
        lines.append(f"| {name} | {count} | {megabytes:.1f} | {_cells(floor, loop, runs, megabytes)} |")
        shutil.rmtree(place)
    return lines


def _phantoms(folder: Path, exams: int) -> FolderSource:
    labels = generate_phantoms(PhantomConfig(exams=exams, reduction=2, repeat_share=0.0), folder).labels
    head, *rows = labels.read_text(encoding="utf-8").splitlines()
    lines = [f"{head},split", *(f"{row},{SPLITS[number % 3]}" for number, row in enumerate(rows))]
    labels.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return FolderSource(folder / "images", labels)


def _preprocess_table(folder: Path, exams: int) -> list[str]:
    examples = ingest(_phantoms(folder / "data", exams), folder, beam_arguments(2))
    count = ingested_views(folder / "examples")
    megabytes = sum(path.stat().st_size for path in (folder / "examples").rglob("*.gz")) / 1e6 / count
    lines = [f"| method | views | MB a view | {_HEAD}", f"| --- | ---: | ---: {_RULE}"]
    for method in ("thesis", "auto"):
        config = PreprocessConfig(method=method)

        def run(workers: int, mode: str, config: PreprocessConfig = config) -> NodeRun:
            target = folder / f"{config.method} {mode} {workers}"
            taken = _watched(lambda: preprocess(examples, config, target, beam_arguments(workers, mode)), "images")
            _require(preprocessed_views(target), count)
            return taken

        floor = count / seconds(lambda c=config: _preprocess_floor(examples.uri, c.output_size))
        loop = count / seconds(lambda c=config: _preprocess_loop(examples.uri, c))
        runs = [run(workers, mode) for workers, mode in _WAYS]
        lines.append(f"| {method} | {count} | {megabytes:.1f} | {_cells(floor, loop, runs, megabytes)} |")
    return lines


def _small() -> bytes:
    return file_bytes(mammogram(phantom()[::32, ::32].copy(), BITS))


def _counts(folder: Path, files: int) -> str:
    small = write_archive(folder / "many", [_small()], files)
    _ingest(small, folder / "processes", 2, "multi_processing")
    return (
        f"\n`multi_processing` with two workers: {files:,} of {files:,} small files became views, none lost or doubled."
    )


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=48, help="files of the fastest transfer syntax")
    parser.add_argument("--exams", type=int, default=16, help="phantom exams to preprocess")
    parser.add_argument("--count", type=int, default=1000, help="small files that two processes must not lose")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(
            f"## Throughput\n\nIngest of images of {ROWS} x {COLUMNS} pixels, {BITS} bits, to {CONFIG.longest_side}:\n"
        )
        print("\n".join(_ingest_table(folder, arguments.files)), flush=True)
        print("\nPreprocessing of phantoms:\n")
        print("\n".join(_preprocess_table(folder / "preprocess", arguments.exams)), flush=True)
        print(_counts(folder, arguments.count))


if __name__ == "__main__":
    main()
