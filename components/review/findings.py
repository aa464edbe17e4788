"""Why a review is not used: typed, and a sentence for the person who wrote it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class ReviewProblem(str, Enum):
    """Reasons not to use a review; the automatic result stays."""

    UNKNOWN_NAME = "unknown_name"  # the file's name is not EXAMID_VIEW_PIXELS.json, .png or .dcm
    TWO_FILES = "two_files"  # files of one view, of which none is known to be the latest: none is used
    SUPERSEDED = "superseded"  # a later answer of the same view is used
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"  # not the format that the suffix says, or damaged
    UNSUPPORTED = "unsupported"  # a sound file of a kind that is not read
    NO_STATEMENT = "no_statement"  # says nothing of the muscle
    CONTRADICTION = "contradiction"  # says more than one thing
    BAD_POLYGON = "bad_polygon"  # too few or too many points, or its outline crosses itself
    OUTSIDE_IMAGE = "outside_image"
    NOT_A_MASK = "not_a_mask"  # a picture with grey levels
    EMPTY_MASK = "empty_mask"
    WRONG_SIZE = "wrong_size"
    UNKNOWN_IMAGE = "unknown_image"  # no such exam or view in this run
    STALE_PIXELS = "stale_pixels"  # drawn on other pixels than this run's
    STALE_RESULT = "stale_result"  # accepts another automatic result than this run's
    NOTHING_TO_ACCEPT = "nothing_to_accept"  # the automatic segmentation failed
    NOT_OBLIQUE = "not_oblique"  # craniocaudal views show no muscle
    OUTSIDE_BREAST = "outside_breast"
    OTHER_HANGING = "other_hanging"  # drawn on the archive's own image, which ingest seems to have turned
    SEGMENTATION_OFF = "segmentation_off"  # the run leaves the muscle in


class ReviewError(ValueError):
    """A review cannot be used."""

    def __init__(self, problem: ReviewProblem, sentence: str):
        super().__init__(sentence)
        self.problem = problem
        self.sentence = sentence


@dataclass(frozen=True)
class Finding:
    """A review that is not used.

    Attributes:
        file: Its name in the folder of reviews. Only a name of hashes may go into a report: any other may name a
            person.
        problem: Why.
        sentence: What is wrong and what to do; it repeats nothing that could name a person.
        is_hash_name: Whether ``file`` is a name of hashes.
    """

    file: str
    problem: ReviewProblem
    sentence: str
    is_hash_name: bool = True

    @property
    def shown(self) -> str:
        """Name for reports."""
        return self.file if self.is_hash_name else "(a file of another name)"
