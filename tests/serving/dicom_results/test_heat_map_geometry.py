"""A heat map marks the same place in the source image as in the input of the network, in every orientation."""

from __future__ import annotations

import io
import itertools
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from components.dicom.headers.header import ViewHeader
from components.dicom.headers.orientation import Turn
from components.dicom.reading import LoadedView
from components.exam_model.preparation import PreparedView
from components.exam_model.recipe import PreprocessingRecipe
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.geometry import to_input
from components.preprocessing.preprocess import preprocess_view
from schema.features import VIEWS
from serving.client.grades import ViewExplanation
from serving.dicom_results.heat_maps import source_picture
from serving.pictures import maps_of, outline_png, station_pictures, texture_pictures

SHAPE = (400, 300)
SPOT = (260, 90)  # row and column of the middle, chest wall at the left
RADIUS = 12


def breast_with_a_spot(wall_left: bool) -> NDArray[np.uint16]:
    """Half an ellipse at the chest wall with one bright spot."""
    rows, columns = np.mgrid[: SHAPE[0], : SHAPE[1]]
    inside = ((rows - 210) / 150) ** 2 + (columns / 200) ** 2 < 1
    grey = np.where(inside, 16000 + 20 * ((rows * 7 + columns * 13) % 97), 300).astype(np.uint16)
    cv2.circle(grey, SPOT[::-1], RADIUS, (60000,), -1)
    return grey if wall_left else np.ascontiguousarray(grey[:, ::-1])


def prepared(view: str, wall_left: bool, config: PreprocessConfig) -> PreparedView:
    pixels = breast_with_a_spot(wall_left)
    return PreparedView(LoadedView(ViewHeader(view, *SHAPE), pixels, 0.0), preprocess_view(pixels, view, config), b"")


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("wall_left", [True, False])
@pytest.mark.parametrize(("crop", "keep_aspect"), [(True, True), (True, False), (False, True)])
def test_what_is_hot_in_the_networks_picture_is_hot_where_it_was(
    view: str, wall_left: bool, crop: bool, keep_aspect: bool
) -> None:
    config = PreprocessConfig(method="none", output_size=224, crop=crop, keep_aspect=keep_aspect)
    item = prepared(view, wall_left, config)
    heat = (item.result.image > 200).astype(np.float32)
    assert heat.any()
    back = to_input(heat, view, item.result, config)
    rows, columns = np.nonzero(back > 0.5)
    column = SPOT[1] if wall_left else SHAPE[1] - 1 - SPOT[1]
    assert (rows.mean(), columns.mean()) == pytest.approx((SPOT[0], column), abs=1.5)
    assert np.sqrt(len(rows) / np.pi) == pytest.approx(RADIUS, abs=2)


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("turn", [Turn(*bits) for bits in itertools.product((False, True), repeat=3)])
def test_the_archives_picture_lies_as_the_file_however_that_was_turned(turn: Turn, view: str) -> None:
    recipe = PreprocessingRecipe(preprocess=PreprocessConfig(method="none", output_size=128))
    upright = prepared(view, view.endswith("L"), recipe.preprocess)
    item = replace(upright, loaded=replace(upright.loaded, header=replace(upright.loaded.header, turn=turn)))
    heat = (item.result.image > 200).astype(np.float32)
    explained = ViewExplanation("C", (0.1, 0.2, 0.6, 0.1), heat, b"")
    picture = source_picture(item, explained, recipe, 1024)
    assert picture.shape[:2] == (SHAPE[::-1] if turn.transpose else SHAPE)
    np.testing.assert_array_equal(picture, turn.undo(source_picture(upright, explained, recipe, 1024)))
    spot = np.zeros(SHAPE, np.uint8)
    spot[SPOT[0], SPOT[1] if view.endswith("L") else SHAPE[1] - 1 - SPOT[1]] = 1
    place = np.argwhere(turn.undo(spot))[0]
    red = picture[..., 0].astype(int) - picture[..., 2]
    hot = np.argwhere(red > red.max() // 2)
    assert hot.mean(axis=0) == pytest.approx(place, abs=3)
    hung, expected = (station_pictures(one, explained, recipe) for one in (item, upright))
    np.testing.assert_array_equal(hung.grey, expected.grey)
    np.testing.assert_array_equal(hung.maps["heatmap"], expected.maps["heatmap"])
    np.testing.assert_array_equal(hung.muscle, expected.muscle)


@pytest.mark.parametrize("wall_left", [True, False])
def test_the_overlay_shows_the_source_as_it_hangs_and_nothing_outside_of_the_breast(wall_left: bool) -> None:
    recipe = PreprocessingRecipe(preprocess=PreprocessConfig(method="none", output_size=128))
    item = prepared("CC_R", wall_left, recipe.preprocess)
    heat = (item.result.image > 200).astype(np.float32)
    explained = ViewExplanation("B", (0.1, 0.6, 0.2, 0.1), heat, b"")
    picture = source_picture(item, explained, recipe, 1024)
    assert picture.shape == (*SHAPE, 3)
    red = picture[..., 0].astype(int) - picture[..., 2]
    column = SPOT[1] if wall_left else SHAPE[1] - 1 - SPOT[1]
    hottest = np.argwhere(red > red.max() // 2).mean(axis=0)
    assert hottest == pytest.approx((SPOT[0], column), abs=2)
    assert not picture[~item.result.breast_mask].any()
    assert picture[item.result.breast_mask].any(axis=1).all()
    small = source_picture(item, explained, recipe, 100)
    assert small.shape == (100, 75, 3)


def test_the_page_hangs_both_exports_alike() -> None:
    recipe = PreprocessingRecipe(preprocess=PreprocessConfig(method="none", output_size=128))
    for view, standard in (("MLO_L", True), ("MLO_R", False)):
        found = []
        for wall_left in (True, False):
            item = prepared(view, wall_left, recipe.preprocess)
            heat = (item.result.image > 200).astype(np.float32)
            shown = station_pictures(item, ViewExplanation("B", (0.1, 0.6, 0.2, 0.1), heat, b""), recipe)
            found.append((shown.grey, shown.maps["heatmap"]))
        (grey, heat), (other, other_heat) = found
        np.testing.assert_array_equal(grey, other)
        np.testing.assert_array_equal(heat, other_heat)
        assert abs(int(np.argmax(heat.sum(axis=0))) - (SPOT[1] if standard else grey.shape[1] - 1 - SPOT[1])) < RADIUS


def test_a_mixed_classifier_has_three_maps_and_the_muscle_an_outline() -> None:
    heat, texture = np.eye(4, dtype=np.float32), np.ones((4, 4), np.float32)
    explained = ViewExplanation("B", (0.1, 0.6, 0.2, 0.1), heat, b"")
    assert list(maps_of(explained)) == ["heatmap"]
    assert texture_pictures(explained, b"") == {}
    mixed = replace(explained, texture=texture)
    np.testing.assert_array_equal(maps_of(mixed)["sum"], (heat + 1) / 2)
    image = cv2.imencode(".png", np.full((8, 8), 100, np.uint8))[1].tobytes()
    drawn = {name: np.asarray(Image.open(io.BytesIO(png))) for name, png in texture_pictures(mixed, image).items()}
    assert {name: picture.shape for name, picture in drawn.items()} == {"texture": (8, 8, 3), "sum": (8, 8, 3)}
    assert (drawn["texture"][..., 0] > drawn["texture"][..., 2]).all(), "red where the energy is"
    muscle = np.zeros((250, 200), bool)
    muscle[:100, :80] = True
    layer = np.asarray(Image.open(io.BytesIO(outline_png(muscle))))
    assert layer.shape == (250, 200, 4)
    assert layer[99, 40, 3] == layer[50, 79, 3] == 255, "at its edge"
    assert layer[50, 40, 3] == layer[150, 150, 3] == 0, "but neither inside nor outside"
    assert layer[99, 40, 0] > 200 > 100 > layer[99, 40, 2], "yellow"


def test_a_map_that_is_none_is_refused() -> None:
    config = PreprocessConfig(method="none", output_size=64)
    item = prepared("CC_L", True, config)
    with pytest.raises(ValueError, match="matrix"):
        to_input(np.zeros((0, 3), np.float32), "CC_L", item.result, config)
