"""Decoders: each transfer syntax x each decoder installed, on a full-size mammogram.

    python benchmarks/decoders.py [--rounds 3]

Prints a section of Markdown. The decoders of ``components/dicom/streams/decoders.py`` were chosen by it, together
with the registry of tests (which decoder is right) and ``benchmarks/fuzz.py`` (which survives hostile streams).
"""

from __future__ import annotations

import argparse
import io
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import cv2
import imagecodecs
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.encaps import get_frame
from pydicom.pixels import get_decoder
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from benchmarks.reference_images import by_gdcm, compressed, decoded_by, file_bytes, with_stream
from components.common.stages import prepare_worker
from components.dicom.streams.decoders import decode_frame, decode_native

ROWS, COLUMNS, BITS = 3328, 2560, 14
_SYNTAXES = (
    ExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian,
    RLELossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    JPEG2000Lossless,
    JPEG2000,
)
_OURS = "**ours**"
_CANNOT = {("gdcm", JPEGExtended12Bit), ("pillow", JPEGExtended12Bit)}  # neither has 12-bit lossy JPEG


def phantom() -> NDArray[Any]:
    """Draw a breast of 14 bits before a black background: half of the picture, with structure and noise."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:ROWS, :COLUMNS].astype(np.float32)
    depth = 1 - (x / (0.75 * COLUMNS)) ** 2 - ((y - ROWS / 2) / (0.45 * ROWS)) ** 2
    coarse = random.normal(size=(52, 40)).astype(np.float32)
    structure = cv2.resize(coarse, (COLUMNS, ROWS), interpolation=cv2.INTER_CUBIC)
    tissue = 3000 + 5000 * np.sqrt(np.clip(depth, 0, 1)) + 800 * structure
    noise = random.normal(0, 10, tissue.shape)
    return np.where(depth > 0, np.clip(np.rint(tissue + noise), 0, (1 << BITS) - 1), 0).astype(np.uint16)


def encoded(pixels: NDArray[Any], syntax: UID) -> bytes:
    """Write the phantom in a transfer syntax, in 8 bits for JPEG baseline and 12 for extended."""
    if syntax == JPEGBaseline8Bit:
        return file_bytes(compressed((pixels >> (BITS - 8)).astype(np.uint8), 8, syntax))
    if syntax == JPEGExtended12Bit:
        stream = imagecodecs.jpeg8_encode(pixels >> (BITS - 12), 95, bitspersample=12)
        return file_bytes(with_stream(pixels >> (BITS - 12), 12, syntax, bytes(stream)))
    if syntax == JPEGLosslessSV1:
        return file_bytes(by_gdcm(pixels, BITS, syntax))
    return file_bytes(compressed(pixels, BITS, syntax))


def seconds(action: Callable[[], object], rounds: int) -> float:
    """Measure the fastest of some rounds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return min(times)


def _two_threads(action: Callable[[], object], alone: float, rounds: int) -> float:
    """Measure how many times faster two threads are than one."""

    def both() -> None:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda _: action(), range(4)))

    return 4 * alone / seconds(both, rounds)


def _decode(data: bytes, plugin: str) -> NDArray[Any]:
    """Parse and decode a file, with ingest's decoder or with the named plugin of pydicom."""
    dataset = pydicom.dcmread(io.BytesIO(data))
    element, syntax = dataset["PixelData"], dataset.file_meta.TransferSyntaxUID
    if plugin != _OURS:
        return decoded_by(dataset, plugin)
    if not syntax.is_encapsulated:
        return decode_native(dataset, element.value, element.VR)
    return decode_frame(dataset, syntax, get_frame(element.value, 0, number_of_frames=1)).cells


def _print_decoders(files: dict[UID, bytes], rounds: int) -> None:
    bits = f"{BITS} bits (8 for JPEG baseline, 12 for extended)"
    print(f"### Decoders\n\n{ROWS} x {COLUMNS}, {bits}; file parsed and pixels decoded.\n")
    print("| transfer syntax | file, MB | decoder | ms | pixel MB/s | to the slowest | two threads |")
    print("|---|---:|---|---:|---:|---:|---:|")
    for syntax, data in files.items():
        others = get_decoder(syntax).available_plugins if syntax.is_encapsulated else ()
        plugins = [plugin for plugin in others if (plugin, syntax) not in _CANNOT]
        alone = {plugin: seconds(partial(_decode, data, plugin), rounds) for plugin in (_OURS, *plugins)}
        for plugin, taken in sorted(alone.items(), key=lambda item: item[1]):
            size = ROWS * COLUMNS * (1 if syntax == JPEGBaseline8Bit else 2) / 1e6
            gain = _two_threads(partial(_decode, data, plugin), taken, rounds)
            print(
                f"| {syntax.name} | {len(data) / 1e6:.1f} | {plugin} | {taken * 1000:.0f} | {size / taken:.0f}"
                f" | {max(alone.values()) / taken:.1f} x | {gain:.1f} x |"
            )
    print("\nOurs: imagecodecs, with the proof that the stream is whole; pydicom is its own decoder in Python.\n")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    logging.disable(logging.CRITICAL)
    prepare_worker()
    pixels = phantom()
    files = {syntax: encoded(pixels, syntax) for syntax in _SYNTAXES}
    _print_decoders(files, rounds)


if __name__ == "__main__":
    main()
