"""Fit the texture model with scikit-learn. The fitted model does not need scikit-learn."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from components.texture.arrays import MOST_DEVIATIONS, PERCENTILES, TextureArrays
from components.texture.config import TextureConfig
from components.texture.measuring import MeasuredViews
from components.texture.view_vector import exam_means
from schema.features import DENSITY_CLASSES

_CLASSES: Final = len(DENSITY_CLASSES)
_MOST_LEAVES: Final = 512  # of a tree: 400 trees take at most some 13 MB


class TextureFitError(ValueError):
    """The exams are not enough to fit a texture model."""


def fit_texture_model(measured: MeasuredViews, config: TextureConfig) -> TextureArrays:
    """Fit extremely randomised trees and a logistic regression; their probabilities are averaged.

    A view is graded on its own, and the grade of an exam is the mean of its views, as of the networks: whatever
    combines views is right for the mixed classifier too.

    Args:
        measured: Training views.
        config: Settings.

    Returns:
        The fitted model. A class without training views gets probability 0. Equal arguments give equal arrays.

    Raises:
        TextureFitError: There are fewer than two classes.

    Source: Geurts, Ernst, Wehenkel, Extremely randomized trees, Machine Learning 63:3, 2006.
    """
    vectors, labels = measured.vectors, measured.labels
    if len(np.unique(labels)) < 2:
        raise TextureFitError(
            "The texture model needs training views of two density classes: add exams, or set"
            f" pipeline.ensemble.mixed to false. Received: {len(labels)} views of {len(np.unique(labels))} classes."
        )
    linear, forest = make_estimators(config, len(labels))
    rows, classes, weights = weighted_rows(labels, measured.targets)
    linear.fit(vectors[rows].astype(np.float64), classes, regression__sample_weight=weights)
    forest.fit(vectors[rows], classes, weights)
    scaler, regression = linear.named_steps["scale"], linear.named_steps["regression"]
    return TextureArrays(
        side=np.asarray(config.side, np.int64),
        views=np.bincount(labels, minlength=_CLASSES).astype(np.int64),
        mean=scaler.mean_.astype(np.float32),
        scale=scaler.scale_.astype(np.float32),
        **_regression(regression),
        **_trees(forest),
        percentiles=np.percentile(_exam_means(measured), np.linspace(0, 100, PERCENTILES), axis=0).T.astype(np.float32),
    )


def weighted_rows(
    labels: NDArray[Any], targets: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]:
    """Return what an estimator without soft labels learns: each row once per class that its distribution has.

    Args:
        labels: int64 [N].
        targets: float64 [N, 4], or None if no label is soft.

    Returns:
        Rows, int64 [M]; their classes, int64 [M]; and their weights, float64 [M], whose sum is N: the shares, scaled in
        each class to its number of rows. Balanced class weights count rows, so they then balance the sums of the
        shares. Without soft labels the weights are None.
    """
    if targets is None:
        return np.arange(len(labels)), labels, None
    rows, classes = np.nonzero(targets)
    per_row = np.bincount(classes, minlength=_CLASSES) / np.maximum(targets.sum(axis=0), 1e-12)
    return rows, classes, targets[rows, classes] * per_row[classes] * len(labels) / len(rows)


def make_estimators(config: TextureConfig, views: int) -> tuple[Pipeline, ExtraTreesClassifier]:
    """Return the unfitted parts: the logistic regression on standardised features, and the trees.

    Standardised features are clipped, so that a picture unlike all others cannot drive the regression to certainty.
    """
    regression = LogisticRegression(C=config.inverse_regularisation, class_weight="balanced", max_iter=2000)
    clip = FunctionTransformer(np.clip, kw_args={"a_min": -MOST_DEVIATIONS, "a_max": MOST_DEVIATIONS})
    linear = Pipeline([("scale", StandardScaler()), ("clip", clip), ("regression", regression)])
    forest = ExtraTreesClassifier(
        config.trees,
        min_samples_leaf=max(config.minimum_leaf, views // _MOST_LEAVES),
        max_features="sqrt",
        class_weight="balanced_subsample",
        random_state=config.seed,
    )
    return linear, forest


def _exam_means(measured: MeasuredViews) -> NDArray[Any]:
    views, exams = tf.constant(measured.views, tf.int32), tf.constant(measured.exams, tf.int32)
    return np.asarray(exam_means(tf.constant(measured.vectors), views, exams, tf.reduce_max(exams) + 1))


def _regression(linear: LogisticRegression) -> dict[str, NDArray[Any]]:
    coefficients = np.zeros((_CLASSES, linear.coef_.shape[1]))
    intercept = np.full(_CLASSES, -1e4)  # a class without views
    if len(linear.classes_) == 2:  # one row: the second class against the first
        coefficients[linear.classes_[1]] = linear.coef_[0]
        intercept[linear.classes_] = (0.0, linear.intercept_[0])
    else:
        coefficients[linear.classes_] = linear.coef_
        intercept[linear.classes_] = linear.intercept_
    return {"coefficients": coefficients.astype(np.float32), "intercept": intercept.astype(np.float32)}


def _trees(forest: ExtraTreesClassifier) -> dict[str, NDArray[Any]]:
    trees = [estimator.tree_ for estimator in forest.estimators_]
    nodes = max(tree.node_count for tree in trees)
    shape = (len(trees), nodes)
    own = np.broadcast_to(np.arange(nodes, dtype=np.int32), shape)
    feature, threshold = np.full(shape, -1, np.int32), np.zeros(shape, np.float32)
    left, right = own.copy(), own.copy()
    leaf = np.zeros((*shape, _CLASSES), np.float32)
    for row, tree in enumerate(trees):
        inner = np.flatnonzero(tree.children_left >= 0)
        feature[row, inner] = tree.feature[inner]
        threshold[row, inner] = _rounded_down(tree.threshold[inner])
        left[row, inner], right[row, inner] = tree.children_left[inner], tree.children_right[inner]
        values = tree.value[:, 0, :]
        shares = values / np.maximum(values.sum(axis=1, keepdims=True), 1e-300)
        leaf[row, : tree.node_count, :][:, forest.classes_] = shares
    return {"feature": feature, "threshold": threshold, "left": left, "right": right, "leaf": leaf}


def _rounded_down(thresholds: NDArray[Any]) -> NDArray[Any]:
    """Return the largest float32 up to each float64: a float32 is up to one if it is up to the other."""
    rounded = thresholds.astype(np.float32)
    return np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)
