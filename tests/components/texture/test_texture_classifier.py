from __future__ import annotations

import contextlib
import dataclasses
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from components.texture.arrays import TextureArrays, TextureModelError, read_arrays, write_arrays
from components.texture.classifier import TextureClassifier
from components.texture.config import TELLING, TextureConfig
from components.texture.fitting import TextureFitError, fit_texture_model, make_estimators
from components.texture.measuring import MeasuredViews
from components.texture.view_vector import VECTOR

CONFIG = TextureConfig(trees=40)
CLEAR = VECTOR.index("grey/mean")


def exams(count: int = 96, seed: int = 1, classes: tuple[int, ...] = (0, 1, 2, 3)) -> MeasuredViews:
    """Return exams of two views, whose every fourth feature knows the class a little."""
    rng = np.random.default_rng(seed)
    numbers = np.arange(count) // 2
    labels = np.array(classes)[numbers % len(classes)]
    vectors = rng.standard_normal((count, len(VECTOR)))
    vectors[:, ::4] += labels[:, np.newaxis] * 0.5
    vectors[:, CLEAR] = 100 + 30 * labels + rng.standard_normal(count)
    vectors[:, 7] = 3.25  # a feature that is always the same
    return MeasuredViews(vectors.astype(np.float32), labels, np.arange(count) % 2, numbers)


@pytest.fixture(scope="module")
def fitted() -> TextureArrays:
    return fit_texture_model(exams(), CONFIG)


def grades(arrays: TextureArrays, vectors: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(TextureClassifier(arrays).probabilities(tf.constant(vectors)))


def scikit_learn(measured: MeasuredViews, other: NDArray[Any]) -> NDArray[Any]:
    """Grade with scikit-learn only."""
    linear, forest = make_estimators(CONFIG, len(measured.labels))
    linear.fit(measured.vectors.astype(np.float64), measured.labels)
    forest.fit(measured.vectors, measured.labels)
    return np.asarray(linear.predict_proba(other.astype(np.float64)) + forest.predict_proba(other)) / 2


def test_probabilities_equal_those_of_scikit_learn(fitted: TextureArrays) -> None:
    other = np.concatenate([exams(200, seed=2).vectors, exams().vectors])
    expected = scikit_learn(exams(), other)
    assert np.abs(grades(fitted, other) - expected).max() < 1e-4
    assert expected.std(axis=0).min() > 0.05  # they are worth comparing


def test_values_at_a_threshold_go_the_way_of_scikit_learn(fitted: TextureArrays) -> None:
    other = np.repeat(exams().vectors[:1], 300, axis=0)
    inner = np.argwhere(fitted.feature >= 0)[::7][:300]
    for row, (tree, node) in enumerate(inner):
        threshold = fitted.threshold[tree, node]
        other[row, fitted.feature[tree, node]] = threshold if row % 2 else np.nextafter(threshold, np.float32(np.inf))
    assert np.abs(grades(fitted, other) - scikit_learn(exams(), other)).max() < 1e-4


@pytest.mark.parametrize("classes", [(1, 2), (0, 2, 3)])
def test_a_class_without_views_gets_no_probability(classes: tuple[int, ...]) -> None:
    measured, other = exams(60, classes=classes), exams(20, seed=3).vectors
    found = grades(fit_texture_model(measured, CONFIG), other)
    assert np.abs(found[:, list(classes)] - scikit_learn(measured, other)).max() < 1e-4
    assert np.delete(found, classes, axis=1).max() < 1e-6


def test_one_class_is_not_enough() -> None:
    with pytest.raises(TextureFitError, match=r"two density classes.*Received: 9 views of 1 classes"):
        fit_texture_model(exams(9, classes=(2,)), CONFIG)


def test_equal_views_give_equal_bytes(fitted: TextureArrays) -> None:
    assert write_arrays(fit_texture_model(exams(), CONFIG)) == write_arrays(fitted)


def test_the_leaves_grow_with_the_views() -> None:
    assert [make_estimators(CONFIG, views)[1].min_samples_leaf for views in (10, 2000, 20_480)] == [3, 3, 40]


def test_a_picture_of_another_world_stays_a_probability(fitted: TextureArrays) -> None:
    wild = np.full((2, len(VECTOR)), 1e30, np.float32)
    wild[1] = -1e30
    np.testing.assert_allclose(grades(fitted, wild).sum(axis=1), 1, rtol=1e-5)


def telling(fitted: TextureArrays, measured: MeasuredViews, classes: list[int]) -> tuple[NDArray[Any], ...]:
    found = TextureClassifier(fitted).telling(
        tf.constant(measured.vectors),
        tf.constant(measured.views, tf.int32),
        tf.constant(measured.exams, tf.int32),
        tf.constant(classes, tf.int32),
    )
    return tuple(value.numpy() for value in found)


def test_no_exam_gives_no_row(fitted: TextureArrays) -> None:
    none = exams(0)
    assert grades(fitted, none.vectors).shape == (0, 4)
    assert [value.shape for value in telling(fitted, none, [])] == [(0, TELLING)] * 3


def test_the_telling_features_are_those_that_decide(fitted: TextureArrays) -> None:
    measured = exams()
    classes = measured.labels[::2]
    names, places, contributions = telling(fitted, measured, classes.tolist())
    clear = [(row, column) for row, column in np.argwhere(names == VECTOR[CLEAR].encode())]
    assert len(clear) > 10
    assert all(contributions[place] > 0 for place in clear)  # it speaks for the right class
    means = measured.vectors[:, CLEAR].reshape(-1, 2).mean(axis=1)
    for row, column in clear:
        assert places[row, column] == pytest.approx((means < means[row]).mean() * 100, abs=3)
    assert (np.diff(np.abs(contributions), axis=1) <= 0).all()


def test_contributions_are_terms_of_the_mean_logit_of_the_views(fitted: TextureArrays) -> None:
    measured = exams(6, seed=9)
    coefficients = fitted.coefficients - fitted.coefficients.mean(axis=0)
    standardised = np.clip((measured.vectors - fitted.mean) / fitted.scale, -6, 6)
    terms = standardised.reshape(3, 2, -1).mean(axis=1) * coefficients[[1, 2, 3]]
    _, _, found = telling(fitted, measured, [1, 2, 3])
    expected = np.take_along_axis(terms, np.argsort(-np.abs(terms), axis=1)[:, :TELLING], axis=1)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_the_file_gives_back_every_array(fitted: TextureArrays) -> None:
    again = read_arrays(write_arrays(fitted))
    for field in dataclasses.fields(fitted):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(fitted, field.name))
    assert again.depth == fitted.depth


def test_the_file_holds_no_python_objects(fitted: TextureArrays) -> None:
    with np.load(io.BytesIO(write_arrays(fitted)), allow_pickle=False) as found:
        assert {found[name].dtype.kind for name in found.files} <= set("iUf")


def changed(fitted: TextureArrays, **values: Any) -> bytes:
    return write_arrays(dataclasses.replace(fitted, **values))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("feature", lambda a: np.where(a >= 0, len(VECTOR), a).astype(np.int32)),
        ("left", np.zeros_like),
        ("right", lambda a: a + np.int32(a.size)),
        ("threshold", lambda a: np.full_like(a, np.nan)),
        ("leaf", lambda a: a[:, :, :3]),
        ("scale", np.zeros_like),
        ("mean", lambda a: a.astype(np.float64)),
        ("percentiles", lambda a: a[:, ::-1]),
        ("side", lambda a: np.asarray(100_000, np.int64)),
        ("views", lambda a: -a),
    ],
)
def test_wrong_arrays_are_named(fitted: TextureArrays, name: str, value: Callable[[Any], Any]) -> None:
    with pytest.raises(TextureModelError, match=f"texture_model.npz: {name} .*fit the texture model again"):
        read_arrays(changed(fitted, **{name: value(getattr(fitted, name))}))


def test_another_version_or_other_features_are_rejected(fitted: TextureArrays) -> None:
    with np.load(io.BytesIO(write_arrays(fitted))) as found:
        content = {name: found[name] for name in found.files}
    for name, value, message in (
        ("version", np.int64(2), "another version than 1.*Received: 2"),
        ("names", content["names"][::-1], "other features"),
        ("extra", np.zeros(3), "array 'extra'"),
    ):
        out = io.BytesIO()
        np.savez(out, **{**content, name: value})
        with pytest.raises(TextureModelError, match=message):
            read_arrays(out.getvalue())


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_damaged_bytes_are_rejected_or_harmless(fitted: TextureArrays, data: st.DataObject) -> None:
    content = bytearray(write_arrays(fitted))
    start = data.draw(st.integers(0, len(content) - 1))
    content[start : start + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
    with contextlib.suppress(TextureModelError):  # any other error fails the test
        assert np.isfinite(read_arrays(bytes(content)).leaf).all()
