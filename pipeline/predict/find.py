"""Find the exams of an archive: which files belong together, by their headers and folders, or by a manifest.

A manifest is the only way to grade PNG, JPEG and TIFF files, and DICOM files without a view in the header.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from components.common.location import absolute
from components.dicom.bounded_stream import parse_file_header
from components.dicom.headers import tags
from components.dicom.reading import ViewHeader, read_header
from components.dicom.rejections import IngestError, Rejection, RejectionReason
from components.dicom_example_gen.plan.identity import keyed_hash
from components.exam_model.recipe import PreprocessingRecipe
from components.exams.census import take_census
from components.exams.evidence import is_one_exam
from components.exams.grouping import group
from components.sources.candidates import Candidate
from components.sources.labels import exam_id_problem, system_name
from components.sources.readers import reader_of
from components.sources.source import MANIFEST_COLUMNS, ManifestRows
from components.sources.tables import Row, read_rows
from serving.client.preprocessing import ExamFiles, files_of

KEY_DIGITS: Final = 16
_NO_IMAGE: Final = (RejectionReason.NOT_DICOM, RejectionReason.NOT_MAMMOGRAPHY, RejectionReason.NO_PIXEL_DATA)


@dataclass(frozen=True)
class FoundExam:
    """The files of one exam.

    Attributes:
        key: 16 hexadecimal digits: a keyed hash of the files' relative paths, or of the exam's name in a manifest.
        files: The files by their name in messages: ``file 1``, ``file 2``.
        views: Views from a manifest, by the same names.
        rejected: Rejected rows of a manifest.
        name: Name of the exam in a manifest; it may identify a person.
        systems: Acquisition systems from a manifest, by the names of the files.
    """

    key: str
    files: dict[str, Path]
    views: dict[str, str] = field(default_factory=dict)
    rejected: tuple[Rejection, ...] = ()
    name: str = ""
    systems: dict[str, str] = field(default_factory=dict)

    @property
    def source(self) -> ExamFiles:
        """The files, as the client's functions take them."""
        return ExamFiles(self.files, self.views, self.rejected, self.systems)


@dataclass(frozen=True)
class FoundExams:
    """The exams of an archive.

    Attributes:
        exams: Exams in the order of their first file.
        strays: Files that are not mammograms, have no study, and share a folder with no exam or with several exams.
    """

    exams: tuple[FoundExam, ...]
    strays: tuple[Path, ...]


@dataclass(frozen=True)
class _File:
    path: Path
    relative: str
    study: str
    header: ViewHeader | None
    is_image: bool


def find_exams(folders: Sequence[Path], recipe: PreprocessingRecipe, hash_key: bytes) -> FoundExams:
    """Group the files of folders into exams, see ``components.exams.grouping`` for the rules.

    A single folder is also one exam as a whole, if its headers show one exam by the same rules.

    Args:
        folders: Folders, searched with their subfolders; hidden files are skipped.
        recipe: The model's recipe: which images it accepts.
        hash_key: Key of the exams' names, as in ingest.

    Returns:
        The exams. With the same key, the same files under the same folder names have the same names.

    Raises:
        ValueError: Two folders have the same name and the same files.
    """
    files = [
        _read(path, f"{folder.resolve().name}/{path.relative_to(folder).as_posix()}", recipe)
        for folder in folders
        for path in files_of(folder)
    ]
    merged = _exams(files)
    if len(folders) == 1 and len(merged) > 1:
        headers = [file.header for exam in merged for file in exam if file.header is not None]
        if is_one_exam(headers, take_census(headers)):
            merged = [[file for exam in merged for file in exam]]
    strays = _with_strays(merged, [file for file in files if not file.is_image])
    exams = sorted((sorted(group, key=lambda file: file.relative) for group in merged), key=lambda g: g[0].relative)
    found = tuple(FoundExam(_name(g, hash_key), {f"file {n}": file.path for n, file in enumerate(g, 1)}) for g in exams)
    if len({exam.key for exam in found}) < len(found):
        raise ValueError("Two folders have the same name and the same files: give the folder that holds both.")
    return FoundExams(found, strays)


def _name(files: Iterable[_File], hash_key: bytes) -> str:
    return keyed_hash("\n".join(sorted(file.relative for file in files)), hash_key, "exam")[:KEY_DIGITS]


def _read(path: Path, relative: str, recipe: PreprocessingRecipe) -> _File:
    try:
        header = read_header(path, None, recipe.max_pixels, recipe.acceptance)
    except IngestError as error:
        return _File(path, relative, _study_of(path), None, error.reason not in _NO_IMAGE)
    return _File(path, relative, header.study_uid, header, True)


def _study_of(path: Path) -> str:
    """Return the study of a rejected file, so that it is reported with its exam; empty if it is unknown."""
    try:
        return tags.text(parse_file_header(path), "StudyInstanceUID")
    except Exception:  # pydicom raises nearly anything on broken files; the folder then decides
        return ""


def _exams(files: Iterable[_File]) -> list[list[_File]]:
    """Group the mammograms. Rejected ones join the exam of their study or their folder."""
    images = {str(number): file for number, file in enumerate(files) if file.is_image}
    headers = {name: file.header for name, file in images.items() if file.header is not None}
    exams = [[images[name] for name in exam] for exam in group(headers, lambda name: images[name].path.parent)]
    homes = _homes(exams)
    others: dict[str, list[_File]] = {}
    for file in images.values():
        if file.header is None:
            found = homes.get(file.study) or homes.get(file.path.parent, set())
            if len(found) == 1:
                exams[next(iter(found))].append(file)
            else:
                others.setdefault(file.study or f"folder {file.path.parent}", []).append(file)
    return exams + list(others.values())


def _homes(exams: Sequence[Sequence[_File]]) -> dict[str | Path, set[int]]:
    """Return the numbers of the exams that contain files of each study and of each folder."""
    homes: dict[str | Path, set[int]] = {}
    for number, exam in enumerate(exams):
        for file in exam:
            homes.setdefault(file.path.parent, set()).add(number)
            if file.study:
                homes.setdefault(file.study, set()).add(number)
    return homes


def _with_strays(exams: list[list[_File]], others: Iterable[_File]) -> tuple[Path, ...]:
    """Add files that are not mammograms to the only exam of their study or folder; return those that fit no exam.

    A study without a mammogram is an exam too: it is refused, and its row has the reason.
    """
    homes = _homes(exams)
    strays = []
    studies: dict[str, list[_File]] = {}
    for file in others:
        found = homes.get(file.study) or homes.get(file.path.parent, set())
        if len(found) == 1:
            exams[next(iter(found))].append(file)
        elif file.study:
            studies.setdefault(file.study, []).append(file)
        else:
            strays.append(file.path)
    exams += studies.values()
    return tuple(strays)


def exams_of_manifest(manifest: Path, hash_key: bytes) -> tuple[tuple[FoundExam, ...], tuple[str, ...]]:
    """Read the exams of a manifest, by the rules of ingest (``components.sources.source``).

    Args:
        manifest: CSV or Parquet with the columns ``exam_id``, ``view`` and ``file``, and optionally
            ``acquisition_system``, as in ingest; other columns, such as ``density``, are ignored. If a row has no view,
            the header of the DICOM file provides it.
        hash_key: Key of the exams' names, as in ingest.

    Returns:
        The exams in the order of their first row, including exams without a usable row; and warnings about the manifest
        as a whole.

    Raises:
        ManifestError: The manifest cannot be used at all.
    """
    root = absolute(manifest).parent
    assert isinstance(root, Path)
    reader = ManifestRows(root)
    exams: dict[str, list[_ManifestRow]] = {}
    nameless = 0
    read: set[tuple[Candidate, str]] = set()  # a row with a reader may repeat such a file
    for number, row in enumerate(read_rows(manifest, MANIFEST_COLUMNS), start=2):
        if row.cells["exam_id"]:
            one = _ManifestRow(number, _candidate(reader, row, number, root), system_name(row))
            file = replace(one.candidate, line=0), one.system
            if not (reader_of(row) and file in read):
                exams.setdefault(row.cells["exam_id"], []).append(one)
            read.add(file)
        else:
            nameless += 1
    found = tuple(_exam(exam, rows, root, hash_key) for exam, rows in exams.items())
    warnings = (f"{nameless:,} rows have no exam_id: not used",) if nameless else ()
    return found, (*warnings, *reader.warnings())


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


@dataclass(frozen=True)
class _ManifestRow:
    number: int
    candidate: Candidate
    system: str


def _exam(exam: str, rows: list[_ManifestRow], root: Path, hash_key: bytes) -> FoundExam:
    files: dict[str, Path] = {}
    views: dict[str, str] = {}
    systems: dict[str, str] = {}
    rejected: list[Rejection] = []
    for row in rows:
        candidate = row.candidate
        if candidate.rejection is not None:
            rejected.append(_nameless(candidate.rejection, f"row {row.number}"))
            continue
        name = f"file {len(files) + 1}"
        files[name] = root / candidate.file
        if candidate.view is not None:
            views[name] = candidate.view
        if row.system:
            systems[name] = row.system
    return FoundExam(keyed_hash(exam, hash_key, "exam")[:KEY_DIGITS], files, views, tuple(rejected), exam, systems)


def _nameless(rejection: Rejection, name: str) -> Rejection:
    """Return a rejection without the file's name, because it may be a patient's name: tables of grades name nobody."""
    unsafe = rejection.reason is RejectionReason.UNSAFE_PATH
    value = "a path that is not allowed" if unsafe else rejection.value
    return Rejection(rejection.reason, name, rejection.tag, value, rejection.remedy)
