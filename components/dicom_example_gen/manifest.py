"""Finding the files that an archive offers for ingest.

Two kinds of source:
    * ``FolderSource``: a folder read recursively, and a labels CSV. A file is a candidate if its suffix is
      ``.dcm``, ``.dicom`` or ``.ima``, if it has no suffix, or if its content begins as DICOM does.
      ``DICOMDIR`` and all other files are counted as ignored, by suffix; hidden files and folders (``.name``)
      are not looked at; links to folders are not followed.
    * ``ManifestSource``: a CSV whose rows are the candidates. Files are relative to the manifest's folder and
      may not leave it.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Final

from components.dicom_example_gen.dicom_file import is_dicom
from components.dicom_example_gen.labels import (
    Label,
    ManifestError,
    Row,
    RowProblem,
    parse_label,
    read_labels,
    read_rows,
)
from components.dicom_example_gen.rejections import Rejection, RejectionReason, shown
from components.dicom_example_gen.views import parse_view
from schema.features import VIEWS

_SUFFIXES: Final = frozenset({".dcm", ".dicom", ".ima", ""})
_MANIFEST_COLUMNS: Final = frozenset({"exam_id", "view", "file", "density"})


@dataclass(frozen=True)
class FolderSource:
    """A folder of DICOM files, and the labels of its exams.

    Attributes:
        folder: Folder, read recursively.
        labels: CSV with the columns ``exam_id`` and ``density`` (see ``labels.read_labels``).
    """

    folder: Path
    labels: Path

    @property
    def root(self) -> Path:
        """Folder that candidates' names are relative to."""
        return self.folder

    @property
    def csv(self) -> Path:
        """The source's CSV file."""
        return self.labels


@dataclass(frozen=True)
class ManifestSource:
    """A CSV that names each file, its exam, view and density.

    Attributes:
        manifest: CSV with the columns ``exam_id``, ``view``, ``file``, ``density``, and optionally
            ``patient_id``, ``split``, ``acquisition_system``, ``age``.
    """

    manifest: Path

    @property
    def root(self) -> Path:
        """Folder that candidates' names are relative to."""
        return self.manifest.parent

    @property
    def csv(self) -> Path:
        """The source's CSV file."""
        return self.manifest


Source = FolderSource | ManifestSource


@dataclass(frozen=True)
class Candidate:
    """One file offered for ingest.

    Attributes:
        file: Path relative to the source's root, POSIX style.
        line: Row of the manifest (the header is row 1, blank rows do not count), 0 for a folder.
        view: View named by the manifest, or None.
        label: Label given by the manifest row, or None (then planning matches one).
        rejection: What is wrong with the manifest row, or None.
    """

    file: str
    line: int = 0
    view: str | None = None
    label: Label | None = None
    rejection: Rejection | None = None


@dataclass(frozen=True)
class Candidates:
    """All that a source offers.

    Attributes:
        root: Folder that candidates' names are relative to.
        found: Candidates sorted by file, then line.
        labels: exam_id -> label or problem, of a folder's labels CSV; empty for a manifest.
        ignored: Suffix (or ``DICOMDIR``) -> files of a folder that are no candidates.
    """

    root: Path
    found: tuple[Candidate, ...]
    labels: Mapping[str, Label | RowProblem] = field(default_factory=dict)
    ignored: Mapping[str, int] = field(default_factory=dict)


def _has_magic(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return is_dicom(stream.read(132))
    except OSError:
        return False


def _files(folder: Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(parent, name)
            if not name.startswith(".") and path.is_file():  # no pipes, sockets, devices, dangling links
                yield path.relative_to(folder).as_posix()


def _from_folder(source: FolderSource) -> Candidates:
    if not source.folder.is_dir():
        raise ManifestError(f"{source.folder}: no such folder; name the folder that holds the DICOM files.")
    labels_file = source.labels.resolve()
    found, ignored = [], Counter[str]()
    for file in _files(source.folder):
        path, suffix = source.folder / file, PurePosixPath(file).suffix.lower()
        if path.name == "DICOMDIR":
            ignored["DICOMDIR"] += 1
        elif path.resolve() == labels_file or not (suffix in _SUFFIXES or _has_magic(path)):
            ignored[suffix] += 1
        else:
            found.append(Candidate(file))
    return Candidates(
        source.folder,
        tuple(sorted(found, key=lambda c: c.file)),
        read_labels(source.labels),
        dict(sorted(ignored.items())),
    )


def _safe_path(root: Path, file: str) -> str | None:
    """Returns a manifest's file relative to its folder, or None if it names no file inside."""
    if not file or "\0" in file:
        return None
    base = os.path.abspath(root)
    inside = os.path.relpath(os.path.join(base, file), base)
    return None if inside == ".." or inside.startswith(".." + os.sep) or inside == "." else Path(inside).as_posix()


def _from_row(root: Path, row: Row, line: int) -> Candidate:
    named = row.cells["file"]
    file = _safe_path(root, named)
    if file is None:
        allowed = "a file inside the manifest's folder is allowed"
        name = shown(named)
        return Candidate(
            name, line, rejection=row.problem(RejectionReason.UNSAFE_PATH, "file", allowed).rejection(name)
        )
    view = parse_view(row.cells["view"])
    if view is None:
        reason = RejectionReason.UNSUPPORTED_VIEW if row.cells["view"] else RejectionReason.UNKNOWN_VIEW
        problem = row.problem(reason, "view", f"{', '.join(VIEWS)} are allowed")
        return Candidate(file, line, rejection=problem.rejection(file))
    label = parse_label(row)
    if isinstance(label, RowProblem):
        return Candidate(file, line, view, rejection=label.rejection(file))
    return Candidate(file, line, view, label)


def _from_manifest(source: ManifestSource) -> Candidates:
    rows = read_rows(source.manifest, _MANIFEST_COLUMNS)
    # Numbered by row, not by line of text: quoted cells may hold line breaks.
    found = [_from_row(source.root, row, number) for number, row in enumerate(rows, start=2)]
    return Candidates(source.root, tuple(sorted(found, key=lambda c: (c.file, c.line))))


def find_candidates(source: Source) -> Candidates:
    """Lists the files that a source offers; a bad row rejects its file, or the files of its exam.

    Args:
        source: Folder with labels, or manifest.

    Returns:
        Candidates, sorted by file.

    Raises:
        ManifestError: The folder is absent, or the CSV cannot be used at all.
    """
    return _from_folder(source) if isinstance(source, FolderSource) else _from_manifest(source)


def archive_fingerprint(source: Source) -> str:
    """Hashes what the archive holds, so that an unchanged archive is not ingested again.

    Size and time of change stand for each file's content; the CSV counts with its content and its name. Where
    the archive lies does not count.

    Args:
        source: Folder with labels, or manifest.

    Returns:
        32 hexadecimal digits.

    Raises:
        ManifestError: As ``find_candidates``.
    """
    candidates = find_candidates(source)
    digest = hashlib.sha256(f"{type(source).__name__}\0{source.csv.name}\0".encode())
    digest.update(hashlib.sha256(source.csv.read_bytes()).digest())
    digest.update(repr(sorted(candidates.ignored.items())).encode())
    for file in sorted({c.file for c in candidates.found}):
        try:
            status = os.stat(candidates.root / file)
            state = f"{status.st_size} {status.st_mtime_ns}"
        except (OSError, ValueError):
            state = "absent"
        digest.update(f"{file}\0{state}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]
