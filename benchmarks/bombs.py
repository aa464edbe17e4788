"""Peak memory of each command on a deflated DICOM file that would inflate to two gigabytes of zeros.

    python -m benchmarks.bombs [--megabytes 2048]

Prints a section of Markdown. Each command runs in a process of its own, once on a small file and once on the bomb.
No model is needed: the bomb is refused before anything is graded.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydicom.uid import DeflatedExplicitVRLittleEndian

from benchmarks.reference_images import mammogram

_MEGABYTE: Final = 1 << 20
_META_LENGTH: Final = slice(140, 144)  # value of File Meta Information Group Length (0002,0000)


def deflated(path: Path, megabytes: int) -> None:
    """Write a mammogram of 64 x 64 pixels, deflated, whose pixel data are so many megabytes of zeros."""
    dataset = mammogram(np.zeros((64, 64), np.uint16), 12)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.PixelData = bytes(4)
    plain = io.BytesIO()
    dataset.save_as(plain, enforce_file_format=True)
    data = plain.getvalue()
    start = _META_LENGTH.stop + int.from_bytes(data[_META_LENGTH], "little")
    header = zlib.decompressobj(-zlib.MAX_WBITS).decompress(data[start:])[:-8]
    packer = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    size = (megabytes * _MEGABYTE).to_bytes(4, "little")
    with path.open("wb") as stream:
        stream.write(data[:start] + packer.compress(header + size))
        for _ in range(megabytes):
            stream.write(packer.compress(bytes(_MEGABYTE)))
        stream.write(packer.flush())


def _describe(folder: Path) -> str:
    from components.dicom_example_gen.config import IngestConfig
    from components.sources.source import FolderSource
    from pipeline.describe import describe_source

    labels = folder.parent / "labels.csv"
    labels.write_text("exam_id,density\nexam,A\n")
    figures = describe_source(FolderSource(folder, labels), IngestConfig(), lambda done, total: None).figures
    return " ".join(figures["by_reason"]) or "accepted"


def _preprocess(folder: Path) -> str:
    from components.dicom.rejections import IngestError
    from components.exam_model.recipe import PreprocessingRecipe
    from pipeline.preprocess import preprocess_file

    try:
        preprocess_file(next(folder.rglob("*.dcm")), "CC_R", PreprocessingRecipe(), folder.parent / "preprocessed")
    except IngestError as error:
        return error.reason.value
    return "accepted"


def _predict(folder: Path) -> str:
    from components.dicom_example_gen.plan.identity import HashKey
    from components.exam_model.recipe import PreprocessingRecipe
    from pipeline.predict.archive import ArchiveOptions
    from pipeline.predict.folders import PredictRun, grade_folders
    from serving.client.grades import ModelRecipe

    class NoModel:
        def model_recipe(self) -> ModelRecipe:
            return ModelRecipe(PreprocessingRecipe(), 1)

    grader: Any = NoModel()
    out, options = folder.parent / "predicted", ArchiveOptions(dicom=True, retry_waits_s=())
    run = PredictRun(grader, out, options, HashKey(b"k" * 32, False), lambda line: None)
    grade_folders([folder], run)
    return " ".join(str(row["reason"]) for row in json.loads((out / "grades.json").read_text()))


def _gateway(folder: Path) -> str:
    from components.dicom.rejections import DEFAULT_MAX_PIXELS
    from serving.gateway.admission import RefusedInstanceError, read_instance

    try:
        read_instance(next(folder.rglob("*.dcm")), "file 1", DEFAULT_MAX_PIXELS)
    except RefusedInstanceError as refusal:
        return refusal.reason
    return "accepted"


_COMMANDS: Final[dict[str, Callable[[Path], str]]] = {
    "describe": _describe,
    "preprocess": _preprocess,
    "predict --dicom": _predict,
    "gateway, admission": _gateway,
}


def _peak_mib() -> float:
    """Largest resident size of this process so far, MiB; ``getrusage`` would count the process that started it too."""
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def _measured(command: str, folder: Path) -> tuple[str, float]:
    arguments = [sys.executable, "-m", "benchmarks.bombs", "--command", command, "--folder", str(folder)]
    outcome, peak = json.loads(subprocess.run(arguments, check=True, stdout=subprocess.PIPE).stdout.splitlines()[-1])
    return outcome, peak


def main() -> None:
    """Run the benchmark, or one command for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=2048)
    parser.add_argument("--command", choices=sorted(_COMMANDS), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.command:
        outcome = _COMMANDS[arguments.command](arguments.folder)
        print(json.dumps([outcome, _peak_mib()]))
        return
    print(f"## Peak memory on a bomb\n\nA deflated file that inflates to {arguments.megabytes:,} MiB of zeros:\n")
    print("| command | a small file, MiB | the bomb, MiB | what becomes of the bomb |\n| --- | ---: | ---: | --- |")
    with tempfile.TemporaryDirectory() as name:
        for kind, megabytes in (("small", 1), ("bomb", arguments.megabytes)):
            folder = Path(name, kind, "images", "exam")
            folder.mkdir(parents=True)
            deflated(folder / "a.dcm", megabytes)
        for command in _COMMANDS:
            (_, small), (outcome, peak) = (_measured(command, Path(name, kind, "images")) for kind in ("small", "bomb"))
            print(f"| {command} | {small:.0f} | {peak:.0f} | {outcome} |")


if __name__ == "__main__":
    main()
