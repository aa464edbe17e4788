"""The exams of an archive: which files belong together, by their headers and folders."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from components.dicom.bounded_stream import parse_file_header
from components.dicom.headers import tags
from components.dicom.reading import ViewHeader, read_header
from components.dicom.rejections import IngestError, Rejection, RejectionReason
from components.dicom_example_gen.plan.identity import keyed_hash
from components.exam_model.recipe import PreprocessingRecipe
from components.exams.census import take_census
from components.exams.evidence import is_one_exam
from components.exams.grouping import group
from serving.client.preprocessing import ExamFiles, files_of

KEY_DIGITS: Final = 16
_NO_IMAGE: Final = (RejectionReason.NOT_DICOM, RejectionReason.NOT_MAMMOGRAPHY, RejectionReason.NO_PIXEL_DATA)


@dataclass(frozen=True)
class FoundExam:
    """The files of one exam.

    Attributes:
        key: 16 hexadecimal digits: a keyed hash of the files' relative paths, or of what a manifest calls the exam.
        files: The files by the name that messages have for them: ``file 1``, ``file 2``.
        views: The views that a manifest names, by the same names.
        rejected: What is wrong with rows of a manifest.
        name: What a manifest calls the exam; it may identify a person.
    """

    key: str
    files: dict[str, Path]
    views: dict[str, str] = field(default_factory=dict)
    rejected: tuple[Rejection, ...] = ()
    name: str = ""

    @property
    def source(self) -> ExamFiles:
        """What is graded."""
        return ExamFiles(self.files, self.views, self.rejected)


@dataclass(frozen=True)
class FoundExams:
    """What an archive holds.

    Attributes:
        exams: In the order of their first file.
        strays: Files that are no mammogram, name no study, and lie with no exam or with several.
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
    """Groups the files of folders to exams, see ``components.exams.grouping`` for the rules.

    A single folder as a whole is one exam too, if its headers say so as those of a folder's studies can.

    Args:
        folders: Folders, with their subfolders; hidden files are passed over.
        recipe: The model's recipe: which images it takes.
        hash_key: Key of the exams' names, as in ingest.

    Returns:
        The exams; with one key, the same files under the same folder names have the same names.

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
    """Reads the study of a file that cannot be used, so that it is told of with its exam."""
    try:
        return tags.text(parse_file_header(path), "StudyInstanceUID")
    except Exception:  # pydicom raises nearly anything on broken files, and then the folder tells
        return ""


def _exams(files: Iterable[_File]) -> list[list[_File]]:
    """Groups the mammograms; those that cannot be used go where their study or their folder goes."""
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
    """Tells in which exams the files of each study and of each folder are."""
    homes: dict[str | Path, set[int]] = {}
    for number, exam in enumerate(exams):
        for file in exam:
            homes.setdefault(file.path.parent, set()).add(number)
            if file.study:
                homes.setdefault(file.study, set()).add(number)
    return homes


def _with_strays(exams: list[list[_File]], others: Iterable[_File]) -> tuple[Path, ...]:
    """Adds files that are no mammogram to the one exam of their study or folder; returns those of none.

    A study without a mammogram is an exam too: it is refused, and its row says why.
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
