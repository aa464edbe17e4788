"""Writes ``reference_streams.zip``: JPEG and HTJ2K streams that no encoder among the project's dependencies writes.

Run by hand, in an environment of its own that has imagecodecs (libjpeg-turbo 3 and OpenJPH):

    uv run --no-project --with imagecodecs --with numpy python benchmarks/make_reference_streams.py

The file in the repository was made with imagecodecs 2026.3.6 (libjpeg-turbo 3.1.3, OpenJPH 0.26.3).
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pictures import picture

DEPTHS = (8, 10, 12, 14, 16)
PREDICTORS = (1, 4, 6, 7)


def _bits(values: NDArray[Any], bits: int) -> NDArray[Any]:
    """JPEG knows no sign: negative values go in as the bits they are stored in."""
    return (values.astype(np.int64) & ((1 << bits) - 1)).astype(np.uint8 if bits == 8 else np.uint16)


def main() -> None:
    """Write the file."""
    streams: dict[str, bytes | bytearray] = {}
    for bits in DEPTHS:
        for signed in (False, True):
            name, values = f"{bits}{'s' if signed else 'u'}", picture(bits, signed)
            for predictor in PREDICTORS if name in ("8u", "12u", "16u") else PREDICTORS[:1]:
                streams[f"jpeg-lossless-{predictor}-{name}"] = imagecodecs.jpeg8_encode(
                    _bits(values, bits), bitspersample=bits, lossless=True, predictor=predictor
                )
            streams[f"htj2k-lossless-{name}"] = imagecodecs.htj2k_encode(values, reversible=True)
    streams["htj2k-lossy-12u"] = imagecodecs.htj2k_encode(picture(12, False), 0.0005, reversible=False)
    streams["jpeg-extended-12u"] = imagecodecs.jpeg8_encode(picture(12, False), 95, bitspersample=12)
    streams["jpeg-baseline-8u"] = imagecodecs.jpeg8_encode(picture(8, False), 95)
    with zipfile.ZipFile(Path(__file__).with_name("reference_streams.zip"), "w", zipfile.ZIP_DEFLATED) as file:
        for name, stream in sorted(streams.items()):
            file.writestr(zipfile.ZipInfo(name), bytes(stream))  # without a date: the same bytes each time


if __name__ == "__main__":
    main()
