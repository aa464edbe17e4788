"""Peak memory of the image nodes by the number of files, each size in a fresh process.

    python -m benchmarks.memory [--sizes 100 1000 5000]

Prints a section of Markdown. The images are small (208 x 160 pixels) and their muscle is left in, so what grows with
the number of files shows: what is kept of each file and of each view. The last row, on full-size images, has what an
image takes while it is decoded.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pydicom.uid import ExplicitVRLittleEndian
from tfx.types import standard_artifacts

from benchmarks.decoders import BITS, COLUMNS, ROWS, encoded, phantom
from benchmarks.nodes import beam_arguments, ingest, ingested_views, preprocess, preprocessed_views, write_archive
from benchmarks.reference_images import file_bytes, mammogram
from components.preprocessing.config import PreprocessConfig
from components.sources.source import FolderSource

_STEP = 16  # 3328 x 2560 pixels become 208 x 160
_LARGE = 24  # full-size files


def _peak_mib() -> float:
    """Largest resident size of this process so far, MiB; ``getrusage`` would count the process that started it too."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def _node(node: str, folder: Path, files: int) -> None:
    """Run one node in this process and print its peak memory, MiB."""
    logging.disable(logging.WARNING)
    if node == "ingest":
        ingest(FolderSource(folder / "images", folder / "labels.csv"), folder, beam_arguments(1))
        found = ingested_views(folder / "examples")
    else:
        examples = standard_artifacts.Examples()
        examples.uri, examples.split_names = str(folder / "examples"), '["train", "eval", "test"]'
        preprocess(examples, PreprocessConfig(method="none"), folder, beam_arguments(1))
        found = preprocessed_views(folder)
    if found != files:
        raise RuntimeError(f"{node} must give one view a file. Received: {found} of {files}")
    print(f"{_peak_mib():.1f}")


def _measure(node: str, folder: Path, files: int) -> float:
    command = [
        sys.executable,
        "-m",
        "benchmarks.memory",
        "--node",
        node,
        "--folder",
        str(folder),
        "--files",
        str(files),
    ]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(output.split()[-1])


def _peaks(files: int, image: bytes) -> tuple[float, float]:
    """Measure both nodes on one archive."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_archive(folder, [image], files)
        return _measure("ingest", folder, files), _measure("preprocess", folder, files)


def _table(sizes: list[int]) -> list[str]:
    pixels = phantom()
    small = file_bytes(mammogram(pixels[::_STEP, ::_STEP].copy(), BITS))
    large = encoded(pixels, ExplicitVRLittleEndian)
    lines = [
        "| files | ingest, MiB | a further file, KiB | preprocessing, MiB | a further view, KiB |",
        "| ---: " * 5 + "|",
    ]
    cases = [(_LARGE, large), *((size, small) for size in sorted(sizes))]
    with ThreadPoolExecutor(2) as pool:  # memory does not depend on who else is running
        # The largest first: it takes as long as all the others together.
        (of_large, *of_small) = reversed(list(pool.map(_peaks, *zip(*reversed(cases), strict=True))))
    last: tuple[int, tuple[float, float]] | None = None
    for files, peaks in zip(sorted(sizes), of_small, strict=True):
        growth = ["", ""]
        if last is not None:
            more, before = files - last[0], last[1]
            growth = [f"{(peak - old) * 1024 / more:.1f}" for peak, old in zip(peaks, before, strict=True)]
        lines.append(f"| {files:,} | {peaks[0]:.0f} | {growth[0]} | {peaks[1]:.0f} | {growth[1]} |")
        last = (files, peaks)
    lines.append(f"| {_LARGE} of {ROWS} x {COLUMNS} | {of_large[0]:.0f} | | {of_large[1]:.0f} | |")
    return lines


def main() -> None:
    """Run the benchmark, or one node for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 1000, 5000])
    parser.add_argument("--node", choices=("ingest", "preprocess"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--files", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.node:
        _node(arguments.node, arguments.folder, arguments.files)
        return
    print("## Peak memory\n\nResident size of the node's process, libraries included, with one worker:\n")
    print("\n".join(_table(arguments.sizes)))


if __name__ == "__main__":
    main()
