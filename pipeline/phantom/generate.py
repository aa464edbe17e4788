"""Generate a set of phantom exams on disk: DICOM, labels, truth."""

from __future__ import annotations

import csv
import itertools
import json
import multiprocessing
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import cv2

from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.exam import is_whole, read_truth, write_exam
from pipeline.phantom.plan import ExamPlan, plan_exams
from schema.acquisition import REFERENCE_SYSTEMS
from schema.features import DENSITY_CLASSES

LABELS_FILE: Final = "labels.csv"
CONFIG_FILE: Final = "phantom.json"
# Increase when the same configuration produces other bytes, so that an unfinished older set is not continued.
GENERATOR_VERSION: Final = 1

# Called after each exam with exams done, exams in all, and the exam's id.
OnExam = Callable[[int, int, str], None]


class PhantomFolderError(ValueError):
    """The folder contains something other than the requested phantoms."""


@dataclass(frozen=True)
class PhantomSummary:
    """The content of a set, and the time to make it.

    Attributes:
        out: Root of the set.
        labels: The labels, CSV: exam_id, patient_id, density, age.
        exams: Exams in the set.
        patients: Patients in the set.
        written: Exams made in this call; the others were there already.
        by_density: Exams by density class.
        by_system: Exams by acquisition system, in the order of ``REFERENCE_SYSTEMS``.
        seconds: Wall time of the call.
    """

    out: Path
    labels: Path
    exams: int
    patients: int
    written: int
    by_density: Mapping[str, int]
    by_system: Mapping[str, int]
    seconds: float


def _write_text(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.partial")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)


def _write_csv(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    aside = path.with_name(f".{path.name}.partial")
    with aside.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(aside, path)


def _claim_folder(config: PhantomConfig, out: Path) -> None:
    """Create the folder's marker, or check that the folder already holds this same set."""
    values = config.model_dump(mode="json", exclude={"workers"}) | {"generator": GENERATOR_VERSION}
    wanted = json.dumps(values, indent=1, sort_keys=True) + "\n"
    marker = out / CONFIG_FILE
    if marker.is_file():
        found = marker.read_text(encoding="utf-8")
        if found != wanted:
            raise PhantomFolderError(
                f"{marker}: the folder holds phantoms of another configuration; choose another folder or "
                f"delete this one. Received: {' '.join(wanted.split())}, found: {' '.join(found.split())}"
            )
    elif out.exists() and any(out.iterdir()):
        raise PhantomFolderError(
            f"{out}: the folder is not empty and holds no {CONFIG_FILE}; choose an empty or new folder"
        )
    for name in ("images", "truth"):
        (out / name).mkdir(parents=True, exist_ok=True)
    if not marker.is_file():
        _write_text(marker, wanted)


def _use_one_thread() -> None:
    # The processes use all cores; OpenCV's own threads would compete with them.
    cv2.setNumThreads(1)


def _make(plans: Sequence[ExamPlan], config: PhantomConfig, out: Path) -> Iterator[str]:
    """Make exams and yield their ids as they are finished."""
    workers = min(config.workers, len(plans))
    if workers <= 1:
        yield from (write_exam(plan, config, out) for plan in plans)
        return
    # Not fork: the caller may run threads of TensorFlow, gRPC or a progress bar.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_use_one_thread) as pool:
        futures = [pool.submit(write_exam, plan, config, out) for plan in plans]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def generate_phantoms(config: PhantomConfig, out: Path, on_exam: OnExam | None = None) -> PhantomSummary:
    """Generate a set of phantom exams; a call on an unfinished set makes the missing exams.

    Layout: ``labels.csv``, ``phantom.json`` (the configuration), ``images/EXAM/VIEW.dcm``,
    ``truth/truth.csv``, and in ``truth/EXAM/`` the masks ``VIEW.pectoral.png`` and ``VIEW.breast.png``: 0 or
    255 in the geometry of the image, where the breast is all inside the skin, muscle included. ``labels.csv``
    is written last.

    Args:
        config: What to generate.
        out: Root of the set, made if absent.
        on_exam: Called after each exam, those found on disk included.

    Returns:
        What the set holds.

    Raises:
        PhantomFolderError: The folder holds other things, or phantoms of another configuration.
        OSError: Nothing could be written there.
    """
    started = time.monotonic()
    _claim_folder(config, out)
    plans = plan_exams(config)
    whole = [plan.exam_id for plan in plans if is_whole(plan.exam_id, out)]
    missing = [plan for plan in plans if not is_whole(plan.exam_id, out)]
    finished = itertools.chain(whole, _make(missing, config, out))
    for done, exam_id in enumerate(finished, start=1):
        if on_exam is not None:
            on_exam(done, len(plans), exam_id)
    shutil.rmtree(out / ".partial", ignore_errors=True)

    if missing or not (out / LABELS_FILE).is_file():
        truth = [asdict(row) for plan in plans for row in read_truth(plan.exam_id, out)]
        _write_csv(out / "truth" / "truth.csv", truth)
        _write_csv(
            out / LABELS_FILE,
            [{"exam_id": p.exam_id, "patient_id": p.patient_id, "density": p.density, "age": p.age} for p in plans],
        )
    classes, systems = Counter(p.density for p in plans), Counter(p.system for p in plans)
    return PhantomSummary(
        out=out,
        labels=out / LABELS_FILE,
        exams=len(plans),
        patients=len({p.patient_id for p in plans}),
        written=len(missing),
        by_density={name: classes[name] for name in DENSITY_CLASSES},
        by_system={r.system.key: systems[i] for i, r in enumerate(REFERENCE_SYSTEMS)},
        seconds=time.monotonic() - started,
    )
