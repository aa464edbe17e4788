"""Streamed moments against scikit-learn's Ledoit-Wolf on all vectors at once."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf
from sklearn.preprocessing import StandardScaler

from components.statistics.shrinkage import StreamedMoments


@pytest.mark.parametrize(("vectors", "size", "offset"), [(40, 5, 0.0), (30, 60, 3.0), (500, 24, -100.0), (12, 30, 0.0)])
def test_it_is_scikit_learns_estimate_whatever_the_batches(vectors: int, size: int, offset: float) -> None:
    random = np.random.default_rng(size)
    data = random.standard_t(5, (vectors, size)) @ random.normal(size=(size, size)) + offset
    data = data.astype(np.float32)
    scaler = StandardScaler().fit(data.astype(np.float64))
    expected = LedoitWolf(assume_centered=True).fit(scaler.transform(data.astype(np.float64)))
    for parts in (1, 7):
        moments = StreamedMoments(size)
        for part in np.array_split(data, parts):
            moments.add(part)
        found = moments.shrunk()
        np.testing.assert_allclose(found.mean, scaler.mean_, rtol=1e-9)
        np.testing.assert_allclose(found.scale, scaler.scale_, rtol=1e-7)
        assert found.shrinkage == pytest.approx(expected.shrinkage_, rel=1e-6)
        np.testing.assert_allclose(found.covariance, expected.covariance_, rtol=1e-6, atol=1e-9)
        other = random.normal(size=(9, size)) + offset
        distance = np.linalg.norm((other - found.mean) / found.scale @ found.whitening(), axis=1)
        np.testing.assert_allclose(distance**2, expected.mahalanobis(scaler.transform(other)), rtol=1e-5)


def test_components_that_never_change_do_not_break_it() -> None:
    random = np.random.default_rng(1)
    data = random.normal(size=(50, 6))
    data[:, 2], data[:, 4] = 0.0, 7.3
    moments = StreamedMoments(6)
    for part in np.array_split(data, 9):
        moments.add(part)
    found = moments.shrunk()
    assert found.scale[[2, 4]].tolist() == [1.0, 1.0]
    whitening = found.whitening()
    assert np.isfinite(whitening).all()
    inside = np.linalg.norm((data - found.mean) / found.scale @ whitening, axis=1).max()
    data[0, 2] = 30.0  # a channel that was always silent speaks
    outside = np.linalg.norm((data[:1] - found.mean) / found.scale @ whitening, axis=1)
    assert outside > 5 * inside


def test_too_few_vectors_are_refused() -> None:
    moments = StreamedMoments(3)
    moments.add(np.zeros((0, 3)))
    moments.add(np.ones((1, 3)))
    with pytest.raises(ValueError, match=r"at least two vectors\. Received: 1"):
        moments.shrunk()
