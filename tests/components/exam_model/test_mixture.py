"""The mixed classifier: offline, in the SavedModel, and batched."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from numpy.typing import NDArray
from scipy import ndimage

from components.common.png import encode_png
from components.common.views import View
from components.exam_ensemble.ensemble import load_exam_model
from components.exam_ensemble.saving import count_exams, save_exam_model
from components.exam_model.batching import BatchingConfig
from components.exam_model.contract import TrainingData
from components.exam_model.familiarity import Familiarity, FeatureDistribution
from components.exam_model.mixture import Mixture
from components.exam_model.saved_model import load_contract
from components.exam_model.signatures import ExamModel, ExamSettings
from components.statistics.calibration import Calibration, fit_calibration
from components.statistics.combination import combine_views
from components.texture.arrays import TextureArrays
from components.texture.classifier import TextureClassifier
from components.texture.config import TextureConfig
from components.texture.fitting import fit_texture_model
from components.texture.measuring import MeasuredViews
from components.texture.view_vector import VECTOR, view_vectors
from components.transform.config import ImageConfig
from schema import features as f
from serving.infra_check import probe
from serving.infra_check.check import build_requests
from tests.components.texture.pictures import drawn_breast
from tests.conftest import PREPROCESSING, SIZE

WEIGHT = 0.3
TEXTURE_SIDE = 80
VIEWS = ("CC_R", "CC_L", "MLO_L", "MLO_R", "CC_L", "CC_L")
EXAMS = ("one", "one", "one", "two", "two", "two")


def picture(number: int) -> NDArray[np.uint8]:
    drawn = drawn_breast(SIZE, number, 0.1 + 0.2 * number)
    return drawn[:, ::-1] if VIEWS[number].endswith("R") else drawn


IMAGES = [encode_png(np.ascontiguousarray(picture(number))) for number in range(len(VIEWS))]


@pytest.fixture(scope="module")
def vectors() -> NDArray[Any]:
    """The vectors of the resized pictures."""
    pictures = np.stack([picture(number) for number in range(len(VIEWS))])[..., np.newaxis]
    resized = tf.cast(tf.round(tf.image.resize(pictures, (TEXTURE_SIDE, TEXTURE_SIDE), "area")), tf.uint8)
    measure = tf.function(view_vectors, autograph=False)
    return np.asarray(measure(resized, tf.constant([f.VIEWS.index(view) for view in VIEWS])))


@pytest.fixture(scope="module")
def arrays(vectors: NDArray[Any]) -> TextureArrays:
    """A texture model of vectors about those of the images, so that its answers differ from view to view."""
    rng = np.random.default_rng(3)
    about = np.repeat(vectors, 20, axis=0) * (1 + 0.3 * rng.standard_normal((120, len(VECTOR))))
    labels = np.repeat([0, 1, 2, 3, 2, 1], 20)
    exams = np.arange(120) // 4
    measured = MeasuredViews(about.astype(np.float32), labels, np.arange(120) % 4, exams)
    return fit_texture_model(measured, TextureConfig(side=TEXTURE_SIDE, trees=30))


@pytest.fixture(scope="module")
def networks_only(exam_networks: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> ExamModel:
    """A model in which all views share a network."""
    file = str(tmp_path_factory.mktemp("networks") / "one.keras")
    next(iter(exam_networks.values())).save(file)
    return load_exam_model(dict.fromkeys(f.VIEWS, file), ImageConfig(size=SIZE), ExamSettings(PREPROCESSING))


@pytest.fixture(scope="module")
def mixed(networks_only: ExamModel, arrays: TextureArrays) -> ExamModel:
    return networks_only.changed(mixture=Mixture(arrays, WEIGHT))


def calibration(temperature: float) -> Calibration:
    return fit_calibration(np.zeros((0, 4)), np.zeros(0)).model_copy(update={"temperature": temperature})


@pytest.fixture(scope="module")
def saved(mixed: ExamModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mixed") / "model"
    data = TrainingData(origin="random", splits={split: count_exams([]) for split in ("train", "eval")})
    save_exam_model(mixed, str(folder), calibration(2.0), data)
    return folder


@pytest.fixture(scope="module")
def served(saved: Path) -> Any:
    return tf.saved_model.load(str(saved))


def asked(model: Any, signature: str, *target: str) -> dict[str, NDArray[Any]]:
    inputs = {"image_bytes": tf.constant(IMAGES), "view": tf.constant(VIEWS)}
    if signature.endswith("exam"):
        inputs["exam_id"] = tf.constant(EXAMS)
    if target:
        inputs["target_class"] = tf.constant(target)
    return {name: value.numpy() for name, value in model.signatures[signature](**inputs).items()}


def view_grades(model: ExamModel) -> NDArray[Any]:
    return np.asarray(model.predict_view(tf.constant(IMAGES), tf.constant(VIEWS))["probabilities"])


@pytest.fixture(scope="module")
def texture(arrays: TextureArrays, vectors: NDArray[Any]) -> NDArray[Any]:
    """What the texture model says of each view."""
    return np.asarray(TextureClassifier(arrays).probabilities(tf.constant(vectors)))


def test_a_view_is_the_weighted_mean_of_network_and_texture(
    networks_only: ExamModel, mixed: ExamModel, texture: NDArray[Any]
) -> None:
    networks = view_grades(networks_only)
    assert np.abs(networks - texture).max() > 0.1
    np.testing.assert_allclose(view_grades(mixed), (1 - WEIGHT) * networks + WEIGHT * texture, atol=1e-6)


def test_the_served_model_answers_as_the_offline_one(mixed: ExamModel, served: Any) -> None:
    np.testing.assert_allclose(asked(served, "predict_view")["probabilities"], view_grades(mixed), atol=1e-6)


def test_what_combines_views_offline_gives_the_served_grade_of_the_exam(
    networks_only: ExamModel, texture: NDArray[Any], served: Any
) -> None:
    views = asked(served, "predict_view")["probabilities"]
    exams = asked(served, "predict_exam")
    for name, rows in (
        ("raw_probabilities", views),
        ("network_probabilities", view_grades(networks_only)),
        ("texture_probabilities", texture),
    ):
        np.testing.assert_allclose(exams[name], combine_views(EXAMS, VIEWS, rows).probabilities, atol=1e-6)
    parts = (1 - WEIGHT) * exams["network_probabilities"] + WEIGHT * exams["texture_probabilities"]
    np.testing.assert_allclose(exams["raw_probabilities"], parts, atol=1e-6)
    powers = np.sqrt(parts)  # temperature 2
    np.testing.assert_allclose(exams["probabilities"], powers / powers.sum(axis=1, keepdims=True), atol=1e-5)
    right = combine_views(EXAMS, VIEWS, views, ("CC_R", "MLO_R")).probabilities ** 0.5
    np.testing.assert_allclose(exams["right_probabilities"], right / right.sum(axis=1, keepdims=True), atol=1e-5)


def test_the_telling_features_of_an_exam_are_named_and_placed(served: Any) -> None:
    exams = asked(served, "predict_exam")
    assert exams["telling_features"].shape == (2, 5)
    for row in exams["telling_features"]:
        assert {name.decode() for name in row} <= set(VECTOR)
        assert len(set(row)) == 5
    assert ((exams["telling_percentiles"] >= 0) & (exams["telling_percentiles"] <= 100)).all()
    assert (np.abs(exams["telling_contributions"]) > 0).all()


def test_explain_exam_gives_the_same_grades_and_explains_the_mixed_class(served: Any) -> None:
    exams, explained = asked(served, "predict_exam"), asked(served, "explain_exam", "")
    for name, value in exams.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(explained[name], value, atol=1e-5)
        else:
            assert (explained[name] == value).all()
    grades = explained["view_density"]
    assert [f.DENSITY_CLASSES[row.argmax()].encode() for row in explained["view_probabilities"]] == grades.tolist()
    for density in set(grades):
        of_class = asked(served, "gradcam", *[density.decode()] * len(VIEWS))["heatmap"]
        np.testing.assert_allclose(explained["heatmap"][grades == density], of_class[grades == density], atol=1e-5)


def test_the_explained_class_is_that_of_the_mixture_where_the_network_alone_says_another(
    networks_only: ExamModel, arrays: TextureArrays
) -> None:
    heavy = networks_only.changed(mixture=Mixture(arrays, 0.97))
    images, views, none = tf.constant(IMAGES), tf.constant(VIEWS), tf.constant([""])
    found = heavy.gradcam(images, views, none)
    of_networks = networks_only.gradcam(images, views, none)["density"].numpy()
    other = found["density"].numpy() != of_networks
    assert other.any()
    expected = networks_only.gradcam(images, views, found["density"])["heatmap"].numpy()
    np.testing.assert_allclose(found["heatmap"].numpy(), expected, atol=1e-5)


def test_the_picture_of_the_texture_part_is_the_energy_of_its_bands(
    served: Any, arrays: TextureArrays, networks_only: ExamModel
) -> None:
    """Worked out again with scipy's filters."""
    found = asked(served, "gradcam", "")["texture_map"]
    sigmas = (1, 2, 4, 8, 16)
    usual = [arrays.mean[VECTOR.index(f"band_{a}_{b}/mean_absolute")] for a, b in pairwise((0, *sigmas))]
    for number in range(len(VIEWS)):
        resized = tf.image.resize(picture(number)[..., np.newaxis], (TEXTURE_SIDE, TEXTURE_SIDE), "area")
        grey = np.round(np.asarray(resized)[..., 0])
        levels = [grey, *(ndimage.gaussian_filter(grey, sigma, mode="nearest") for sigma in sigmas)]
        bands = [abs(fine - coarse) / unit for (fine, coarse), unit in zip(pairwise(levels), usual, strict=True)]
        window = np.ones((2 * (TEXTURE_SIDE // 32) + 1,) * 2)
        inside = ndimage.binary_erosion(grey > 0, window, border_value=1).astype(float)
        soft = [ndimage.gaussian_filter(part, 3, mode="nearest") for part in (np.mean(bands, axis=0) * inside, inside)]
        energy = cv2.resize(inside * soft[0] / np.maximum(soft[1], 1e-9), (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        np.testing.assert_allclose(found[number], energy / energy.max(), atol=2e-4)
        assert found[number][picture(number) == 0].max() < 0.05, "little heat beyond the skin, by resizing only"
    answer = networks_only.gradcam(tf.constant(IMAGES[:1]), tf.constant(VIEWS[:1]), tf.constant([""]))
    assert "texture_map" not in answer


def test_an_exam_without_a_grade_has_no_parts(mixed: ExamModel) -> None:
    strict = mixed.changed(minimum_views=3)
    found = strict.predict_exam(tf.constant(IMAGES), tf.constant(VIEWS), tf.constant(EXAMS))
    assert found["density"].numpy()[1] == b""  # two views, one of them twice
    names = ("probabilities", "network_probabilities", "texture_probabilities", "telling_percentiles")
    for name in (*names, "telling_contributions"):
        value = found[name].numpy()
        assert value[0].any()
        assert not value[1].any()
    assert found["telling_features"].numpy()[1].tolist() == [b""] * 5


def test_familiarity_is_that_of_the_networks_and_held_out_exams_are_graded_by_the_mixture(
    networks_only: ExamModel, mixed: ExamModel
) -> None:
    size = networks_only.statistics
    near = FeatureDistribution(np.zeros(size, np.float32), np.eye(size, dtype=np.float32) / 5)
    known = Familiarity((near,), (1.0, 1.1, 1.2, 1.3))
    images, views, exams = tf.constant(IMAGES), tf.constant(VIEWS), tf.constant(EXAMS)
    plain, both = networks_only.changed(familiarity=known), mixed.changed(familiarity=known)
    expected, found = (model.explain_exam(images, views, exams, tf.constant([""])) for model in (plain, both))
    for name, rows in (("familiarity", 2), ("view_familiarity", len(VIEWS))):
        assert found[name].shape == (rows,)
        assert (found[name].numpy() > 0).all()
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)
    np.testing.assert_allclose(
        found["raw_probabilities"], mixed.predict_exam(images, views, exams)["raw_probabilities"]
    )
    probabilities, distances = both.view_distances(images, views)
    np.testing.assert_allclose(probabilities, view_grades(mixed), atol=1e-6)
    np.testing.assert_allclose(1 / distances, found["view_familiarity"], rtol=1e-5)


def test_batched_networks_give_the_same_answers(mixed: ExamModel) -> None:
    batched = mixed.changed(batching=BatchingConfig(max_batch=4))
    inputs = (tf.constant(IMAGES), tf.constant(VIEWS), tf.constant(EXAMS), tf.constant([""]))
    found, expected = (model.explain_exam(*inputs) for model in (batched, mixed))
    for name, value in expected.items():
        if value.dtype == tf.float32:
            np.testing.assert_allclose(found[name], value, atol=1e-5)


def test_another_program_finds_the_contract_kept(saved: Path) -> None:
    contract = load_contract(str(saved))
    assert contract.exam.texture_weight == WEIGHT
    views = [View(image, view, "exam", "") for image, view in zip(IMAGES, VIEWS, strict=True)]
    checks = {check["name"]: check for check in probe.run_checks(str(saved), build_requests(views))}
    del checks["no code of this package was loaded"]  # this process has it
    assert {name: check["detail"] for name, check in checks.items() if not check["passed"]} == {}


def test_a_weight_that_leaves_one_of_the_two_out_is_rejected(arrays: TextureArrays) -> None:
    for weight in (0.0, 1.0, float("nan")):
        with pytest.raises(ValueError, match="above 0 and below 1"):
            Mixture(arrays, weight)
