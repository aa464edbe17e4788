"""Preprocessing of a view that a person may have reviewed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.config import PreprocessConfig
from components.preprocessing.orientation import wall_is_left
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.result import PreprocessedView
from components.review.findings import Finding, ReviewError, ReviewProblem
from components.review.naming import ReviewName
from components.review.review import Review, drawn_mask

# Two outlines of one muscle that agree like this are the same result: people who outline it twice do not agree better.
_SAME_DICE: Final = 0.98
_SAME_SMALL_DICE: Final = 0.9  # of muscles so small that two pixels at the edge are much
_MIN_IN_BREAST: Final = 0.5  # share of the drawn muscle; less is a mirrored or shifted mask
_ODD_DICE: Final = 0.5  # below it two outlines hardly mean one muscle
_CORNER: Final = (0.1, 0.25)  # upper chest-wall corner, share of the breast's height and width


@dataclass(frozen=True)
class ReviewOutcome:
    """What a review came to.

    Attributes:
        verdict: ``accepted`` (the automatic result was confirmed and stays), ``changed`` (the drawn muscle replaced it)
            or ``absent`` (no muscle is taken away).
        automatic_status: Status without the review.
        automatic_doubt: Doubt without the review, 0..1.
        dice: Dice coefficient of the automatic and the drawn muscle, where there are both.
        corrected: The automatic result was wrong: another verdict on whether there is a muscle, or another outline
            (see ``same_muscle``).
    """

    verdict: Literal["accepted", "changed", "absent"]
    automatic_status: str
    automatic_doubt: float
    dice: float | None
    corrected: bool


@dataclass(frozen=True)
class Reviewed:
    """A preprocessed view, and what became of its review.

    Attributes:
        result: What goes on to the network: the reviewer's where the review is used, the automatic one otherwise.
        outcome: What the review came to, if it is used.
        finding: Why it is not, if it is not.
    """

    result: PreprocessedView
    outcome: ReviewOutcome | None = None
    finding: Finding | None = None


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Gives the Dice coefficient of two masks, 0..1; 1 for two empty ones."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def same_muscle(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    """Tells whether two outlines mean the same: Dice of .98, or of .9 and nowhere three pixels apart."""
    agreement = dice(one, other)
    apart = cv2.erode((one ^ other).astype(np.uint8), np.ones((3, 3), np.uint8))
    return agreement >= _SAME_DICE or (agreement >= _SAME_SMALL_DICE and not apart.any())


def _meets_corner(muscle: NDArray[np.bool_], breast: NDArray[np.bool_], view: str) -> bool:
    """Tells whether a muscle reaches the breast's upper corner at the chest wall, where every pectoral muscle lies."""
    rows, columns = np.flatnonzero(breast.any(axis=1)), np.flatnonzero(breast.any(axis=0))
    box = muscle[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(share * side)) for share, side in zip(_CORNER, box.shape, strict=True))
    return bool((box[:height, :width] if wall_is_left(breast, view) else box[:height, -width:]).any())


def _drawn(review: Review, automatic: PreprocessedView) -> NDArray[np.bool_]:
    """The reviewer's muscle, as far as it lies in the breast."""
    breast = automatic.breast_mask
    drawn = drawn_mask(review, (breast.shape[0], breast.shape[1]))
    inside = float(drawn[breast].sum() / drawn.sum())
    if inside < _MIN_IN_BREAST:
        raise ReviewError(
            ReviewProblem.OUTSIDE_BREAST,
            f"At least {_MIN_IN_BREAST:.0%} of the drawn muscle must lie in breast and muscle; is it mirrored? Draw it"
            f" on the exported image. Received: {inside:.0%}",
        )
    if review.mask_png and review.size != breast.shape and not _meets_corner(drawn, breast, review.name.view):
        # Its own image lies in the archive as it was stored, and only ingest knows how it was turned.
        raise ReviewError(
            ReviewProblem.OTHER_HANGING,
            "A mask of the archive's own image must reach the upper corner of the breast at the chest wall. Ingest may"
            " have turned the image by its Patient Orientation, and masks are not turned; draw it on the exported one.",
        )
    return drawn & breast


def _check_accepted(review: Review, automatic: PreprocessedView) -> float | None:
    """Makes sure that what was accepted is what there is; gives the Dice coefficient where both have a muscle."""
    if automatic.status == "failed":
        raise ReviewError(
            ReviewProblem.NOTHING_TO_ACCEPT,
            "The automatic segmentation failed, so that there is nothing to accept; draw the muscle, or say"
            ' {"muscle": "absent"}.',
        )
    muscle = automatic.pectoral_mask
    agreement, same = None, True
    if review.draws:
        drawn = _drawn(review, automatic)
        agreement = dice(muscle, drawn) if muscle.any() else None
        same = bool(muscle.any()) and same_muscle(muscle, drawn)
    elif review.seen_absent:
        same = not muscle.any()
    if not same:
        raise ReviewError(
            ReviewProblem.STALE_RESULT,
            "The automatic result has changed since it was accepted; look at it again.",
        )
    return agreement


def _settle(review: Review, automatic: PreprocessedView, method: str) -> tuple[NDArray[np.bool_] | None, ReviewOutcome]:
    """Checks a review against its image; gives the muscle that replaces the automatic one, if one does."""
    if method == "none":
        raise ReviewError(
            ReviewProblem.SEGMENTATION_OFF, "The run leaves the muscle in (method none), and so its reviews aside."
        )
    if not automatic.breast_mask.any():
        raise ReviewError(
            ReviewProblem.OUTSIDE_BREAST, "No breast was found in the image, which the run therefore leaves out."
        )
    if review.pixels_sha256 is not None and not review.pixels_sha256.startswith(review.name.pixels):
        raise ReviewError(
            ReviewProblem.STALE_PIXELS,
            "By its content the file was drawn on other pixels than its name says; draw it on the exported image.",
        )

    def outcome(
        verdict: Literal["accepted", "changed", "absent"], agreement: float | None, corrected: bool
    ) -> ReviewOutcome:
        rounded = None if agreement is None else round(agreement, 6)
        return ReviewOutcome(verdict, automatic.status, round(automatic.doubt, 6), rounded, corrected)

    if review.says == "accept":
        return None, outcome("accepted", _check_accepted(review, automatic), False)
    muscle = automatic.pectoral_mask
    if review.says == "absent":
        return np.zeros_like(muscle), outcome("absent", None, automatic.status != "absent")
    drawn = _drawn(review, automatic)
    if not muscle.any():
        return drawn, outcome("changed", None, True)
    return drawn, outcome("changed", dice(muscle, drawn), not same_muscle(muscle, drawn))


def preprocess_reviewed(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], view: str, config: PreprocessConfig, review: Review | None
) -> Reviewed:
    """Preprocesses a view by the reviewer's word where there is one that holds.

    Args:
        pixels: uint8 or uint16 [H, W], the ingested image.
        view: One of VIEWS.
        config: Method and geometry of the result.
        review: Review with this image's name, if there is one.

    Returns:
        The view. A review that cannot be used is a finding, and the automatic result stays.

    Raises:
        PreprocessError: Pixels or view are of the wrong kind.
    """
    automatic = preprocess_view(pixels, view, config)
    if review is None:
        return Reviewed(automatic)
    try:
        muscle, outcome = _settle(review, automatic, config.method)
    except ReviewError as error:
        return Reviewed(automatic, finding=Finding(review.file, error.problem, error.sentence))
    if muscle is None:
        return Reviewed(automatic, outcome)
    return Reviewed(preprocess_view(pixels, view, config, manual_mask=muscle), outcome)


def oddities(reviewed: Reviewed, view: str) -> tuple[str, ...]:
    """Says what is strange about a review that is used all the same, for whoever drew it.

    Args:
        reviewed: View and what its review came to.
        view: One of VIEWS.

    Returns:
        Sentences; empty where nothing is strange, or no review is used.
    """
    outcome, result = reviewed.outcome, reviewed.result
    if outcome is None or outcome.verdict != "changed":
        return ()
    found = []
    if outcome.dice is not None and outcome.dice < _ODD_DICE:
        found.append("It has little in common with the automatic outline.")
    if not _meets_corner(result.pectoral_mask, result.breast_mask, view):
        found.append("It does not reach the upper corner of the breast at the chest wall, where the muscle lies.")
    return tuple(found)


def without_image(reviews: Iterable[Review], images: Collection[ReviewName]) -> list[Finding]:
    """Finds the reviews whose image is not in the run.

    Args:
        reviews: All that could be read.
        images: Names of the run's images.

    Returns:
        Findings: the image has other pixels now, or there is no such exam or view.
    """
    views = {(name.exam_id, name.view) for name in images}
    findings = []
    for review in reviews:
        if review.name in images:
            continue
        if (review.name.exam_id, review.name.view) in views:
            problem = ReviewProblem.STALE_PIXELS
            sentence = "The image has other pixels in this run than those that were reviewed; review it again."
        else:
            problem = ReviewProblem.UNKNOWN_IMAGE
            sentence = "The run has no image of this exam and view; remove the file, or find out why it was left out."
        findings.append(Finding(review.file, problem, sentence))
    return findings
