"""Preprocess a view, and apply the review of its image."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.chest_wall import wall_is_left
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.preprocessed_view import PreprocessedView
from components.review.problems import ReviewError, ReviewProblem, UnusedReview
from components.review.review_file import Review, ReviewName, drawn_mask

# Two outlines with this Dice coefficient count as equal: a person who outlines a muscle twice agrees no better.
_SAME_DICE: Final = 0.98
_SAME_SMALL_DICE: Final = 0.9  # for small muscles, where two pixels at the edge change the coefficient much
_MIN_IN_BREAST: Final = 0.5  # share of the drawn muscle; a mirrored or shifted mask has less
_LOW_DICE: Final = 0.5  # below, the outlines probably show different structures
_CORNER: Final = (0.1, 0.25)  # size of the upper chest-wall corner, shares of the breast's height and width


@dataclass(frozen=True)
class ReviewOutcome:
    """The effect of a review that is used.

    Attributes:
        verdict: ``accepted`` (the automatic result is confirmed), ``changed`` (the drawn muscle replaces it) or
            ``absent`` (no muscle is removed).
        automatic_status: Status without the review.
        automatic_doubt: Doubt without the review, 0..1.
        dice: Dice coefficient of the automatic and the drawn muscle; None if one of them does not exist.
        corrected: True if the automatic result was wrong: the reviewer found a muscle where it found none, or the
            opposite, or another outline (see ``same_muscle``).
    """

    verdict: Literal["accepted", "changed", "absent"]
    automatic_status: str
    automatic_doubt: float
    dice: float | None
    corrected: bool


@dataclass(frozen=True)
class ReviewedView:
    """A preprocessed view and its review.

    Attributes:
        result: The view for the network: with the reviewer's muscle if a review is used, else with the automatic one.
        outcome: Outcome of the review, if it is used.
        unused_review: The review and why it is not used, if it is not.
    """

    result: PreprocessedView
    outcome: ReviewOutcome | None = None
    unused_review: UnusedReview | None = None


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two masks, 0..1; 1 for two empty masks."""
    total = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / total if total else 1.0


def same_muscle(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> bool:
    """Return True if two masks count as equal: Dice of .98, or Dice of .9 and nowhere three pixels apart."""
    agreement = dice(one, other)
    apart = cv2.erode((one ^ other).astype(np.uint8), np.ones((3, 3), np.uint8))
    return agreement >= _SAME_DICE or (agreement >= _SAME_SMALL_DICE and not apart.any())


def _meets_corner(muscle: NDArray[np.bool_], breast: NDArray[np.bool_], view: str) -> bool:
    """Return True if a muscle reaches the breast's upper chest-wall corner, where every pectoral muscle is."""
    rows, columns = np.flatnonzero(breast.any(axis=1)), np.flatnonzero(breast.any(axis=0))
    box = muscle[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(1, round(share * side)) for share, side in zip(_CORNER, box.shape, strict=True))
    return bool((box[:height, :width] if wall_is_left(breast, view) else box[:height, -width:]).any())


def _drawn_muscle(review: Review, automatic: PreprocessedView) -> NDArray[np.bool_]:
    """Return the part of the reviewer's muscle that is in the breast."""
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
        # The mask belongs to the stored image of the archive. Only ingest knows how it turned that image.
        raise ReviewError(
            ReviewProblem.OTHER_HANGING,
            "A mask of the archive's own image must reach the upper corner of the breast at the chest wall. Ingest may"
            " have turned the image by its Patient Orientation, and masks are not turned; draw it on the exported one.",
        )
    return drawn & breast


def _check_accepted(review: Review, automatic: PreprocessedView) -> float | None:
    """Check that the accepted result is the current one; return the Dice coefficient if both have a muscle."""
    if automatic.status == "failed":
        raise ReviewError(
            ReviewProblem.NOTHING_TO_ACCEPT,
            "The automatic segmentation failed, so there is nothing to accept; draw the muscle, or write"
            ' {"muscle": "absent"}.',
        )
    muscle = automatic.pectoral_mask
    agreement, same = None, True
    if review.has_outline:
        drawn = _drawn_muscle(review, automatic)
        agreement = dice(muscle, drawn) if muscle.any() else None
        same = bool(muscle.any()) and same_muscle(muscle, drawn)
    elif review.accepted_absent:
        same = not muscle.any()
    if not same:
        raise ReviewError(
            ReviewProblem.STALE_RESULT,
            "The automatic result has changed since it was accepted; look at it again.",
        )
    return agreement


def _apply_review(
    review: Review, automatic: PreprocessedView, method: str
) -> tuple[NDArray[np.bool_] | None, ReviewOutcome]:
    """Check a review against its image; return the muscle that replaces the automatic one, or None."""
    if method == "none":
        raise ReviewError(
            ReviewProblem.SEGMENTATION_OFF, "The run leaves the muscle in (method none), so it uses no reviews."
        )
    if not automatic.breast_mask.any():
        raise ReviewError(
            ReviewProblem.OUTSIDE_BREAST, "No breast was found in the image, so the run leaves the image out."
        )
    if review.pixels_sha256 is not None and not review.pixels_sha256.startswith(review.name.pixels):
        raise ReviewError(
            ReviewProblem.STALE_PIXELS,
            "The name and the content of the file refer to different pixels; draw it on the exported image.",
        )

    def outcome(
        verdict: Literal["accepted", "changed", "absent"], agreement: float | None, corrected: bool
    ) -> ReviewOutcome:
        rounded = None if agreement is None else round(agreement, 6)
        return ReviewOutcome(verdict, automatic.status, round(automatic.doubt, 6), rounded, corrected)

    if review.statement == "accept":
        return None, outcome("accepted", _check_accepted(review, automatic), False)
    muscle = automatic.pectoral_mask
    if review.statement == "absent":
        return np.zeros_like(muscle), outcome("absent", None, automatic.status != "absent")
    drawn = _drawn_muscle(review, automatic)
    if not muscle.any():
        return drawn, outcome("changed", None, True)
    return drawn, outcome("changed", dice(muscle, drawn), not same_muscle(muscle, drawn))


def preprocess_reviewed(
    pixels: NDArray[np.uint8] | NDArray[np.uint16], view: str, config: PreprocessConfig, review: Review | None
) -> ReviewedView:
    """Preprocess a view, with the reviewer's muscle if there is a valid review.

    Args:
        pixels: uint8 or uint16 [H, W], the ingested image.
        view: One of VIEWS.
        config: Method and geometry of the result.
        review: Review with this image's name, or None.

    Returns:
        The view. If the review cannot be used, ``unused_review`` explains why, and the result is the automatic one.

    Raises:
        PreprocessError: Pixels, or view, are not valid.
    """
    automatic = preprocess_view(pixels, view, config)
    if review is None:
        return ReviewedView(automatic)
    try:
        muscle, outcome = _apply_review(review, automatic, config.method)
    except ReviewError as error:
        return ReviewedView(automatic, unused_review=UnusedReview(review.file, error.problem, error.sentence))
    if muscle is None:
        return ReviewedView(automatic, outcome)
    return ReviewedView(preprocess_view(pixels, view, config, manual_mask=muscle), outcome)


def review_warnings(reviewed: ReviewedView, view: str) -> tuple[str, ...]:
    """Return warnings to the reviewer about a review that is used.

    Args:
        reviewed: The view with the outcome of its review.
        view: One of VIEWS.

    Returns:
        Sentences; empty if nothing is unusual or no review is used.
    """
    outcome, result = reviewed.outcome, reviewed.result
    if outcome is None or outcome.verdict != "changed":
        return ()
    warnings = []
    if outcome.dice is not None and outcome.dice < _LOW_DICE:
        warnings.append("It has little in common with the automatic outline.")
    if not _meets_corner(result.pectoral_mask, result.breast_mask, view):
        warnings.append("It does not reach the upper corner of the breast at the chest wall, where the muscle lies.")
    return tuple(warnings)


def reviews_without_image(reviews: Iterable[Review], images: Collection[ReviewName]) -> list[UnusedReview]:
    """Find the reviews whose image is not in the run.

    Args:
        reviews: All reviews that could be read.
        images: Names of the run's images.

    Returns:
        The reviews, and whether the pixels of the image changed or the run has no image of the exam and view.
    """
    views = {(name.exam_id, name.view) for name in images}
    unused = []
    for review in reviews:
        if review.name in images:
            continue
        if (review.name.exam_id, review.name.view) in views:
            problem = ReviewProblem.STALE_PIXELS
            sentence = "The pixels of the image in this run are not those that were reviewed; review it again."
        else:
            problem = ReviewProblem.UNKNOWN_IMAGE
            sentence = "The run has no image of this exam and view; remove the file, or find out why it was left out."
        unused.append(UnusedReview(review.file, problem, sentence))
    return unused
