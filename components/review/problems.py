"""Reasons why a review is not used, with a sentence for the reviewer."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ReviewProblem(str, Enum):
    """Reasons not to use a review; the automatic result is kept."""

    UNKNOWN_NAME = "unknown_name"  # the file's name is not EXAMID_VIEW_PIXELS.json, .png or .dcm
    TWO_FILES = "two_files"  # several files of one image, and it is not known which is the latest: none is used
    SUPERSEDED = "superseded"  # a later review of the same image is used
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"  # damaged, or not the format of its suffix
    UNSUPPORTED = "unsupported"  # a valid file of an unsupported kind
    NO_STATEMENT = "no_statement"  # contains no statement about the muscle
    CONTRADICTION = "contradiction"  # contains contradictory statements
    BAD_POLYGON = "bad_polygon"  # too few or too many points, or its outline crosses itself
    OUTSIDE_IMAGE = "outside_image"
    NOT_A_MASK = "not_a_mask"  # a picture with grey levels
    EMPTY_MASK = "empty_mask"
    WRONG_SIZE = "wrong_size"
    UNKNOWN_IMAGE = "unknown_image"  # the run has no image of this exam and view
    STALE_PIXELS = "stale_pixels"  # drawn on pixels that differ from this run's
    STALE_RESULT = "stale_result"  # accepts a result that differs from this run's
    NOTHING_TO_ACCEPT = "nothing_to_accept"  # the automatic segmentation failed
    NOT_OBLIQUE = "not_oblique"  # craniocaudal views show no muscle
    OUTSIDE_BREAST = "outside_breast"
    OTHER_HANGING = "other_hanging"  # drawn on the stored image of the archive, which ingest seems to have turned
    SEGMENTATION_OFF = "segmentation_off"  # the run leaves the muscle in


class ReviewError(ValueError):
    """A review cannot be used."""

    def __init__(self, problem: ReviewProblem, sentence: str):
        super().__init__(sentence)
        self.problem = problem
        self.sentence = sentence


@dataclass(frozen=True)
class UnusedReview:
    """A review that is not used.

    Attributes:
        file: Its name in the folder of reviews. Reports show only names that consist of hashes, because other names
            could identify a person.
        problem: Why it is not used.
        sentence: What is wrong and what to do; it contains nothing that could identify a person.
        is_hash_name: True if ``file`` consists of hashes.
    """

    file: str
    problem: ReviewProblem
    sentence: str
    is_hash_name: bool = True

    @property
    def shown(self) -> str:
        """The name for reports."""
        return self.file if self.is_hash_name else "(a file of another name)"
