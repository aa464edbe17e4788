"""Sources of ingest, their JSON form, and their candidates.

Three kinds of source:
    * ``FolderSource``: a folder, read recursively, and a labels file. A file is a candidate if its suffix is ``.dcm``,
      ``.dicom`` or ``.ima``, if it has no suffix, or if its content begins like DICOM. ``DICOMDIR`` and all other files
      count as ignored, per suffix. Hidden files and folders (``.name``) do not count. Links to folders are followed
      (see ``components.common.walk``).
    * ``ManifestSource``: a table whose rows are the candidates. Files are relative to the manifest's folder and must
      be inside it; only a link in the folder may lead outside. Backslashes, as in paths of Windows, separate folders.
    * ``ArchiveSource``: a public archive as it was downloaded (see ``archives``).
Labels and manifests are CSV or Parquet.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Final

from components.common.location import Location, Uri, absolute, file_states, files_below, location
from components.common.walk import LinkCounts
from components.dicom.dicom_file import is_dicom
from components.dicom.headers.views import parse_view_name
from components.dicom.rejections import ManifestError, RejectionReason, printable
from components.sources.archives import ArchiveKind
from components.sources.archives.listing import Listing
from components.sources.archives.registry import archive_candidates
from components.sources.candidates import Candidate, Candidates, Label
from components.sources.labels import LabelReader, LabelRow, read_labels
from components.sources.readers import Graded, reader_of
from components.sources.tables import Row, RowProblem, read_rows
from schema.features import VIEWS

_SUFFIXES: Final = frozenset({".dcm", ".dicom", ".ima", ""})
MANIFEST_COLUMNS: Final = frozenset({"exam_id", "view", "file"})


@dataclass(frozen=True)
class FolderSource:
    """A folder of DICOM files, and the labels of their exams.

    Attributes:
        folder: Folder, read recursively.
        labels: CSV or Parquet with the columns ``exam_id`` and ``density`` (see ``labels.read_labels``).
        density_values: Meanings of the texts of ``density`` (see ``densities``), empty = the built-in ones.
    """

    folder: Location
    labels: Location
    density_values: tuple[tuple[str, str], ...] = ()

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
        density_values: Meanings of the texts of ``density`` (see ``densities``), empty = the built-in ones.
    """

    manifest: Location
    density_values: tuple[tuple[str, str], ...] = ()

    @property
    def root(self) -> Location:
        """Folder that candidates' names are relative to."""
        return self.manifest.parent


@dataclass(frozen=True)
class ArchiveSource:
    """A public archive, in its published files and folders.

    Attributes:
        kind: The archive.
        folder: Folder with the download.
    """

    kind: ArchiveKind
    folder: Location

    @property
    def root(self) -> Location:
        """Folder that candidates' names are relative to."""
        return self.folder


Source = FolderSource | ManifestSource | ArchiveSource


def source_to_json(source: Source) -> str:
    """Return a source as JSON, for parameters of TFX nodes.

    The keys are ``folder`` and ``labels``, ``manifest``, or ``archive`` (its kind) and ``folder``; and
    ``density_values`` if there are any.
    """
    if isinstance(source, ArchiveSource):
        values = {"archive": source.kind.value, "folder": str(source.folder)}
    elif isinstance(source, FolderSource):
        values = {"folder": str(source.folder), "labels": str(source.labels)}
    else:
        values = {"manifest": str(source.manifest)}
    if not isinstance(source, ArchiveSource) and source.density_values:
        values["density_values"] = json.dumps(dict(source.density_values))
    return json.dumps(values, sort_keys=True)


def source_from_json(text: str) -> Source:
    """Return the source that :func:`source_to_json` wrote."""
    values = json.loads(text)
    if "archive" in values:
        return ArchiveSource(ArchiveKind(values["archive"]), location(values["folder"]))
    densities = tuple(json.loads(values.get("density_values", "{}")).items())
    if "manifest" in values:
        return ManifestSource(location(values["manifest"]), densities)
    return FolderSource(location(values["folder"]), location(values["labels"]), densities)


def _has_magic(path: Location) -> bool:
    try:
        with path.open("rb") as stream:
            return is_dicom(stream.read(132))
    except OSError:
        return False


def _files(folder: Location) -> tuple[list[str], tuple[str, ...]]:
    """Return the files of a folder, and the warnings about its links."""
    counts = LinkCounts()
    try:
        return sorted(file.name for file in files_below(folder, counts)), counts.warnings()
    except OSError as error:
        raise ManifestError(f"{error}; name the folder that holds the images.") from error


def _from_folder(source: FolderSource) -> Candidates:
    labels_file = absolute(source.labels)
    found, ignored = [], Counter[str]()
    files, link_warnings = _files(source.folder)
    labels, label_warnings = read_labels(source.labels, dict(source.density_values))
    for file in files:
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
        labels,
        dict(sorted(ignored.items())),
        (source.labels,),
        (*label_warnings, *link_warnings),
    )


def _from_archive(source: ArchiveSource) -> Candidates:
    files, link_warnings = _files(source.folder)
    candidates = archive_candidates(source.kind, Listing(source.folder, tuple(files)))
    return replace(candidates, warnings=(*candidates.warnings, *link_warnings))


def _safe_path(root: Location, file: str) -> str | None:
    """Return a manifest's file relative to its folder, or None if it is not inside the folder."""
    if not file or "\0" in file:
        return None
    # The same rules apply to the path below a URI; the path above it does not matter.
    base = "/archive" if isinstance(root, Uri) else os.path.abspath(root)
    named = file.removeprefix(f"{root}/") if isinstance(root, Uri) else file
    inside = os.path.relpath(os.path.join(base, named), base)
    return None if inside == ".." or inside.startswith(".." + os.sep) or inside == "." else Path(inside).as_posix()


_WINDOWS_PATH: Final = re.compile(r"[A-Za-z]:[\\/]|\\\\")


class ManifestRows:
    """Read a manifest's rows as candidates, without their labels."""

    def __init__(self, root: Location) -> None:
        """Initialize the reader of a manifest in the folder ``root``."""
        self._root = root
        self._with_backslashes: list[str] = []

    def candidate(self, row: Row, line: int, view_optional: bool = False) -> Candidate:
        """Read file, view and exam of a row.

        Args:
            row: The row.
            line: Number of the row; the header is row 1.
            view_optional: True if the row may lack a view; then the file's header must name it.
        """
        named, exam = row.cells["file"], row.cells["exam_id"]
        file, allowed = self._file(named, row)
        if file is None:
            name = printable(named)
            unsafe = row.problem(RejectionReason.UNSAFE_PATH, "file", allowed).rejection(name)
            return Candidate(name, line, rejection=unsafe, exam_id=exam)
        view = parse_view_name(row.cells["view"])
        if view is None and (row.cells["view"] or not view_optional):
            reason = RejectionReason.UNSUPPORTED_VIEW if row.cells["view"] else RejectionReason.UNKNOWN_VIEW
            problem = row.problem(reason, "view", f"{', '.join(VIEWS)} are allowed")
            return Candidate(file, line, rejection=problem.rejection(file), exam_id=exam)
        return Candidate(file, line, view, exam_id=exam)

    def _file(self, named: str, row: Row) -> tuple[str | None, str]:
        """Return the file relative to the manifest's folder, or None; and the allowed values, for the error."""
        if _WINDOWS_PATH.match(named):
            return None, "this is a path of a Windows machine, name the file from the manifest's folder on"
        has_backslashes = isinstance(self._root, Path) and os.path.exists(self._root / named)
        if "\\" in named and not has_backslashes:
            self._with_backslashes.append(row.where)
            named = named.replace("\\", "/")
        return _safe_path(self._root, named), "a file inside the manifest's folder is allowed"

    def warnings(self) -> tuple[str, ...]:
        """Return warnings about the files' names; call it after all rows were read."""
        rows = self._with_backslashes
        return (
            (f"{len(rows):,} files are named with backslashes (first {rows[0]}), which are read as folders.",)
            if rows
            else ()
        )


def _with_labels(candidates: Sequence[Candidate], rows: Sequence[LabelRow], reader: LabelReader) -> list[Candidate]:
    """Add the labels of a manifest's rows; if rows have densities of breasts or readers, add the exam's density."""
    exams: dict[str, list[LabelRow]] = {}
    unread: dict[str, RowProblem] = {}  # exams of which a reader's density is not known: the others must not outvote it
    for row in rows:
        if isinstance(row.label, Label):
            exams.setdefault(row.label.exam_id, []).append(row)
        elif reader_of(row.row) and row.label.reason is not RejectionReason.NO_LABEL:
            unread.setdefault(row.row.cells["exam_id"], row.label)
    of_exams = {exam: (reader.density_of(of_one), reader.age_of(of_one)) for exam, of_one in exams.items()}

    def labelled(candidate: Candidate, row: LabelRow) -> Candidate:
        if candidate.rejection is not None:
            return candidate
        wrong = unread.get(row.row.cells["exam_id"])
        if wrong is not None:
            return replace(candidate, rejection=wrong.rejection(candidate.file))
        if isinstance(row.label, RowProblem):
            return replace(candidate, rejection=row.label.rejection(candidate.file))
        side_of_view = candidate.view[-1] if candidate.view else ""
        if row.side and row.side != side_of_view:
            problem = row.row.problem(RejectionReason.INVALID_ROW, "view", f"column side says {row.side}")
            return replace(candidate, rejection=problem.rejection(candidate.file))
        graded, age = of_exams[row.label.exam_id]
        if isinstance(graded, Graded):
            label = replace(row.label, density=graded.density, readings=graded.readings, age=age)
            return replace(candidate, label=label)
        if any(one.reader for one in row.densities):
            return replace(candidate, rejection=graded.rejection(candidate.file))
        # Planning finds the same contradiction and rejects the files.
        return replace(candidate, label=replace(row.label, age=age))

    return [labelled(candidate, row) for candidate, row in zip(candidates, rows, strict=True)]


def _once_per_file(candidates: Sequence[Candidate], rows: Sequence[LabelRow]) -> list[Candidate]:
    """Drop rows that differ from an earlier row of their file only in the reader, and readers without a density."""
    with_label = {candidate.file for candidate in candidates if candidate.label and candidate.rejection is None}
    kept: dict[Candidate, Candidate] = {}
    for candidate, row in zip(candidates, rows, strict=True):
        lacks = candidate.rejection is not None and candidate.rejection.reason is RejectionReason.NO_LABEL
        if not reader_of(row.row):
            kept[candidate] = candidate
        elif not (lacks and candidate.file in with_label):
            kept.setdefault(replace(candidate, line=0), candidate)
    return list(kept.values())


def _from_manifest(source: ManifestSource) -> Candidates:
    manifest, reader = ManifestRows(source.root), LabelReader(source.manifest.name, dict(source.density_values))
    # Count rows, not lines of text: quoted cells may contain line breaks.
    rows = list(enumerate(read_rows(source.manifest, MANIFEST_COLUMNS | {"density"}), start=2))
    labels = [reader.read(row) for _, row in rows]
    found = _with_labels([manifest.candidate(row, number) for number, row in rows], labels, reader)
    found = _once_per_file(found, labels)
    return Candidates(
        source.root,
        tuple(sorted(found, key=lambda c: (c.file, c.line))),
        tables=(source.manifest,),
        warnings=(*reader.warnings(), *manifest.warnings()),
    )


def find_candidates(source: Source) -> Candidates:
    """Return the candidates of a source; an error in a row rejects its file, or the files of its exam.

    Args:
        source: Folder with labels, manifest, or archive.

    Returns:
        Candidates, sorted by file.

    Raises:
        ManifestError: The folder does not exist, or a labels file or manifest cannot be used at all.
    """
    if isinstance(source, ArchiveSource):
        return _from_archive(source)
    return _from_folder(source) if isinstance(source, FolderSource) else _from_manifest(source)


def archive_fingerprint(source: Source) -> str:
    """Return a hash of the archive's files, so that an unchanged archive is not ingested again.

    Size and time of change represent the content of each file. Label files and manifests count with content and name.
    The location of the archive does not count.

    Args:
        source: Folder with labels, manifest, or archive.

    Returns:
        32 hexadecimal digits.

    Raises:
        ManifestError: As ``find_candidates``.
    """
    candidates = find_candidates(source)
    states = file_states(candidates.root, {candidate.file for candidate in candidates.found})
    kind = source.kind.value if isinstance(source, ArchiveSource) else repr(sorted(source.density_values))
    digest = hashlib.sha256(f"{type(source).__name__}\0{kind}\0".encode())
    for table in candidates.tables:
        digest.update(f"{table.name}\0".encode())
        digest.update(hashlib.sha256(table.read_bytes()).digest())
    digest.update(repr(sorted(candidates.ignored.items())).encode())
    for file, state in states.items():
        size_and_time = f"{state.size} {state.changed_ns}" if state else "absent"
        digest.update(f"{file}\0{size_and_time}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]
