"""Calibration, the least number of views and mirrored networks in the exam model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.exam_ensemble.ensemble import load_exam_model, view_functions
from components.exam_model.exam_grades import grade_exams
from components.exam_model.recipe import PreprocessingRecipe
from components.exam_model.signatures import ExamModel, ExamSettings, export
from components.statistics.calibration import calibrate
from components.statistics.combination import combine_views
from components.transform.config import ImageConfig
from schema.features import DENSITY_CLASSES, VIEWS
from serving.client.grades import NotGradedError
from serving.client.local_model import LocalModel
from tests.pictures import decode_picture

IMAGE = ImageConfig(size=64)


@settings(max_examples=25)
@given(data=st.data(), temperature=st.sampled_from([0.25, 0.7, 1.0, 4.0]), minimum=st.integers(1, 4))
def test_the_graph_combines_and_calibrates_as_numpy_does(data: Any, temperature: float, minimum: int) -> None:
    images = data.draw(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(VIEWS)), max_size=12))
    random = np.random.default_rng(len(images))
    rows = random.dirichlet([0.3] * 4, len(images)).astype(np.float32)
    views = [view for _, view in images]
    names, places = tf.unique([exam for exam, _ in images])
    got = grade_exams(
        tf.constant(rows, tf.float32, (len(images), 4)),
        tf.constant([VIEWS.index(view) for view in views], tf.int32, (len(images),)),
        tf.cast(places, tf.int32),
        tf.size(names),
        temperature,
        minimum,
    )
    whole = combine_views([str(exam) for exam, _ in images], views, rows)
    graded = (whole.view_counts >= minimum)[:, None]
    np.testing.assert_allclose(got["raw_probabilities"], np.where(graded, whole.probabilities, 0), atol=1e-6)
    expected = np.where(graded, calibrate(whole.probabilities, temperature), 0)
    np.testing.assert_allclose(got["probabilities"], expected, atol=1e-5)
    assert got["view_count"].numpy().tolist() == whole.view_counts.tolist()
    assert [d.decode() == "" for d in got["density"].numpy()] == [not g for g in graded[:, 0]]
    for side, name in (("R", "right_probabilities"), ("L", "left_probabilities")):
        breast = combine_views([str(e) for e, _ in images], views, rows, [v for v in VIEWS if v.endswith(side)])
        by_exam = dict(zip(breast.exam_ids, calibrate(breast.probabilities, temperature), strict=True))
        sides = [by_exam.get(exam, np.zeros(4)) for exam in whole.exam_ids]
        np.testing.assert_allclose(got[name], np.where(graded, np.reshape(sides, (-1, 4)), 0), atol=1e-5)


@pytest.fixture(scope="module")
def strict(exam_networks: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that sharpens and wants three views."""
    functions = {view: view_functions(network) for view, network in exam_networks.items()}
    folder = tmp_path_factory.mktemp("strict") / "model"
    export(ExamModel(functions, IMAGE, ExamSettings("{}", minimum_views=3)).changed(temperature=0.5), str(folder))
    return folder


def test_a_calibrated_grade_comes_with_the_raw_mean(
    strict: Path, exported_exam_model: Path, texture_png: Callable[..., bytes]
) -> None:
    images = dict.fromkeys(VIEWS[:3], texture_png(9))  # these networks say D, B and D of it
    plain, grade = LocalModel(exported_exam_model).predict_exam(images), LocalModel(strict).predict_exam(images)
    assert grade.density == plain.density == DENSITY_CLASSES[int(np.argmax(grade.probabilities))]
    np.testing.assert_allclose(grade.raw, plain.probabilities, atol=1e-6)
    for name in ("probabilities", "right", "left"):
        np.testing.assert_allclose(getattr(grade, name), calibrate(getattr(plain, name), 0.5), atol=1e-5)
    assert plain.raw == plain.probabilities
    assert max(grade.probabilities) > max(grade.raw) + 0.1


def test_an_exam_of_too_few_views_gets_no_grade_but_the_reason(strict: Path, texture_png: Callable[..., bytes]) -> None:
    client = LocalModel(strict)
    reason = r"^The exam has 2 of 4 views and a grade needs at least 3: add CC_L, MLO_L\.$"
    with pytest.raises(NotGradedError, match=reason):
        client.predict_exam({"CC_R": texture_png(0), "MLO_R": texture_png(1)})
    assert client.model_recipe().recipe == PreprocessingRecipe(), "the recipe is asked for with one blank view"
    png = texture_png(0)
    answer = tf.saved_model.load(str(strict)).signatures["predict_exam"](
        image_bytes=tf.constant([png] * 4),
        view=tf.constant(["CC_R", "CC_L", "MLO_R", "CC_R"]),
        exam_id=tf.constant(["three"] * 3 + ["one"]),
    )
    assert answer["exam_id"].numpy().tolist() == [b"three", b"one"]
    assert [d != b"" for d in answer["density"].numpy()] == [True, False]
    assert [r != b"" for r in answer["reason"].numpy()] == [False, True]
    for name in ("probabilities", "raw_probabilities", "right_probabilities", "left_probabilities"):
        assert answer[name].numpy()[1].tolist() == [0.0] * 4


def test_numbers_out_of_range_are_refused(exam_networks: dict[str, Any]) -> None:
    functions = {view: view_functions(network) for view, network in exam_networks.items()}
    for wrong in ({"temperature": 0.0}, {"minimum_views": 0}, {"minimum_views": 5}):
        with pytest.raises(ValueError, match=f"Received: .*{next(iter(wrong))}={next(iter(wrong.values()))}"):
            ExamModel(functions, IMAGE).changed(**wrong)


def flipped(png: bytes) -> bytes:
    image = decode_picture(png)
    return cv2.imencode(".png", image[:, ::-1])[1].tobytes()


def picture(png: bytes) -> np.ndarray:
    return decode_picture(png, cv2.IMREAD_COLOR)


@pytest.fixture(scope="module")
def mirrored(exam_networks: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model of two networks, made from files as ExamEnsemble makes it."""
    folder = tmp_path_factory.mktemp("mirrored")
    for name, view in {"CC": "CC_R", "MLO": "MLO_R"}.items():
        exam_networks[view].save(folder / f"{name}.keras")
    files = {view: str(folder / f"{view.rpartition('_')[0]}.keras") for view in VIEWS}
    model = load_exam_model(files, IMAGE, ExamSettings(mirrored=True))
    assert len(model.variables) == 2, "each network is saved once"
    export(model, str(folder / "model"))
    return tf.saved_model.load(str(folder / "model"))


def test_a_mirrored_model_sees_right_breasts_as_left_ones(
    mirrored: Any, exported_exam_model: Path, texture_png: Callable[..., bytes]
) -> None:
    pngs = [texture_png(5), texture_png(9)]
    arguments = {
        "image_bytes": tf.constant([*pngs, *map(flipped, pngs)]),
        "view": tf.constant(["CC_L", "MLO_L", "CC_R", "MLO_R"]),
        "target_class": tf.constant(["B", "D", "B", "D"]),
    }
    answer = {name: value.numpy() for name, value in mirrored.signatures["gradcam"](**arguments).items()}
    np.testing.assert_allclose(answer["probabilities"][2:], answer["probabilities"][:2], atol=1e-6)
    assert answer["heatmap"].max() > 0.9
    np.testing.assert_allclose(answer["heatmap"][2:], answer["heatmap"][:2, :, ::-1], atol=1e-5)
    for left, right in ((0, 2), (1, 3)):
        left_picture, right_picture = (picture(answer["overlay_png_bytes"][i]).astype(int) for i in (left, right))
        assert abs(right_picture - left_picture[:, ::-1]).max() <= 1
    # The model of four networks, which flips nothing, has the same two as its right ones.
    plain = LocalModel(exported_exam_model).gradcam(dict(zip(("CC_R", "MLO_R"), pngs, strict=True)))
    for row, view in enumerate(("CC_R", "MLO_R")):
        np.testing.assert_allclose(answer["probabilities"][row], plain[view].probabilities, atol=1e-6)
    turned = LocalModel(exported_exam_model).predict_exam({"MLO_R": flipped(pngs[1])})
    assert abs(turned.probabilities - answer["probabilities"][3]).max() > 1e-3, "the networks must tell a flip"
    graded = mirrored.signatures["predict_exam"](
        image_bytes=arguments["image_bytes"], view=arguments["view"], exam_id=tf.constant(["e"] * 4)
    )
    np.testing.assert_allclose(graded["right_probabilities"], graded["left_probabilities"], atol=1e-6)
