"""Throughput of ingest and preprocessing, with one worker and two, against the plain loop, in one run.

    python -m benchmarks.throughput [--files 48] [--exams 16] [--count 1000]

Prints a section of Markdown. The floor of ingest reads, decodes and reduces; that of preprocessing decodes the PNG and
resizes. The loop does all the work of a node without Beam. A node's time includes the start and the end of its Beam
pipeline, which is given beside it. Speeds of different machines do not compare; ratios of one run do.
"""

from __future__ import annotations

import argparse
import gc
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
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


@dataclass(frozen=True)
class Times:
    """Seconds for all files.

    Attributes:
        floor: The least that has to be done.
        loop: The node's work without Beam.
        one: The node with one worker.
        threads: The node with two threads.
        processes: The node with two processes.
        start: The node on hardly any work, in the same three ways.
    """

    floor: float
    loop: float
    one: float
    threads: float
    processes: float
    start: tuple[float, float, float]

    def cells(self, files: int, megabytes: float) -> str:
        """Writes speeds and ratios as cells of a Markdown table."""
        ways = self.one, self.threads, self.processes
        one, threads, processes = (taken - start for taken, start in zip(ways, self.start, strict=True))
        speeds = [f"{files / taken:.1f}" for taken in (self.floor, self.loop, *ways)]
        ratios = (one / self.floor, one / self.loop, one / threads, one / processes)
        return " | ".join([*speeds, f"{megabytes / self.one:.0f}", *(f"{ratio:.2f}" for ratio in ratios)])


_HEAD = (
    "floor, images/s | loop, images/s | 1 worker, images/s | 2 threads, images/s | 2 processes, images/s |"
    " 1 worker, MB/s | 1 worker / floor | 1 worker / loop | 2 threads gain | 2 processes gain |"
)
_RULE = "| ---: " * 10 + "|"
# One worker, two threads, two processes.
_WAYS: tuple[tuple[int, str], ...] = ((1, "multi_threading"), (2, "multi_threading"), (2, "multi_processing"))


def seconds(action: Callable[[], object]) -> float:
    """Measures one run; what ran before leaves no garbage to it."""
    gc.collect()
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


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


def _ingest(source: FolderSource, folder: Path, workers: int, mode: str = "multi_threading") -> float:
    taken = seconds(lambda: ingest(source, folder, beam_arguments(workers, mode)))
    _require(ingested_views(folder / "examples"), len(_files(source)))
    return taken


def _ways(measure: Callable[[int, str], float]) -> tuple[float, float, float]:
    one, threads, processes = (measure(workers, mode) for workers, mode in _WAYS)
    return one, threads, processes


def _start_line(start: tuple[float, float, float]) -> str:
    one, threads, processes = start
    return (
        f"Start and end of the node's Beam pipeline: {one:.1f} s with one worker, {threads:.1f} s with two threads,"
        f" {processes:.1f} s with two processes. The ratios leave them out, the speeds do not.\n"
    )


def _ingest_table(folder: Path, files: int) -> tuple[list[str], tuple[float, float, float]]:
    tiny = write_archive(folder / "tiny", [file_bytes(mammogram(phantom()[::32, ::32].copy(), BITS))], 24)
    _ingest(tiny, folder / "warm", 1)
    start = _ways(lambda workers, mode: _ingest(tiny, folder / f"start {mode} {workers}", workers, mode))
    lines = [_start_line(start), f"| transfer syntax | files | MB a file | {_HEAD}", f"| --- | ---: | ---: {_RULE}"]
    for name, (syntax, share) in _SYNTAXES.items():
        place = folder / name
        source = write_archive(place, [encoded(phantom(), syntax)], max(12, 4 * round(share * files / 4)))
        count = len(_files(source))
        megabytes = sum(path.stat().st_size for path in _files(source)) / 1e6
        floor = seconds(lambda s=source: _ingest_floor(s))
        loop = seconds(lambda s=source, p=place: _ingest_loop(s, p))
        ways = _ways(lambda workers, mode, s=source, p=place: _ingest(s, p / f"{mode} {workers}", workers, mode))
        times = Times(floor, loop, *ways, start)
        lines.append(f"| {name} | {count} | {megabytes / count:.1f} | {times.cells(count, megabytes)} |")
        shutil.rmtree(place)
    return lines, start


def _preprocess_table(folder: Path, exams: int, start: tuple[float, float, float]) -> list[str]:
    labels = generate_phantoms(PhantomConfig(exams=exams, reduction=2, repeat_share=0.0), folder / "data").labels
    head, *rows = labels.read_text(encoding="utf-8").splitlines()
    lines = [f"{head},split", *(f"{row},{SPLITS[number % 3]}" for number, row in enumerate(rows))]
    labels.write_text("\n".join(lines) + "\n", encoding="utf-8")
    source = FolderSource(folder / "data" / "images", labels)
    examples = ingest(source, folder, beam_arguments(2))
    count = ingested_views(folder / "examples")
    megabytes = sum(path.stat().st_size for path in (folder / "examples").rglob("*.gz")) / 1e6
    lines = [f"| method | views | MB a view | {_HEAD}", f"| --- | ---: | ---: {_RULE}"]
    for method in ("none", "thesis", "auto"):
        config = PreprocessConfig(method=method)

        def measure(workers: int, mode: str, config: PreprocessConfig = config) -> float:
            target = folder / f"{config.method} {mode} {workers}"
            taken = seconds(lambda: preprocess(examples, config, target, beam_arguments(workers, mode)))
            _require(preprocessed_views(target), count)
            return taken

        floor = seconds(lambda c=config: _preprocess_floor(examples.uri, c.output_size))
        loop = seconds(lambda c=config: _preprocess_loop(examples.uri, c))
        times = Times(floor, loop, *_ways(measure), start)
        lines.append(f"| {method} | {count} | {megabytes / count:.1f} | {times.cells(count, megabytes)} |")
    return lines


def _counts(folder: Path, files: int) -> str:
    small = write_archive(folder / "many", [file_bytes(mammogram(phantom()[::32, ::32].copy(), BITS))], files)
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
        lines, start = _ingest_table(folder, arguments.files)
        print("\n".join(lines), flush=True)
        print("\nPreprocessing of phantoms:\n")
        print("\n".join(_preprocess_table(folder / "preprocess", arguments.exams, start)), flush=True)
        print(_counts(folder, arguments.count))


if __name__ == "__main__":
    main()
