"""A folder of reviews: what is in it, read once, and its fingerprint for TFX's cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.review.findings import Finding, ReviewError, ReviewProblem
from components.review.naming import ReviewName, parse_stem
from components.review.review import MAX_BYTES, SUFFIXES, Review, parse_review

# The page for reviewers may lie beside the reviews that it gave.
_NOT_REVIEWS: Final = (".html",)


class ReviewFolderError(ValueError):
    """The folder of reviews cannot be read at all."""


@dataclass(frozen=True)
class ReviewSource:
    """Where reviews are.

    Attributes:
        folder: Absolute path.
        fingerprint: ``folder_fingerprint`` of it; a changed review makes the node run again.
    """

    folder: str
    fingerprint: str

    def to_json(self) -> str:
        """Writes the source as TFX's execution parameter."""
        return json.dumps({"folder": self.folder, "fingerprint": self.fingerprint})


@dataclass(frozen=True)
class Reviews:
    """What a folder holds: every file is in one of the two.

    Attributes:
        by_name: Reviews that can be used if their image is in the run.
        findings: Files that cannot, sorted by name.
    """

    by_name: Mapping[ReviewName, Review]
    findings: tuple[Finding, ...] = ()


NO_REVIEWS: Final = Reviews({})


def _review_files(folder: Path) -> list[Path]:
    """Every entry that is meant as a review: no subfolders, no hidden files, no pages."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise ReviewFolderError(
            f"{folder}: the folder of reviews cannot be read ({error.strerror}); make it, or leave data.reviews out."
        ) from error
    return [
        path
        for path in entries
        if not path.is_dir() and not path.name.startswith(".") and path.suffix.lower() not in _NOT_REVIEWS
    ]


def _content(path: Path) -> bytes:
    """At most one byte more than a review may have."""
    if not path.is_file():  # a pipe would never end
        raise ReviewError(ReviewProblem.UNREADABLE, "This is no regular file; remove it.")
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ReviewError(ReviewProblem.UNREADABLE, f"The file cannot be read: {error.strerror}.") from error


def folder_fingerprint(folder: Path) -> str:
    """Hashes names and contents of a folder of reviews.

    Raises:
        ReviewFolderError: There is no such folder.
    """
    digest = hashlib.sha256()
    for path in _review_files(folder):
        try:
            content = hashlib.sha256(_content(path)).hexdigest()
        except ReviewError as error:
            content = error.problem.value
        digest.update(f"{path.name}\0{content}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:32]


def review_source(folder: Path) -> ReviewSource:
    """Names a folder of reviews and hashes what it holds.

    Raises:
        ReviewFolderError: There is no such folder.
    """
    folder = folder.resolve()
    return ReviewSource(os.fspath(folder), folder_fingerprint(folder))


def _name(path: Path) -> ReviewName | None:
    return parse_stem(path.stem) if path.suffix.lower() in SUFFIXES else None


def _read(path: Path) -> Review | Finding:
    try:
        return parse_review(path.name, _content(path))
    except ReviewError as error:
        return Finding(path.name, error.problem, error.sentence, _name(path) is not None)


def _latest(entries: Sequence[Review | Finding]) -> Review | None:
    """Of several files of one image the last answer, if all can be read and say when they were given."""
    dated = [(e.answered_at, e) for e in entries if isinstance(e, Review) and e.answered_at is not None]
    if len(dated) < len(entries):
        return None
    last = max(time for time, _ in dated)
    latest = [review for time, review in dated if time == last]
    return latest[0] if len(latest) == 1 else None


def _settled(entries: Sequence[Review | Finding]) -> list[Review | Finding]:
    """Leaves one review at most of the files of one image; the others become findings."""
    if len(entries) == 1:
        return [*entries]
    latest = _latest(entries)
    if latest is not None:
        problem = ReviewProblem.SUPERSEDED
        sentence = f"A later answer for this image is used, that of {latest.file}; this one can be removed."
    else:
        problem = ReviewProblem.TWO_FILES
        sentence = (
            f"{len(entries)} files review one image, and not all of them say when, so that none is used; keep the"
            " newest and remove the others."
        )
    return [entry if entry is latest else Finding(entry.file, problem, sentence) for entry in entries]


def read_reviews(folder: Path) -> Reviews:
    """Reads every review in a folder.

    Args:
        folder: Files ``EXAMID_VIEW_PIXELS.json``, ``.png`` or ``.dcm``, untrusted. Subfolders, hidden files and HTML
            pages are left alone.

    Returns:
        Reviews, and a finding for each file that is none. Of several files of one image the latest answer is used, if
        all of them say when they were given (the page for reviewers writes that), and none otherwise.

    Raises:
        ReviewFolderError: There is no such folder.
    """
    by_image: dict[ReviewName | str, list[Review | Finding]] = defaultdict(list)
    for path in _review_files(folder):
        by_image[_name(path) or path.name].append(_read(path))
    settled = [entry for entries in by_image.values() for entry in _settled(entries)]
    findings = [entry for entry in settled if isinstance(entry, Finding)]
    return Reviews(
        {entry.name: entry for entry in settled if isinstance(entry, Review)},
        tuple(sorted(findings, key=lambda finding: finding.file)),
    )
