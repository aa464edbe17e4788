"""Read a folder of reviews, and compute its fingerprint for TFX's cache."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from components.review.problems import ReviewError, ReviewProblem, UnusedReview
from components.review.review_file import MAX_BYTES, SUFFIXES, Review, ReviewName, parse_review, parse_stem

# The page for reviewers can be in the folder of the reviews that it saves.
_NOT_REVIEWS: Final = (".html",)


class ReviewFolderError(ValueError):
    """The folder of reviews cannot be read."""


@dataclass(frozen=True)
class ReviewSource:
    """Location and content of a folder of reviews.

    Attributes:
        folder: Absolute path.
        fingerprint: Its ``folder_fingerprint``; the node runs again if a review changes.
    """

    folder: str
    fingerprint: str

    def to_json(self) -> str:
        """Return the source as an execution parameter of TFX."""
        return json.dumps({"folder": self.folder, "fingerprint": self.fingerprint})


@dataclass(frozen=True)
class Reviews:
    """The reviews of a folder; each file is in one of the two attributes.

    Attributes:
        by_name: Reviews that can be used if their image is in the run.
        unused: Files that cannot be used, sorted by name.
    """

    by_name: Mapping[ReviewName, Review]
    unused: tuple[UnusedReview, ...] = ()


NO_REVIEWS: Final = Reviews({})


def _review_files(folder: Path) -> list[Path]:
    """Return all entries except subfolders, hidden files and HTML pages."""
    try:
        entries = sorted(folder.iterdir(), key=lambda path: path.name)
    except OSError as error:
        raise ReviewFolderError(
            f"{folder}: the folder of reviews cannot be read ({error.strerror}); create it, or leave data.reviews out."
        ) from error
    return [
        path
        for path in entries
        if not path.is_dir() and not path.name.startswith(".") and path.suffix.lower() not in _NOT_REVIEWS
    ]


def _content(path: Path) -> bytes:
    """Read a file, at most one byte more than a review may have."""
    if not path.is_file():  # reading a named pipe would never end
        raise ReviewError(ReviewProblem.UNREADABLE, "This is not a regular file; remove it.")
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ReviewError(ReviewProblem.UNREADABLE, f"The file cannot be read: {error.strerror}.") from error


def folder_fingerprint(folder: Path) -> str:
    """Hash names and contents of a folder of reviews.

    Raises:
        ReviewFolderError: The folder cannot be read.
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
    """Return the absolute path and the fingerprint of a folder of reviews.

    Raises:
        ReviewFolderError: The folder cannot be read.
    """
    folder = folder.resolve()
    return ReviewSource(os.fspath(folder), folder_fingerprint(folder))


def _name(path: Path) -> ReviewName | None:
    return parse_stem(path.stem) if path.suffix.lower() in SUFFIXES else None


def _read(path: Path) -> Review | UnusedReview:
    try:
        return parse_review(path.name, _content(path))
    except ReviewError as error:
        return UnusedReview(path.name, error.problem, error.sentence, _name(path) is not None)


def _latest(entries: Sequence[Review | UnusedReview]) -> Review | None:
    """Return the latest of several reviews of one image, if all can be read and contain their times."""
    dated = [(e.answered_at, e) for e in entries if isinstance(e, Review) and e.answered_at is not None]
    if len(dated) < len(entries):
        return None
    last = max(time for time, _ in dated)
    latest = [review for time, review in dated if time == last]
    return latest[0] if len(latest) == 1 else None


def _keep_one(entries: Sequence[Review | UnusedReview]) -> list[Review | UnusedReview]:
    """Keep at most one of the reviews of one image; the others become unused."""
    if len(entries) == 1:
        return [*entries]
    latest = _latest(entries)
    if latest is not None:
        problem = ReviewProblem.SUPERSEDED
        sentence = f"A later review of this image is used, {latest.file}; this one can be removed."
    else:
        problem = ReviewProblem.TWO_FILES
        sentence = (
            f"{len(entries)} files review one image, and not all of them contain a time, so none is used; keep the"
            " newest and remove the others."
        )
    return [entry if entry is latest else UnusedReview(entry.file, problem, sentence) for entry in entries]


def read_reviews(folder: Path) -> Reviews:
    """Read all reviews in a folder.

    Args:
        folder: Files ``EXAMID_VIEW_PIXELS.json``, ``.png`` or ``.dcm``, untrusted. Subfolders, hidden files and HTML
            pages are ignored.

    Returns:
        The reviews, and the files that cannot be used. If there are several reviews of one image, the latest is used if
        all of them contain their times (the page for reviewers writes them); otherwise none is used.

    Raises:
        ReviewFolderError: The folder cannot be read.
    """
    by_image: dict[ReviewName | str, list[Review | UnusedReview]] = defaultdict(list)
    for path in _review_files(folder):
        by_image[_name(path) or path.name].append(_read(path))
    kept = [entry for entries in by_image.values() for entry in _keep_one(entries)]
    unused = [entry for entry in kept if isinstance(entry, UnusedReview)]
    return Reviews(
        {entry.name: entry for entry in kept if isinstance(entry, Review)},
        tuple(sorted(unused, key=lambda review: review.file)),
    )
