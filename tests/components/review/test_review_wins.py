"""A review that holds takes the place of the automatic result; one that does not is a finding, and nothing changes."""

from __future__ import annotations

import numpy as np
import pytest

from components.common.png import encode_png, pixels_sha256
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.preprocessed_view import PreprocessError
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

CONFIG = PreprocessConfig(method="thesis", output_size=128)  # what method it is makes no difference here
EXAM = "ab" * 16


@pytest.fixture(scope="module")
def case(make_view):
    return make_view()


@pytest.fixture(scope="module")
def automatic(case):
    result = preprocess_view(case.pixels, "MLO_L", CONFIG)
    assert result.status == "removed"
    return result


def settle(case, says: str, polygons: tuple[Polygon, ...] = (), config=CONFIG, **values) -> ReviewedView:
    name = review_name(EXAM, "MLO_L", pixels_sha256(case.pixels))
    review = Review(name, f"{name.stem}.json", says, polygons=polygons, **values)  # type: ignore[arg-type]
    return preprocess_reviewed(case.pixels, "MLO_L", config, review)


@pytest.mark.parametrize("view", ["MLO_L", "MLO_R"])
@pytest.mark.parametrize("flipped", [False, True])
def test_the_automatic_mask_drawn_by_hand_gives_the_same_picture(case, view, flipped) -> None:
    pixels = np.ascontiguousarray(case.pixels[:, ::-1]) if flipped else case.pixels
    automatic = preprocess_view(pixels, view, CONFIG)
    manual = preprocess_view(pixels, view, CONFIG, manual_mask=automatic.pectoral_mask)
    np.testing.assert_array_equal(manual.image, automatic.image)
    np.testing.assert_array_equal(manual.pectoral_mask, automatic.pectoral_mask)
    assert (manual.status, manual.doubt) == ("manual", 0.0)
    assert manual.measurements.mean_grey == automatic.measurements.mean_grey
    assert manual.pectoral_area_fraction == automatic.pectoral_area_fraction


def test_the_drawn_muscle_is_replaced_by_the_mean_grey_on_either_hanging(case) -> None:
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


def test_no_muscle_leaves_the_picture_as_it_is(case) -> None:
    result = settle(case, "absent").result
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
def test_a_manual_mask_of_another_kind_is_refused(case, mask, view) -> None:
    with pytest.raises(PreprocessError, match="manual mask"):
        preprocess_view(case.pixels, view, CONFIG, manual_mask=mask)


def test_the_exported_outline_unchanged_is_no_correction(case, automatic) -> None:
    outlines = mask_to_polygons(automatic.pectoral_mask)
    drawn = settle(case, "muscle", outlines)
    assert drawn.outcome is not None
    assert (drawn.outcome.verdict, drawn.outcome.corrected) == ("changed", False)
    assert drawn.outcome.dice > 0.99
    assert drawn.result.status == "manual"
    accepted = settle(case, "accept", outlines)
    assert accepted.outcome is not None
    assert (accepted.outcome.verdict, accepted.result.status) == ("accepted", "removed")
    np.testing.assert_array_equal(accepted.result.image, automatic.image)
    assert settle(case, "accept").outcome is not None


def test_another_outline_is_a_correction_with_its_dice(case, automatic, dice) -> None:
    comb = automatic.pectoral_mask.copy()
    comb[::2] = False
    drawn = ((0.5, 0.5), (100.5, 0.5), (0.5, 100.5))
    reviewed = settle(case, "muscle", (drawn,))
    assert reviewed.outcome is not None
    assert reviewed.outcome.corrected
    expected = dice(reviewed.result.pectoral_mask, automatic.pectoral_mask)
    assert reviewed.outcome.dice == pytest.approx(expected, abs=1e-6)
    assert reviewed.outcome.automatic_status == "removed"
    assert settle(case, "absent").outcome.corrected
    assert not same_muscle(comb, automatic.pectoral_mask)


def test_an_outline_far_from_every_muscle_is_used_and_called_odd(case, automatic) -> None:
    rows = np.flatnonzero(automatic.breast_mask.any(axis=1))
    low = float(rows[-1] - (rows[-1] - rows[0]) // 4)
    at_the_bottom = settle(case, "muscle", (((0.5, low), (60.5, low), (0.5, low - 90)),))
    assert at_the_bottom.outcome.dice < 0.5
    assert [odd.split()[1:3] for odd in review_warnings(at_the_bottom, "MLO_L")] == [["has", "little"], ["does", "not"]]
    for sound in (settle(case, "muscle", mask_to_polygons(automatic.pectoral_mask)), settle(case, "absent")):
        assert review_warnings(sound, "MLO_L") == ()


@pytest.mark.parametrize(
    ("says", "values", "problem"),
    [
        ("accept", {"polygons": (((0.5, 0.5), (100.5, 0.5), (0.5, 100.5)),)}, ReviewProblem.STALE_RESULT),
        ("accept", {"accepted_absent": True}, ReviewProblem.STALE_RESULT),
        ("absent", {"pixels_sha256": "0" * 64}, ReviewProblem.STALE_PIXELS),
        ("muscle", {"polygons": (((400.0, 500.0), (470.0, 500.0), (470.0, 630.0)),)}, ReviewProblem.OUTSIDE_BREAST),
        ("muscle", {"polygons": (((0.0, 0.0), (900.0, 0.0), (0.0, 9.0)),)}, ReviewProblem.OUTSIDE_IMAGE),
        ("absent", {"config": PreprocessConfig(method="none", output_size=128)}, ReviewProblem.SEGMENTATION_OFF),
    ],
)
def test_a_review_that_does_not_hold_changes_nothing(case, says, values, problem) -> None:
    reviewed = settle(case, says, **values)
    assert reviewed.outcome is None
    assert reviewed.unused_review is not None
    assert (reviewed.unused_review.problem, reviewed.unused_review.file[-5:]) == (problem, ".json")
    untouched = preprocess_view(case.pixels, "MLO_L", values.get("config", CONFIG))
    np.testing.assert_array_equal(reviewed.result.image, untouched.image)
    assert reviewed.result.status == untouched.status


def test_a_failed_result_cannot_be_accepted_and_an_empty_image_not_reviewed(make_view) -> None:
    unclear = make_view(angle_deg=60, foot=0.9)
    assert preprocess_view(unclear.pixels, "MLO_L", CONFIG).status == "failed"
    assert settle(unclear, "accept").unused_review.problem is ReviewProblem.NOTHING_TO_ACCEPT
    drawn = settle(unclear, "muscle", mask_to_polygons(unclear.muscle))
    assert (drawn.result.status, drawn.outcome.dice, drawn.outcome.corrected) == ("manual", None, True)
    accepted_absent = settle(make_view(angle_deg=0), "accept", accepted_absent=True)
    assert (accepted_absent.outcome.verdict, accepted_absent.result.status) == ("accepted", "absent")
    black = type(unclear)(np.zeros((200, 100), np.uint16), unclear.breast, unclear.muscle)
    assert settle(black, "absent").unused_review.problem is ReviewProblem.OUTSIDE_BREAST


def test_reviews_of_images_that_the_run_does_not_have_are_told_apart() -> None:
    here = ReviewName(EXAM, "MLO_L", "0" * 16)
    names = [here, ReviewName(EXAM, "MLO_L", "1" * 16), ReviewName(EXAM, "MLO_R", "0" * 16)]
    reviews = [Review(name, f"{name.stem}.json", "absent") for name in names]
    findings = reviews_without_image(reviews, {here})
    assert [finding.problem for finding in findings] == [ReviewProblem.STALE_PIXELS, ReviewProblem.UNKNOWN_IMAGE]


@pytest.mark.parametrize("scale", [1, 2])
def test_a_mask_of_the_archives_own_image_lies_as_the_run_turned_it(case, automatic, scale: int) -> None:
    """A file that ingest turned: the muscle is where the stored image has it, still inside of the breast."""
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
        assert is_used or reviewed.unused_review.problem is ReviewProblem.OTHER_HANGING
        np.testing.assert_array_equal(reviewed.result.pectoral_mask, muscle if is_used else automatic.pectoral_mask)
