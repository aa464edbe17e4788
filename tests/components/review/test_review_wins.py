"""A valid review replaces the automatic result; an invalid review changes nothing and is reported as unused."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from components.common.png import encode_png, pixels_sha256
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.preprocessed_view import PreprocessedView, PreprocessError
from components.review.polygons import Polygon, mask_to_polygons
from components.review.problems import ReviewProblem
from components.review.review_file import Review, ReviewName, parse_review, review_name
from components.review.reviewed_view import (
    ReviewedView,
    preprocess_reviewed,
    review_warnings,
    reviews_without_image,
    same_muscle,
)
from tests.components.preprocessing.synthetic_views import Dice, MakeView, SyntheticView
from tests.known import known

CONFIG = PreprocessConfig(method="thesis", output_size=128)  # every method would do here
EXAM = "ab" * 16
Statement = Literal["muscle", "absent", "accept"]


@pytest.fixture(scope="module")
def case(make_view: MakeView) -> SyntheticView:
    return make_view()


@pytest.fixture(scope="module")
def automatic(case: SyntheticView) -> PreprocessedView:
    result = preprocess_view(case.pixels, "MLO_L", CONFIG)
    assert result.status == "removed"
    return result


def apply_review(
    case: SyntheticView,
    statement: Statement,
    polygons: tuple[Polygon, ...] = (),
    config: PreprocessConfig = CONFIG,
    **values: Any,
) -> ReviewedView:
    name = review_name(EXAM, "MLO_L", pixels_sha256(case.pixels))
    review = Review(name, f"{name.stem}.json", statement, polygons=polygons, **values)
    return preprocess_reviewed(case.pixels, "MLO_L", config, review)


@pytest.mark.parametrize("view", ["MLO_L", "MLO_R"])
@pytest.mark.parametrize("flipped", [False, True])
def test_the_automatic_mask_as_manual_mask_gives_the_same_picture(
    case: SyntheticView, view: str, flipped: bool
) -> None:
    pixels = np.ascontiguousarray(case.pixels[:, ::-1]) if flipped else case.pixels
    automatic = preprocess_view(pixels, view, CONFIG)
    manual = preprocess_view(pixels, view, CONFIG, manual_mask=automatic.pectoral_mask)
    np.testing.assert_array_equal(manual.image, automatic.image)
    np.testing.assert_array_equal(manual.pectoral_mask, automatic.pectoral_mask)
    assert (manual.status, manual.doubt) == ("manual", 0.0)
    assert manual.measurements.mean_grey == automatic.measurements.mean_grey
    assert manual.pectoral_area_fraction == automatic.pectoral_area_fraction


def test_the_drawn_muscle_is_replaced_by_the_mean_grey_at_either_side(case: SyntheticView) -> None:
    drawn = np.zeros(case.pixels.shape, np.bool_)
    drawn[100:200, 20:120] = True
    results = []
    for back in (np.s_[:, :], np.s_[:, ::-1]):
        result = preprocess_view(np.ascontiguousarray(case.pixels[back]), "MLO_L", CONFIG, manual_mask=drawn[back])
        np.testing.assert_array_equal(result.pectoral_mask, drawn[back])
        results.append(result)
    np.testing.assert_array_equal(results[0].image, results[1].image)
    same_grey = results[0].image == results[0].measurements.mean_grey
    assert same_grey.sum() > 0.9 * drawn.sum() / results[0].input_pixels_per_pixel ** 2


def test_an_absent_muscle_leaves_the_picture_unchanged(case: SyntheticView) -> None:
    result = apply_review(case, "absent").result
    untouched = preprocess_view(case.pixels, "MLO_L", CONFIG.model_copy(update={"method": "none"}))
    np.testing.assert_array_equal(result.image, untouched.image)
    assert (result.status, result.pectoral_area_fraction, result.measurements.mean_grey) == ("manual", 0.0, -1)


@pytest.mark.parametrize(
    ("mask", "view"),
    [
        (np.zeros((10, 10), np.bool_), "MLO_L"),
        (np.zeros((640, 480), np.uint8), "MLO_L"),
        (np.zeros((640, 480), np.bool_), "CC_L"),
    ],
)
def test_an_invalid_manual_mask_is_refused(case: SyntheticView, mask: np.ndarray, view: str) -> None:
    with pytest.raises(PreprocessError, match="manual mask"):
        preprocess_view(case.pixels, view, CONFIG, manual_mask=mask)


def test_the_exported_outline_is_not_a_correction_if_unchanged(
    case: SyntheticView, automatic: PreprocessedView
) -> None:
    outlines = mask_to_polygons(automatic.pectoral_mask)
    drawn = apply_review(case, "muscle", outlines)
    assert drawn.outcome is not None
    assert (drawn.outcome.verdict, drawn.outcome.corrected) == ("changed", False)
    assert known(drawn.outcome.dice) > 0.99
    assert drawn.result.status == "manual"
    accepted = apply_review(case, "accept", outlines)
    assert accepted.outcome is not None
    assert (accepted.outcome.verdict, accepted.result.status) == ("accepted", "removed")
    np.testing.assert_array_equal(accepted.result.image, automatic.image)
    assert apply_review(case, "accept").outcome is not None


def test_another_outline_is_a_correction_with_its_dice(
    case: SyntheticView, automatic: PreprocessedView, dice: Dice
) -> None:
    comb = automatic.pectoral_mask.copy()
    comb[::2] = False
    drawn = ((0.5, 0.5), (100.5, 0.5), (0.5, 100.5))
    reviewed = apply_review(case, "muscle", (drawn,))
    assert reviewed.outcome is not None
    assert reviewed.outcome.corrected
    expected = dice(reviewed.result.pectoral_mask, automatic.pectoral_mask)
    assert reviewed.outcome.dice == pytest.approx(expected, abs=1e-6)
    assert reviewed.outcome.automatic_status == "removed"
    assert known(apply_review(case, "absent").outcome).corrected
    assert not same_muscle(comb, automatic.pectoral_mask)


def test_an_outline_far_from_the_muscle_is_used_with_warnings(case: SyntheticView, automatic: PreprocessedView) -> None:
    rows = np.flatnonzero(automatic.breast_mask.any(axis=1))
    low = float(rows[-1] - (rows[-1] - rows[0]) // 4)
    at_the_bottom = apply_review(case, "muscle", (((0.5, low), (60.5, low), (0.5, low - 90)),))
    assert known(known(at_the_bottom.outcome).dice) < 0.5
    assert [warning.split()[1:3] for warning in review_warnings(at_the_bottom, "MLO_L")] == [
        ["has", "little"],
        ["does", "not"],
    ]
    for sound in (
        apply_review(case, "muscle", mask_to_polygons(automatic.pectoral_mask)),
        apply_review(case, "absent"),
    ):
        assert review_warnings(sound, "MLO_L") == ()


@pytest.mark.parametrize(
    ("statement", "values", "problem"),
    [
        ("accept", {"polygons": (((0.5, 0.5), (100.5, 0.5), (0.5, 100.5)),)}, ReviewProblem.STALE_RESULT),
        ("accept", {"accepted_absent": True}, ReviewProblem.STALE_RESULT),
        ("absent", {"pixels_sha256": "0" * 64}, ReviewProblem.STALE_PIXELS),
        ("muscle", {"polygons": (((400.0, 500.0), (470.0, 500.0), (470.0, 630.0)),)}, ReviewProblem.OUTSIDE_BREAST),
        ("muscle", {"polygons": (((0.0, 0.0), (900.0, 0.0), (0.0, 9.0)),)}, ReviewProblem.OUTSIDE_IMAGE),
        ("absent", {"config": PreprocessConfig(method="none", output_size=128)}, ReviewProblem.SEGMENTATION_OFF),
    ],
)
def test_an_invalid_review_changes_nothing(
    case: SyntheticView, statement: Statement, values: dict[str, Any], problem: ReviewProblem
) -> None:
    reviewed = apply_review(case, statement, **values)
    assert reviewed.outcome is None
    assert reviewed.unused_review is not None
    assert (reviewed.unused_review.problem, reviewed.unused_review.file[-5:]) == (problem, ".json")
    untouched = preprocess_view(case.pixels, "MLO_L", values.get("config", CONFIG))
    np.testing.assert_array_equal(reviewed.result.image, untouched.image)
    assert reviewed.result.status == untouched.status


def test_failed_results_cannot_be_accepted_and_images_without_a_breast_cannot_be_reviewed(make_view: MakeView) -> None:
    unclear = make_view(angle_deg=60, foot=0.9)
    assert preprocess_view(unclear.pixels, "MLO_L", CONFIG).status == "failed"
    assert known(apply_review(unclear, "accept").unused_review).problem is ReviewProblem.NOTHING_TO_ACCEPT
    drawn = apply_review(unclear, "muscle", mask_to_polygons(unclear.muscle))
    assert drawn.outcome is not None
    assert (drawn.result.status, drawn.outcome.dice, drawn.outcome.corrected) == ("manual", None, True)
    accepted_absent = apply_review(make_view(angle_deg=0), "accept", accepted_absent=True)
    assert (known(accepted_absent.outcome).verdict, accepted_absent.result.status) == ("accepted", "absent")
    black = type(unclear)(np.zeros((200, 100), np.uint16), unclear.breast, unclear.muscle)
    assert known(apply_review(black, "absent").unused_review).problem is ReviewProblem.OUTSIDE_BREAST


def test_changed_images_and_unknown_images_are_distinguished() -> None:
    here = ReviewName(EXAM, "MLO_L", "0" * 16)
    names = [here, ReviewName(EXAM, "MLO_L", "1" * 16), ReviewName(EXAM, "MLO_R", "0" * 16)]
    reviews = [Review(name, f"{name.stem}.json", "absent") for name in names]
    findings = reviews_without_image(reviews, {here})
    assert [finding.problem for finding in findings] == [ReviewProblem.STALE_PIXELS, ReviewProblem.UNKNOWN_IMAGE]


@pytest.mark.parametrize("scale", [1, 2])
def test_a_mask_of_the_stored_image_must_have_the_orientation_of_the_run(
    case: SyntheticView, automatic: PreprocessedView, scale: int
) -> None:
    """Ingest turned the file. The mask has the orientation of the stored image, and is still inside of the breast."""
    rows = np.flatnonzero(automatic.breast_mask.any(axis=1))
    upside_down = np.zeros_like(automatic.pectoral_mask)
    upside_down[rows[0] : rows[-1] + 1] = automatic.pectoral_mask[rows[0] : rows[-1] + 1][::-1]
    for muscle, is_used in ((automatic.pectoral_mask, True), (upside_down & automatic.breast_mask, scale == 1)):
        large = np.kron(muscle, np.ones((scale, scale), np.bool_))
        review = parse_review(
            f"{review_name(EXAM, 'MLO_L', pixels_sha256(case.pixels)).stem}.png",
            encode_png(255 * large.astype(np.uint8)),
        )
        reviewed = preprocess_reviewed(case.pixels, "MLO_L", CONFIG, review)
        assert (reviewed.outcome is not None) == is_used
        assert is_used or known(reviewed.unused_review).problem is ReviewProblem.OTHER_HANGING
        np.testing.assert_array_equal(reviewed.result.pectoral_mask, muscle if is_used else automatic.pectoral_mask)
