"""The texture features of a preprocessed picture, in stock TensorFlow operations.

Training, evaluation and the exported model call the same functions. The features of a picture do not depend on the
batch: each picture is measured on its own. A picture without a breast gives finite numbers.

Names: ``GROUP/MEASURE``, such as ``band_2_4/deviation``.

* ``grey``: the grey values of the breast. Relative quantiles are measured from the median, in units of the range from
  the quantile .05 to .95.
* ``band_A_B``: the picture smoothed by sigma A less the picture smoothed by sigma B (difference of Gaussians), in
  pixels: structures of about that size. ``band_16`` is the picture smoothed by 16.
* ``pattern_S``, ``gradient_S``: local binary patterns and gradients of the picture smoothed by S.
* ``cooccurrence_D``: grey levels of pairs of pixels at distance D.
* ``ring_0`` (skin) to ``ring_4`` (centre): rings of equal depth from the skin.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import tensorflow as tf
from numpy.typing import NDArray

from components.texture.filters import deeper_than, gaussian_matrices, smooth
from components.texture.measures import (
    GREYS,
    band_quantiles,
    grey_quantiles,
    histogram,
    masked_mean,
    masked_moments,
    shares_above,
)
from components.texture.patterns import CO_OCCURRENCE, LEVELS, PATTERNS, co_occurrence, local_patterns
from schema import features as f

SIGMAS: Final = (0, 1, 2, 4, 8, 16)  # pixels; neighbours make a band, the last is a band of its own
FINE: Final = (1.0, 2.5)  # pixels, of local patterns and gradients
DISTANCES: Final = (2, 6, 14)  # pixels, of co-occurrence
QUANTILES: Final = (0.01, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95, 0.99)
LEVELS_ABSOLUTE: Final = (64, 96, 128, 160, 192, 224)
LEVELS_RELATIVE: Final = (0.2, 0.35, 0.5, 0.65, 0.8)  # between the quantiles .05 and .99
RINGS: Final = (32, 16, 8, 4)  # a ring ends at this part of the side, depth from the skin
_RING_BANDS: Final = (1, 2, 3)  # indices of bands
_BANDS: Final = (*(f"{a}_{b}" for a, b in pairwise(SIGMAS)), f"{SIGMAS[-1]}")
_LESS_RELATIVE: Final = (0.01, 0.10, 0.25, 0.75, 0.90, 0.99)


def _percent(share: float) -> str:
    return f"{round(share * 100):02d}"


def _names() -> tuple[str, ...]:
    grey = [
        "area",
        *(f"{name}" for name in ("mean", "deviation", "skewness", "kurtosis")),
        *(f"quantile_{_percent(share)}" for share in QUANTILES),
        *(f"relative_quantile_{_percent(share)}" for share in _LESS_RELATIVE),
        *(f"share_above_{level}" for level in LEVELS_ABSOLUTE),
        *(f"share_above_{_percent(level)}_percent_of_range" for level in LEVELS_RELATIVE),
    ]
    of_band = ("mean_absolute", "deviation", "skewness", "kurtosis", "quantile_05", "quantile_95")
    of_gradient = ("mean", "deviation", "skewness", "kurtosis", "quantile_95", "along", "across", "oblique")
    of_ring = ("area", "mean", "deviation", *(f"band_{_BANDS[band]}" for band in _RING_BANDS))
    return (
        *(f"grey/{name}" for name in grey),
        *(f"band_{band}/{name}" for band in _BANDS for name in of_band),
        *(f"pattern_{sigma:g}/{code}" for sigma in FINE for code in range(PATTERNS)),
        *(f"gradient_{sigma:g}/{name}" for sigma in FINE for name in of_gradient),
        *(f"cooccurrence_{distance}/{name}" for distance in DISTANCES for name in CO_OCCURRENCE),
        *(f"ring_{ring}/{name}" for ring in range(len(RINGS) + 1) for name in of_ring),
    )


FEATURES: Final = _names()


def texture_features(images: tf.Tensor, views: tf.Tensor) -> tf.Tensor:
    """Measure the texture of pictures.

    Args:
        images: uint8 [N, S, S, 1], preprocessed: background 0. Pixels above 0 are breast.
        views: int32 [N], index in VIEWS. Right breasts are mirrored.

    Returns:
        float32 [N, F], in the order of FEATURES.
    """
    side = images.shape[1]
    coarse, fine = gaussian_matrices(side, SIGMAS[1:]), gaussian_matrices(side, FINE)
    right = tf.constant([f.laterality_of(view) == "R" for view in f.VIEWS])

    def measure(given: tuple[tf.Tensor, tf.Tensor]) -> tf.Tensor:
        picture = tf.reshape(given[0], (side, side))
        picture = tf.where(tf.gather(right, given[1]), tf.reverse(picture, axis=[1]), picture)
        return _measure(picture, coarse, fine)

    return tf.map_fn(measure, (images, views), fn_output_signature=tf.TensorSpec((len(FEATURES),), tf.float32))


def _measure(picture: tf.Tensor, coarse: NDArray[Any], exact: NDArray[Any]) -> tf.Tensor:
    """Measure one picture: uint8 [S, S], chest wall at the left, to float32 [F]."""
    side = picture.shape[0]
    breast = picture > 0
    mask = tf.cast(breast, tf.float32)
    grey = tf.cast(picture, tf.float32)
    levels = tf.concat([grey[tf.newaxis], smooth(grey, coarse)], axis=0)
    bands = tf.concat([levels[:-1] - levels[1:], levels[-1:]], axis=0)
    # Local patterns need whole grey levels: double precision, so that rounding is the same everywhere.
    exact_layers = smooth(tf.cast(picture, tf.float64), exact)
    whole = tf.unstack(tf.cast(tf.round(exact_layers), tf.float32))
    fine = tf.unstack(tf.cast(exact_layers, tf.float32))
    codes = tf.where(breast, tf.cast(picture, tf.int32) // (GREYS // LEVELS) + 1, 0)
    deep = deeper_than(breast, [max(1, side // part) for part in RINGS])
    core, inside = deep[0], tf.cast(deep[0], tf.float32)  # without the skin, which is the steepest edge
    parts = [
        _grey(picture, grey, breast, mask),
        _bands(bands, inside),
        *(_patterns(layer, core) for layer in whole),
        *(_gradients(layer, inside) for layer in fine),
        co_occurrence(codes, DISTANCES),
        _rings(grey, bands, breast, mask, deep),
    ]
    return tf.concat([tf.reshape(part, [-1]) for part in parts], axis=0)


def _grey(picture: tf.Tensor, grey: tf.Tensor, breast: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
    counts = histogram(tf.reshape(tf.cast(picture, tf.int32), (1, -1)), tf.reshape(breast, (1, -1)), GREYS)[0]
    quantiles = grey_quantiles(counts, QUANTILES)
    at = dict(zip(QUANTILES, tf.unstack(quantiles), strict=True))
    spread = tf.maximum(at[0.95] - at[0.05], 1.0)
    relative = tf.stack([(at[share] - at[0.50]) / spread for share in _LESS_RELATIVE])
    reach = at[0.05] + tf.constant(LEVELS_RELATIVE) * (at[0.99] - at[0.05])
    return tf.concat(
        [
            [tf.reduce_mean(mask)],
            tf.stack(masked_moments(grey, mask)),
            quantiles,
            relative,
            shares_above(counts, tf.constant(LEVELS_ABSOLUTE, tf.float32)),
            shares_above(counts, reach),
        ],
        axis=0,
    )


def _bands(bands: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
    _, deviation, skewness, kurtosis = masked_moments(bands, inside)
    mean_absolute = masked_mean(tf.abs(bands), inside)
    shape = tf.stack([mean_absolute, deviation, skewness, kurtosis], axis=1)
    return tf.concat([shape, band_quantiles(bands, inside, (0.05, 0.95))], axis=1)


def _patterns(layer: tf.Tensor, core: tf.Tensor) -> tf.Tensor:
    """Return the shares of the local patterns; whole grey levels, so that flat areas are flat."""
    codes = tf.reshape(local_patterns(layer), (1, -1))
    counts = histogram(codes, tf.reshape(core[1:-1, 1:-1], (1, -1)), PATTERNS)
    return tf.math.divide_no_nan(counts, tf.reduce_sum(counts))


def _gradients(layer: tf.Tensor, inside: tf.Tensor) -> tf.Tensor:
    """Measure the gradient by central differences; along is parallel to the chest wall."""
    down = (layer[2:, 1:-1] - layer[:-2, 1:-1]) / 2
    right = (layer[1:-1, 2:] - layer[1:-1, :-2]) / 2
    size = tf.sqrt(down**2 + right**2)
    inside = inside[1:-1, 1:-1]
    energy = tf.maximum(masked_mean(size**2, inside), 1e-3)
    return tf.stack(
        [
            *masked_moments(size, inside),
            band_quantiles(size[tf.newaxis], inside, (0.95,))[0, 0],
            masked_mean(tf.abs(down), inside),
            masked_mean(tf.abs(right), inside),
            masked_mean(down * right, inside) / energy,
        ]
    )


def _rings(grey: tf.Tensor, bands: tf.Tensor, breast: tf.Tensor, mask: tf.Tensor, deep: tf.Tensor) -> tf.Tensor:
    """Measure rings of equal depth from the skin; mean grey relative to the whole breast."""
    inner = tf.concat([deep, tf.zeros_like(deep[:1])], axis=0)
    outer = tf.concat([breast[tf.newaxis], deep], axis=0)
    rings = tf.cast(tf.logical_and(outer, tf.logical_not(inner)), tf.float32)
    area = tf.math.divide_no_nan(tf.reduce_sum(rings, axis=(1, 2)), tf.reduce_sum(mask))
    mean, deviation, _, _ = masked_moments(tf.broadcast_to(grey, tf.shape(rings)), rings)
    relative = tf.where(area > 0, mean - masked_mean(grey, mask), 0.0)
    energies = [masked_mean(tf.abs(bands[band]) * tf.ones_like(rings), rings) for band in _RING_BANDS]
    return tf.stack([area, relative, deviation, *energies], axis=1)
