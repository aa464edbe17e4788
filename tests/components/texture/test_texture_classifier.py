import contextlib
import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from components.texture.arrays import TextureModelError, read_arrays, write_arrays
from components.texture.classifier import TELLING, TextureClassifier
from components.texture.config import TextureConfig
from components.texture.exam_vector import VECTOR
from components.texture.fitting import TextureFitError, fit_texture_model, make_estimators

CONFIG = TextureConfig(trees=40)
CLEAR = VECTOR.index("CC/grey/mean")


def exams(count=90, seed=1, classes=(0, 1, 2, 3)):
    """Vectors of which one feature in four knows the class."""
    rng = np.random.default_rng(seed)
    labels = np.array([classes[i % len(classes)] for i in range(count)])
    vectors = rng.standard_normal((count, len(VECTOR)))
    vectors[:, ::4] += labels[:, np.newaxis] * 0.5
    vectors[:, CLEAR] = 100 + 30 * labels + rng.standard_normal(count)
    vectors[:, 7] = 3.25  # a feature that is always the same
    return vectors.astype(np.float32), labels


@pytest.fixture(scope="module")
def fitted():
    return fit_texture_model(*exams(), CONFIG)


def scikit_learn(vectors, labels, other, config=CONFIG):
    """Grade with scikit-learn alone."""
    order = np.lexsort((*vectors.T[::-1], labels))
    linear, forest = make_estimators(config)
    linear.fit(vectors[order].astype(np.float64), labels[order])
    forest.fit(vectors[order], labels[order])
    return (linear.predict_proba(other.astype(np.float64)) + forest.predict_proba(other)) / 2


def test_probabilities_equal_those_of_scikit_learn(fitted):
    vectors, labels = exams()
    other, _ = exams(200, seed=2)
    other[:50] = vectors[:50]
    found = TextureClassifier(fitted).probabilities(tf.constant(other)).numpy()
    expected = scikit_learn(vectors, labels, other)
    assert np.abs(found - expected).max() < 1e-4
    assert expected.std(axis=0).min() > 0.05  # they are worth comparing


def test_values_at_a_threshold_go_the_way_of_scikit_learn(fitted):
    vectors, labels = exams()
    other = np.repeat(vectors[:1], 300, axis=0)
    inner = np.argwhere(fitted.feature >= 0)[::7][:300]
    for row, (tree, node) in enumerate(inner):
        threshold = fitted.threshold[tree, node]
        other[row, fitted.feature[tree, node]] = threshold if row % 2 else np.nextafter(threshold, np.float32(np.inf))
    found = TextureClassifier(fitted).probabilities(tf.constant(other)).numpy()
    assert np.abs(found - scikit_learn(vectors, labels, other)).max() < 1e-4


@pytest.mark.parametrize("classes", [(1, 2), (0, 2, 3)])
def test_a_class_without_exams_gets_no_probability(classes):
    vectors, labels = exams(60, classes=classes)
    other, _ = exams(20, seed=3)
    found = TextureClassifier(fit_texture_model(vectors, labels, CONFIG)).probabilities(tf.constant(other)).numpy()
    assert np.abs(found[:, list(classes)] - scikit_learn(vectors, labels, other)).max() < 1e-4
    assert np.delete(found, classes, axis=1).max() < 1e-6


def test_one_class_is_not_enough():
    with pytest.raises(TextureFitError, match=r"two density classes.*Received: 9 exams of 1 classes"):
        fit_texture_model(*exams(9, classes=(2,)), CONFIG)


def test_the_order_of_the_exams_does_not_change_a_byte(fitted):
    vectors, labels = exams()
    order = np.random.default_rng(5).permutation(len(labels))
    assert write_arrays(fit_texture_model(vectors[order], labels[order], CONFIG)) == write_arrays(fitted)


def test_a_picture_of_another_world_stays_a_probability(fitted):
    wild = np.full((2, len(VECTOR)), 1e30, np.float32)
    wild[1] = -1e30
    found = TextureClassifier(fitted).probabilities(tf.constant(wild)).numpy()
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-5)


def test_no_exam_gives_no_row(fitted):
    none = tf.zeros((0, len(VECTOR)))
    classifier = TextureClassifier(fitted)
    assert classifier.probabilities(none).shape == (0, 4)
    assert classifier.telling(none, tf.zeros((0,), tf.int32))[0].shape == (0, TELLING)


def test_the_telling_features_are_those_that_decide(fitted):
    vectors, labels = exams()
    names, places, contributions = (
        value.numpy()
        for value in TextureClassifier(fitted).telling(tf.constant(vectors), tf.constant(labels, tf.int32))
    )
    clear = [
        (row, list(name).index(VECTOR[CLEAR].encode()))
        for row, name in enumerate(names)
        if VECTOR[CLEAR].encode() in name
    ]
    assert len(clear) > 25
    assert all(contributions[place] > 0 for place in clear)  # it speaks for the right class
    for row, column in clear:
        rank = (vectors[:, CLEAR] < vectors[row, CLEAR]).mean() * 100
        assert places[row, column] == pytest.approx(rank, abs=2)
    assert (np.diff(np.abs(contributions), axis=1) <= 0).all()


def test_contributions_are_terms_of_the_logit(fitted):
    vectors, _ = exams(3, seed=9)
    coefficients = fitted.coefficients - fitted.coefficients.mean(axis=0)
    terms = np.clip((vectors - fitted.mean) / fitted.scale, -6, 6) * coefficients[[1, 2, 3]]
    _, _, found = TextureClassifier(fitted).telling(tf.constant(vectors), tf.constant([1, 2, 3]))
    expected = np.take_along_axis(terms, np.argsort(-np.abs(terms), axis=1)[:, :TELLING], axis=1)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_the_file_gives_back_every_array(fitted):
    again = read_arrays(write_arrays(fitted))
    for field in dataclasses.fields(fitted):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(fitted, field.name))
    assert again.depth == fitted.depth


def test_the_file_holds_no_python_objects(fitted):
    with np.load(io.BytesIO(write_arrays(fitted)), allow_pickle=False) as found:
        assert {found[name].dtype.kind for name in found.files} <= set("iUf")


def changed(fitted, **values):
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
        ("exams", lambda a: -a),
    ],
)
def test_wrong_arrays_are_named(fitted, name, value):
    with pytest.raises(TextureModelError, match=f"texture_model.npz: {name} .*fit the texture model again"):
        read_arrays(changed(fitted, **{name: value(getattr(fitted, name))}))


def test_another_version_or_other_features_are_rejected(fitted):
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
def test_damaged_bytes_are_rejected_or_harmless(fitted, data):
    content = bytearray(write_arrays(fitted))
    start = data.draw(st.integers(0, len(content) - 1))
    content[start : start + data.draw(st.integers(0, 40))] = data.draw(st.binary(max_size=40))
    with contextlib.suppress(TextureModelError):  # any other error fails the test
        assert np.isfinite(read_arrays(bytes(content)).leaf).all()
