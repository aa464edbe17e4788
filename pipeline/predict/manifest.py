"""The exams that a manifest names: the one way to grade PNG, JPEG and TIFF, and DICOM files whose view is not told."""

from __future__ import annotations

from pathlib import Path

from components.common.location import absolute
from components.dicom.rejections import Rejection, RejectionReason
from components.dicom_example_gen.plan.identity import keyed_hash
from components.sources.candidates import Candidate
from components.sources.labels import exam_id_problem
from components.sources.source import MANIFEST_COLUMNS, ManifestRows
from components.sources.tables import Row, read_rows
from pipeline.predict.find import KEY_DIGITS, FoundExam


def exams_of_manifest(manifest: Path, hash_key: bytes) -> tuple[tuple[FoundExam, ...], tuple[str, ...]]:
    """Reads the exams of a manifest, by the rules of ingest (``components.sources.source``).

    Args:
        manifest: CSV or Parquet with the columns ``exam_id``, ``view`` and ``file``; others, such as ``density``, play
            no part. A DICOM file is asked for its view where the row names none.
        hash_key: Key of the exams' names, as in ingest.

    Returns:
        The exams in the order of their first row, those included whose rows are all unusable; and sentences on the
        manifest as a whole.

    Raises:
        ManifestError: The manifest cannot be used at all.
    """
    root = absolute(manifest).parent
    assert isinstance(root, Path)
    reader = ManifestRows(root)
    exams: dict[str, list[tuple[int, Candidate]]] = {}
    nameless = 0
    for number, row in enumerate(read_rows(manifest, MANIFEST_COLUMNS), start=2):
        if row.cells["exam_id"]:
            exams.setdefault(row.cells["exam_id"], []).append((number, _candidate(reader, row, number, root)))
        else:
            nameless += 1
    found = tuple(_exam(exam, rows, root, hash_key) for exam, rows in exams.items())
    told = (f"{nameless:,} rows name no exam: left out",) if nameless else ()
    return found, (*told, *reader.warnings())


def _candidate(reader: ManifestRows, row: Row, number: int, root: Path) -> Candidate:
    candidate = reader.candidate(row, number, view_optional=True)
    problem = exam_id_problem(row) or row.shape_problem()
    if problem is not None:
        return Candidate(candidate.file, number, rejection=problem.rejection(candidate.file))
    if candidate.rejection is None and not (root / candidate.file).is_file():
        remedy = "put it there or correct its name"
        where = f"{row.where}, column file"
        absent = Rejection(RejectionReason.MISSING_FILE, candidate.file, where, "absent", remedy)
        return Candidate(candidate.file, number, rejection=absent)
    return candidate


def _exam(exam: str, rows: list[tuple[int, Candidate]], root: Path, hash_key: bytes) -> FoundExam:
    files: dict[str, Path] = {}
    views: dict[str, str] = {}
    rejected: list[Rejection] = []
    for number, candidate in rows:
        if candidate.rejection is not None:
            rejected.append(_nameless(candidate.rejection, f"row {number}"))
            continue
        name = f"file {len(files) + 1}"
        files[name] = root / candidate.file
        if candidate.view is not None:
            views[name] = candidate.view
    return FoundExam(keyed_hash(exam, hash_key, "exam")[:KEY_DIGITS], files, views, tuple(rejected), exam)


def _nameless(rejection: Rejection, name: str) -> Rejection:
    """Returns a rejection without the file's name, which may be a patient's: tables of grades name nobody."""
    unsafe = rejection.reason is RejectionReason.UNSAFE_PATH
    value = "a path that is not allowed" if unsafe else rejection.value
    return Rejection(rejection.reason, name, rejection.tag, value, rejection.remedy)
