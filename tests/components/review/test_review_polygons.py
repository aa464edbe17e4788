"""Masks to polygons and back, and polygons that are refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from components.review.polygons import (
    MAX_POINTS,
    check_inside,
    check_polygon,
    crosses_itself,
    mask_to_polygons,
    polygons_to_mask,
)
from components.review.problems import ReviewError, ReviewProblem

SHAPE = (90, 70)


@st.composite
def star_masks(draw: st.DrawFn) -> NDArray[np.bool_]:
    """Draw shapes without holes, around a centre that can be at the border, like muscles."""
    height, width = SHAPE
    centre = np.array([draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))])
    radii = np.array(draw(st.lists(st.integers(3, 60), min_size=3, max_size=14)))
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    points = centre + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    mask = np.zeros(SHAPE, np.uint8)
    cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], (1,))
    return mask.astype(np.bool_)


def _grown(mask: NDArray[np.bool_], by: int) -> NDArray[np.bool_]:
    size = 2 * by + 1
    # The muscle continues outside of the image, so the border itself does not count as an edge.
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), by, by, by, by, cv2.BORDER_REPLICATE)
    return cv2.dilate(padded, np.ones((size, size), np.uint8))[by:-by, by:-by].astype(np.bool_)


@settings(max_examples=150)
@given(star_masks())
def test_a_mask_is_restored_to_within_a_pixel_of_its_edge(mask: NDArray[np.bool_]) -> None:
    polygons = mask_to_polygons(mask)
    back = polygons_to_mask(polygons, SHAPE)
    # One pixel for the simplified line and half a pixel for drawing it.
    assert not (back & ~_grown(mask, 2)).any()
    assert not (mask & ~_grown(back, 2)).any()
    for polygon in polygons:  # an exported template must be a valid review
        check_polygon(polygon)
        check_inside(polygon, SHAPE)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_outlines_of_ragged_masks_are_valid_polygons(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(size=SHAPE)
    for polygon in mask_to_polygons(cv2.GaussianBlur(noise, (0, 0), 1.5) > 0.1):
        check_polygon(polygon)


def test_a_rectangle_has_four_points_and_is_restored_exactly() -> None:
    mask = np.zeros(SHAPE, np.bool_)
    mask[:40, :25] = True
    (polygon,) = mask_to_polygons(mask)
    assert sorted(polygon) == [(0.5, 0.5), (0.5, 39.5), (24.5, 0.5), (24.5, 39.5)]
    np.testing.assert_array_equal(polygons_to_mask((polygon,), SHAPE), mask)


def test_the_intersection_of_two_polygons_is_inside() -> None:
    square = ((0.5, 0.5), (20.5, 0.5), (20.5, 20.5), (0.5, 20.5))
    moved = tuple((x + 10, y + 10) for x, y in square)
    both = polygons_to_mask((square, moved), SHAPE)
    assert both[15, 15]
    assert both.sum() == 2 * 21**2 - 11**2


@pytest.mark.parametrize(
    ("points", "crosses"),
    [
        ([(0, 0), (10, 10), (10, 0), (0, 10)], True),  # bow tie
        ([(0, 0), (10, 0), (10, 10), (0, 10)], False),
        ([(0, 0), (10, 0), (5, 5), (10, 10), (0, 10), (5, 5)], False),  # touches itself in a point
        ([(0, 0), (0, 0), (10, 0), (10, 0), (0, 10)], False),  # double clicks
        ([(0, 0), (10, 0), (20, 0)], False),  # flat
    ],
)
def test_crossing(points: list[tuple[int, int]], crosses: bool) -> None:
    assert crosses_itself(np.array(points, np.float64)) is crosses


@pytest.mark.parametrize(
    "points", [(), ((1.0, 1.0), (2.0, 2.0)), tuple((float(i), 0.0) for i in range(MAX_POINTS + 1))]
)
def test_too_few_and_too_many_points_are_refused(points: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(ReviewError, match=f"{len(points)} points") as raised:
        check_polygon(points)
    assert raised.value.problem is ReviewProblem.BAD_POLYGON


def test_a_point_on_the_border_is_inside_and_one_beyond_is_not() -> None:
    check_inside(((0.0, 0.0), (70.0, 0.0), (-0.9, 90.0)), SHAPE)
    with pytest.raises(ReviewError, match="x=72, y=3"):
        check_inside(((0.0, 0.0), (72.0, 3.0), (0.0, 9.0)), SHAPE)
