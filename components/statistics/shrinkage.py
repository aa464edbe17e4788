"""Mean and shrunk covariance of a stream of vectors, in one pass and in memory that does not grow with it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ShrunkCovariance:
    """Mean, scale and shrunk covariance of standardised vectors.

    Attributes:
        mean: float64 [P].
        scale: Standard deviation, float64 [P]; 1 where a value never changes.
        covariance: Of ``(x - mean) / scale``, shrunk, float64 [P, P]; always invertible unless the shrinkage is 0.
        shrinkage: Weight of the scaled identity, 0..1.
        vectors: Number of vectors.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    covariance: NDArray[np.float64]
    shrinkage: float
    vectors: int

    def whitening(self) -> NDArray[np.float64]:
        """Return W, float64 [P, P], so that the Mahalanobis distance is the norm of ``((x - mean) / scale) @ W``."""
        return np.linalg.cholesky(np.linalg.inv(self.covariance))


class StreamedMoments:
    """The moments of a stream of vectors that the Ledoit-Wolf shrinkage of their standardised covariance needs.

    The shrinkage is a function of the fourth powers of the vectors' norms after standardisation, which needs the mean
    and the scale of all vectors. Multiplied out, it is a sum over products of up to two components of each vector, so
    three matrices [P, P] are enough, and no vector is kept. Vectors are shifted by the first batch's mean, so that the
    sums do not cancel.

    Source: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, Journal of
    Multivariate Analysis 88 (2004) 365, doi 10.1016/S0047-259X(03)00096-4.
    """

    def __init__(self, size: int) -> None:
        """Start without vectors of ``size`` components."""
        self.vectors = 0
        self._shift = np.zeros(size)
        self._sum = np.zeros(size)
        self._products = np.zeros((size, size))  # sum of x_j x_k
        self._squares = np.zeros((size, size))  # sum of x_j^2 x_k^2
        self._mixed = np.zeros((size, size))  # sum of x_j^2 x_k

    def add(self, vectors: NDArray[np.float32] | NDArray[np.float64]) -> None:
        """Add vectors, [N, P]."""
        if not len(vectors):
            return
        if not self.vectors:
            self._shift = vectors.mean(axis=0, dtype=np.float64)
        x = vectors - self._shift
        square = np.square(x)
        self.vectors += len(x)
        self._sum += x.sum(axis=0)
        self._products += x.T @ x
        self._squares += square.T @ square
        self._mixed += square.T @ x

    def shrunk(self) -> ShrunkCovariance:
        """Return mean, scale and shrunk covariance.

        Raises:
            ValueError: There are fewer than two vectors.
        """
        n, size = self.vectors, len(self._sum)
        if n < 2:
            raise ValueError(f"A covariance needs at least two vectors. Received: {n}")
        mean = self._sum / n
        covariance = self._products / n - np.outer(mean, mean)
        variance = np.clip(np.diag(covariance), 0, None)
        # What never changes has a variance of rounding errors.
        constant = variance <= 1e-12 * (np.square(mean + self._shift) + np.diag(self._products) / n)
        scale = np.where(constant, 1.0, np.sqrt(np.where(constant, 1.0, variance)))
        standardised = np.where(np.logical_or.outer(constant, constant), 0.0, covariance / np.outer(scale, scale))
        target = np.trace(standardised) / size
        distance = np.square(standardised).sum() - size * target**2
        spread = self._fourth_powers(mean, np.where(constant, 0.0, 1 / scale)) / n - np.square(standardised).sum()
        shrinkage = float(np.clip(spread / (n * distance), 0, 1)) if distance > 0 else 1.0
        shrunk = (1 - shrinkage) * standardised + shrinkage * max(target, np.finfo(float).eps) * np.eye(size)
        return ShrunkCovariance(mean + self._shift, scale, shrunk, shrinkage, n)

    def _fourth_powers(self, mean: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
        """Return the sum of the squared squared norms of ``(x - mean) * weight``.

        With y = x - mean, the sum of y_j^2 y_k^2 over all vectors is multiplied out:
        (x_j^2 - 2 m_j x_j + m_j^2) (x_k^2 - 2 m_k x_k + m_k^2).
        """
        n, m = self.vectors, mean
        squares = np.diag(self._products)  # sum of x_j^2
        sums = (
            self._squares
            - 2 * self._mixed * m[np.newaxis, :]
            - 2 * self._mixed.T * m[:, np.newaxis]
            + np.outer(squares, m**2)
            + np.outer(m**2, squares)
            + 4 * np.outer(m, m) * self._products
            - 2 * np.outer(m * self._sum, m**2)
            - 2 * np.outer(m**2, m * self._sum)
            + n * np.outer(m**2, m**2)
        )
        weights = weight**2
        return float(weights @ sums @ weights)
