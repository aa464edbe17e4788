"""Special images that only the picture shows: how many phantoms of each kind are found, false alarms, and the cost.

    python -m benchmarks.special_pictures [--seed 1] [--exams 30] [--reduction 5] [--picture docs/special_images.png]

Prints a table in Markdown; ``--picture`` writes one example of each kind with its evidence. Limits were chosen on the
seeds that docs/special_images.md names: judge on others.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.dicom.pictures.checks import find_in_picture
from components.dicom.reading import reduce_by_area
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.special_set import SpecialView, special_views

# As ingest keeps pictures.
_LONGEST: Final = 1024
# Size of an example, pixels, and how many lie side by side.
_ROWS, _COLUMNS, _MARGIN, _ACROSS = 225, 190, 10, 4
_FONT, _LINE = cv2.FONT_HERSHEY_SIMPLEX, 14


def _kept(made: SpecialView) -> NDArray[Any]:
    return reduce_by_area(np.rint(made.grey * 65535).astype(np.uint16), _LONGEST)


def _wrapped(text: str, size: float) -> list[str]:
    """Break a text between words to the width of an example."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if cv2.getTextSize(longer, _FONT, size, 1)[0][0] <= _COLUMNS:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line for line in lines if line]


def _example(made: SpecialView, evidence: str, lines: int) -> NDArray[Any]:
    """One picture with its caption below."""
    scale = min(_ROWS / made.grey.shape[0], _COLUMNS / made.grey.shape[1])
    size = round(made.grey.shape[1] * scale), round(made.grey.shape[0] * scale)
    shown = np.full((_ROWS + 24 + lines * _LINE, _COLUMNS), 255, np.uint8)
    shown[: size[1], : size[0]] = np.rint(255 * cv2.resize(made.grey, size, interpolation=cv2.INTER_AREA))
    name = made.kind.replace("_", " ")
    title = name if made.special or made.kind == "standard" else f"standard: {name}"
    cv2.putText(shown, title, (0, _ROWS + 16), _FONT, 0.42, (0,), 1, cv2.LINE_AA)
    for number, line in enumerate(_wrapped(evidence, 0.34)):
        cv2.putText(shown, line, (0, _ROWS + 32 + number * _LINE), _FONT, 0.34, (0,), 1, cv2.LINE_AA)
    return np.pad(shown, _MARGIN // 2, constant_values=255)


def write_picture(path: Path, examples: Sequence[tuple[SpecialView, str]]) -> None:
    """Write examples with their evidence side by side.

    Args:
        path: PNG.
        examples: Pictures and what was found in them.
    """
    rows = []
    for first in range(0, len(examples), _ACROSS):
        part = examples[first : first + _ACROSS]
        lines = max(len(_wrapped(evidence, 0.34)) for _, evidence in part)
        row = np.hstack([_example(made, evidence, lines) for made, evidence in part])
        missing = _ACROSS * (_COLUMNS + _MARGIN) - row.shape[1]
        rows.append(np.pad(row, ((0, 0), (0, missing)), constant_values=255))
    cv2.imwrite(str(path), np.vstack(rows))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--exams", type=int, default=30)
    parser.add_argument("--reduction", type=int, default=5)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args(arguments)
    total: Counter[str] = Counter()
    refused: Counter[str] = Counter()
    told: Counter[str] = Counter()
    examples: dict[str, tuple[SpecialView, str]] = {}
    spent = 0.0
    config = PhantomConfig(exams=options.exams, seed=options.seed, reduction=options.reduction, workers=1)
    for made in special_views(config):
        kept = _kept(made)
        unit = max(made.grey.shape) / max(kept.shape)
        started = time.thread_time()
        found = find_in_picture(kept, made.view, unit)
        spent += time.thread_time() - started
        total[made.kind] += 1
        refused[made.kind] += any(item.sure for item in found)
        told[made.kind] += bool(found) and not any(item.sure for item in found)
        shown = [item.evidence for item in found if item.sure]
        # An example is refused for what its kind is named after, a standard one passes.
        fits = found and found[0].sure and (made.kind != "magnification" or "paddle" in shown[0])
        if fits if made.special else not found:
            examples.setdefault(made.kind, (made, shown[0] if shown else ""))
    print("| kind | of | refused | only told |\n|---|---|---|---|")
    for kind, count in total.items():
        print(f"| {kind} | {count} | {refused[kind]} | {told[kind]} |")
    print(f"\n{1000 * spent / sum(total.values()):.1f} ms of one thread an image")
    if options.picture:
        kinds = [kind for kind in total if kind in examples]
        write_picture(options.picture, [examples[kind] for kind in kinds])


if __name__ == "__main__":
    main()
