"""What the two lanes make of the same files: one records, then the other, then both are compared.

    python -m benchmarks.lanes record base.npz MODEL EXAMS...     # in the environment of each lane
    python -m benchmarks.lanes compare base.npz current.npz

MODEL is a SavedModel, EXAMS are folders of exam folders. A record holds each file's pixels as ingest reduces them (by
their hash), its preprocessed picture as PNG, and what the model answers about each exam; ``compare`` prints Markdown.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import platform
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from components.common.files import write_whole
from serving.client.local_model import LocalModel
from serving.client.preprocessing import files_of, prepare_exam


def _exams(folders: list[Path]) -> Iterator[Path]:
    for folder in folders:
        yield from sorted(entry for entry in folder.iterdir() if entry.is_dir() and files_of(entry))


def record(model_folder: Path, folders: list[Path]) -> dict[str, NDArray[Any]]:
    """Read, preprocess and grade every exam of some folders.

    Args:
        model_folder: SavedModel, or a folder of versions.
        folders: Folders of exam folders.

    Returns:
        Arrays by ``what/exam/view``; ``times`` holds seconds of reading and preprocessing, and of the model.
    """
    model = LocalModel(model_folder)
    recipe = model.model_recipe().recipe
    found: dict[str, NDArray[Any]] = {}
    times = np.zeros(2)
    for folder in _exams(folders):
        start = time.perf_counter()
        views = prepare_exam(folder, recipe).views
        middle = time.perf_counter()
        answer = model.explain_exam({view: prepared.png for view, prepared in views.items()})
        times += middle - start, time.perf_counter() - middle
        for view, prepared in views.items():
            key = f"{folder.name}/{view}"
            found[f"pixels/{key}"] = np.array(hashlib.sha256(prepared.loaded.pixels.tobytes()).hexdigest())
            found[f"status/{key}"] = np.array(prepared.result.status)
            found[f"png/{key}"] = np.frombuffer(prepared.png, np.uint8)
            found[f"heat/{key}"] = answer.views[view].heatmap
        found[f"exam/{folder.name}"] = np.array(answer.grade.probabilities)
    versions = [f"{name} {metadata.version(name)}" for name in ("tfx", "tensorflow", "opencv-python-headless", "numpy")]
    return found | {"times": times, "lane": np.array(f"Python {platform.python_version()}, {', '.join(versions)}")}


def _grey(png: NDArray[Any]) -> NDArray[Any]:
    picture = cv2.imdecode(png, cv2.IMREAD_UNCHANGED)
    assert picture is not None
    return np.asarray(picture).astype(int)


def _largest(one: dict[str, Any], other: dict[str, Any], keys: list[str]) -> float:
    return max(float(np.abs(one[key] - other[key]).max()) for key in keys)


def comparison(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Compare two records: a section of Markdown."""
    kinds = {kind: sorted(key for key in one if key.startswith(f"{kind}/")) for kind in ("pixels", "status", "png")}
    exams, heat = (sorted(key for key in one if key.startswith(kind)) for kind in ("exam/", "heat/"))
    views = len(kinds["png"])
    same = {kind: sum(np.array_equal(one[key], other[key]) for key in keys) for kind, keys in kinds.items()}
    steps = [np.abs(_grey(one[key]) - _grey(other[key])) for key in kinds["png"]]
    grades = sum(int(one[key].argmax() == other[key].argmax()) for key in exams)
    lines = [
        "| | |",
        "|---|---|",
        f"| pixels after reading, the same to the bit | {same['pixels']} of {views} |",
        f"| preprocessed picture, the same to the bit | {sum(not step.any() for step in steps)} of {views} |",
        f"| its PNG file, the same to the byte | {same['png']} of {views} |",
        f"| largest difference of a grey value | {max(int(step.max()) for step in steps)} of 255 |",
        f"| grey values that differ | {np.mean([(step > 0).mean() for step in steps]):.3%} |",
        f"| what was found of the muscle, the same | {same['status']} of {views} |",
        f"| density class, the same | {grades} of {len(exams)} exams |",
        f"| largest difference of a probability | {_largest(one, other, exams):.2g} |",
        f"| largest difference of a heat map | {_largest(one, other, heat):.2g} |",
    ]
    for arrays in (one, other):
        reading, model = arrays["times"] / (views, len(exams)) * 1000
        lines.append(f"| {arrays['lane']} | {reading:.0f} ms a view before the model, {model:.0f} ms an exam in it |")
    return "\n".join(lines)


def main() -> None:
    """Record or compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    recording = commands.add_parser("record")
    recording.add_argument("out", type=Path)
    recording.add_argument("model", type=Path)
    recording.add_argument("exams", type=Path, nargs="+")
    comparing = commands.add_parser("compare")
    comparing.add_argument("one", type=Path)
    comparing.add_argument("other", type=Path)
    arguments = parser.parse_args()
    if arguments.command == "record":
        arrays: dict[str, Any] = record(arguments.model, arguments.exams)
        stream = io.BytesIO()
        np.savez(stream, **arrays)
        write_whole(arguments.out, stream.getvalue())
    else:
        print(comparison(dict(np.load(arguments.one)), dict(np.load(arguments.other))))


if __name__ == "__main__":
    main()
