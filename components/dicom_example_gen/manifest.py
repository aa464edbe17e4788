"""Finding the files that an archive offers for ingest.

Three kinds of source:
    * ``FolderSource``: a folder read recursively, and a labels file. A file is a candidate if its suffix is
      ``.dcm``, ``.dicom`` or ``.ima``, if it has no suffix, or if its content begins as DICOM does.
      ``DICOMDIR`` and all other files are counted as ignored, by suffix; hidden files and folders (``.name``)
      are not looked at; links to folders are not followed.
    * ``ManifestSource``: a table whose rows are the candidates. Files are relative to the manifest's folder and
      may not leave it.
    * ``ArchiveSource``: a public archive as it was downloaded (see ``archives``).
Labels and manifests are CSV or Parquet.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from components.common.location import Location, Uri, absolute, file_states, files_below
from components.dicom_example_gen.archives.kinds import ArchiveKind
from components.dicom_example_gen.archives.listing import Listing
from components.dicom_example_gen.archives.registry import archive_candidates
from components.dicom_example_gen.candidates import Candidate, Candidates
from components.dicom_example_gen.dicom_file import is_dicom
from components.dicom_example_gen.labels import (
    ManifestError,
    Row,
    RowProblem,
    parse_label,
    read_labels,
    read_rows,
)
from components.dicom_example_gen.rejections import RejectionReason, shown
from components.dicom_example_gen.views import parse_view
from schema.features import VIEWS

_SUFFIXES: Final = frozenset({".dcm", ".dicom", ".ima", ""})
_MANIFEST_COLUMNS: Final = frozenset({"exam_id", "view", "file", "density"})


@dataclass(frozen=True)
class FolderSource:
    """A folder of DICOM files, and the labels of its exams.

    Attributes:
        folder: Folder, read recursively.
        labels: CSV or Parquet with the columns ``exam_id`` and ``density`` (see ``labels.read_labels``).
    """

    folder: Location
    labels: Location

    @property
    def root(self) -> Location:
        """Folder that candidates' names are relative to."""
        return self.folder


@dataclass(frozen=True)
class ManifestSource:
    """A table that names each file, its exam, view and density.

    Attributes:
        manifest: CSV or Parquet with the columns ``exam_id``, ``view``, ``file``, ``density``, and optionally
            ``patient_id``, ``split``, ``acquisition_system``, ``age``.
    """

    manifest: Location

    @property
    def root(self) -> Location:
        """Folder that candidates' names are relative to."""
        return self.manifest.parent


@dataclass(frozen=True)
class ArchiveSource:
    """A public archive, in the files and folders that it is published in.

    Attributes:
        kind: Which archive.
        folder: Folder that it was downloaded to.
    """

    kind: ArchiveKind
    folder: Location

    @property
    def root(self) -> Location:
        """Folder that candidates' names are relative to."""
        return self.folder


Source = FolderSource | ManifestSource | ArchiveSource


def _has_magic(path: Location) -> bool:
    try:
        with path.open("rb") as stream:
            return is_dicom(stream.read(132))
    except OSError:
        return False


def _files(folder: Location) -> list[str]:
    try:
        return sorted(file.name for file in files_below(folder))
    except OSError as error:
        raise ManifestError(f"{error}; name the folder that holds the images.") from error


def _from_folder(source: FolderSource) -> Candidates:
    labels_file = absolute(source.labels)
    found, ignored = [], Counter[str]()
    for file in _files(source.folder):
        name = PurePosixPath(file)
        suffix = name.suffix.lower()
        is_labels = name.name == labels_file.name and absolute(source.folder / file) == labels_file
        if name.name == "DICOMDIR":
            ignored["DICOMDIR"] += 1
        elif not is_labels and (suffix in _SUFFIXES or _has_magic(source.folder / file)):
            found.append(Candidate(file))
        else:
            ignored[suffix] += 1
    return Candidates(
        source.folder,
        tuple(found),
        read_labels(source.labels),
        dict(sorted(ignored.items())),
        (source.labels,),
    )


def _from_archive(source: ArchiveSource) -> Candidates:
    return archive_candidates(source.kind, Listing(source.folder, tuple(_files(source.folder))))


def _safe_path(root: Location, file: str) -> str | None:
    """Returns a manifest's file relative to its folder, or None if it names no file inside."""
    if not file or "\0" in file:
        return None
    # The path below a URI obeys the same rules, whatever it is that lies above.
    base = "/archive" if isinstance(root, Uri) else os.path.abspath(root)
    named = file.removeprefix(f"{root}/") if isinstance(root, Uri) else file
    inside = os.path.relpath(os.path.join(base, named), base)
    return None if inside == ".." or inside.startswith(".." + os.sep) or inside == "." else Path(inside).as_posix()


def _from_row(root: Location, row: Row, line: int) -> Candidate:
    named, exam = row.cells["file"], row.cells["exam_id"]
    file = _safe_path(root, named)
    if file is None:
        allowed = "a file inside the manifest's folder is allowed"
        name = shown(named)
        unsafe = row.problem(RejectionReason.UNSAFE_PATH, "file", allowed).rejection(name)
        return Candidate(name, line, rejection=unsafe, exam_id=exam)
    view = parse_view(row.cells["view"])
    if view is None:
        reason = RejectionReason.UNSUPPORTED_VIEW if row.cells["view"] else RejectionReason.UNKNOWN_VIEW
        problem = row.problem(reason, "view", f"{', '.join(VIEWS)} are allowed")
        return Candidate(file, line, rejection=problem.rejection(file), exam_id=exam)
    label = parse_label(row)
    if isinstance(label, RowProblem):
        return Candidate(file, line, view, rejection=label.rejection(file), exam_id=exam)
    return Candidate(file, line, view, label, exam_id=exam)


def _from_manifest(source: ManifestSource) -> Candidates:
    rows = read_rows(source.manifest, _MANIFEST_COLUMNS)
    # Numbered by row, not by line of text: quoted cells may hold line breaks.
    found = [_from_row(source.root, row, number) for number, row in enumerate(rows, start=2)]
    return Candidates(source.root, tuple(sorted(found, key=lambda c: (c.file, c.line))), tables=(source.manifest,))


def find_candidates(source: Source) -> Candidates:
    """Lists the files that a source offers; a bad row rejects its file, or the files of its exam.

    Args:
        source: Folder with labels, manifest, or archive.

    Returns:
        Candidates, sorted by file.

    Raises:
        ManifestError: The folder is absent, or a labels file or manifest cannot be used at all.
    """
    if isinstance(source, ArchiveSource):
        return _from_archive(source)
    return _from_folder(source) if isinstance(source, FolderSource) else _from_manifest(source)


def archive_fingerprint(source: Source) -> str:
    """Hashes what the archive holds, so that an unchanged archive is not ingested again.

    Size and time of change stand for each file's content; label files and manifest count with content and name.
    Where the archive lies does not count.

    Args:
        source: Folder with labels, manifest, or archive.

    Returns:
        32 hexadecimal digits.

    Raises:
        ManifestError: As ``find_candidates``.
    """
    candidates = find_candidates(source)
    states = file_states(candidates.root, {candidate.file for candidate in candidates.found})
    kind = source.kind.value if isinstance(source, ArchiveSource) else ""
    digest = hashlib.sha256(f"{type(source).__name__}\0{kind}\0".encode())
    for table in candidates.tables:
        digest.update(f"{table.name}\0".encode())
        digest.update(hashlib.sha256(table.read_bytes()).digest())
    digest.update(repr(sorted(candidates.ignored.items())).encode())
    for file, state in states.items():
        size_and_time = f"{state.size} {state.changed_ns}" if state else "absent"
        digest.update(f"{file}\0{size_and_time}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]
