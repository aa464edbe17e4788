"""The fitted texture model as plain arrays, and its file: a versioned npz that holds no Python objects."""

from __future__ import annotations

import io
import zipfile
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from components.texture.view_vector import VECTOR
from schema.features import DENSITY_CLASSES

TEXTURE_FILE: Final = "texture_model.npz"
VERSION: Final = 1
PERCENTILES: Final = 101  # 0 to 100
MOST_DEVIATIONS: Final = 6.0  # standardised features are clipped to -6..6
_MOST_BYTES: Final = 2**30


class TextureModelError(ValueError):
    """The file of a texture model cannot be read."""


@dataclass(frozen=True, eq=False)
class TextureArrays:
    """Trees and logistic regression. D features, T trees of at most M nodes, four classes.

    Attributes:
        side: int64 scalar, the side of the pictures that were measured, pixels.
        views: int64 [4], training views by class.
        feature: int32 [T, M], feature that a node asks for; -1 at a leaf.
        threshold: float32 [T, M]; features up to it go left.
        left: int32 [T, M], node to the left; a leaf names itself.
        right: int32 [T, M], node to the right; a leaf names itself.
        leaf: float32 [T, M, 4], shares of the classes.
        mean: float32 [D], mean of the training views.
        scale: float32 [D], their standard deviation; 1 where it is 0.
        coefficients: float32 [4, D], of standardised features.
        intercept: float32 [4].
        percentiles: float32 [D, 101], percentiles 0 to 100 of the means of training exams.
    """

    side: NDArray[Any]
    views: NDArray[Any]
    feature: NDArray[Any]
    threshold: NDArray[Any]
    left: NDArray[Any]
    right: NDArray[Any]
    leaf: NDArray[Any]
    mean: NDArray[Any]
    scale: NDArray[Any]
    coefficients: NDArray[Any]
    intercept: NDArray[Any]
    percentiles: NDArray[Any]

    @property
    def depth(self) -> int:
        """Return the number of questions on the longest way through a tree."""
        depths = np.zeros(self.feature.shape, np.int64)
        for node in range(self.feature.shape[1]):  # a child has a higher number than its parent
            trees = np.flatnonzero(self.feature[:, node] >= 0)
            for child in (self.left, self.right):
                depths[trees, child[trees, node]] = depths[trees, node] + 1
        return int(depths.max())


_TYPES: Final = {
    **dict.fromkeys(("side", "views"), np.int64),
    **dict.fromkeys(("feature", "left", "right"), np.int32),
    **dict.fromkeys(
        ("threshold", "leaf", "mean", "scale", "coefficients", "intercept", "percentiles"),
        np.float32,
    ),
}


def write_arrays(arrays: TextureArrays) -> bytes:
    """Return the bytes of the file; equal arrays give equal bytes."""
    out = io.BytesIO()
    named = {field.name: getattr(arrays, field.name) for field in fields(arrays)}
    np.savez_compressed(out, version=np.int64(VERSION), names=np.array(VECTOR), **named)
    return out.getvalue()


def read_arrays(data: bytes) -> TextureArrays:
    """Read and check the file of a texture model.

    Args:
        data: Bytes of :func:`write_arrays`, from any source.

    Returns:
        The arrays.

    Raises:
        TextureModelError: The bytes are not such a file, of another version or of other features, or the arrays do not
            belong together; the message names the array.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _MOST_BYTES:
            raise TextureModelError(
                f"{TEXTURE_FILE} declares {size} bytes, more than {_MOST_BYTES}: fit the texture model again."
            )
        with np.load(io.BytesIO(data), allow_pickle=False) as found:
            content = {name: found[name] for name in found.files}
    except TextureModelError:
        raise
    except Exception as error:  # zipfile, zlib and numpy raise their own types for damaged bytes
        raise TextureModelError(
            f"{TEXTURE_FILE} cannot be read ({type(error).__name__}): fit the texture model again."
        ) from None
    version, names = content.pop("version", None), content.pop("names", None)
    if version is None or version.shape != () or version != VERSION:
        raise TextureModelError(
            f"{TEXTURE_FILE} has another version than {VERSION}: fit the texture model again. Received: {version}"
        )
    if names is None or names.shape != (len(VECTOR),) or tuple(names.tolist()) != VECTOR:
        raise TextureModelError(f"{TEXTURE_FILE} has other features than this software: fit the texture model again.")
    if set(content) != set(_TYPES):
        wrong = sorted(set(content) ^ set(_TYPES))[0]
        raise TextureModelError(f"{TEXTURE_FILE} lacks or adds the array {wrong!r}: fit the texture model again.")
    arrays = TextureArrays(**content)
    _check(arrays)
    return arrays


def _check(arrays: TextureArrays) -> None:
    trees, nodes = arrays.feature.shape if arrays.feature.ndim == 2 and arrays.feature.size else (0, 0)
    size, classes = len(VECTOR), len(DENSITY_CLASSES)
    shapes = {
        "side": (),
        "views": (classes,),
        **dict.fromkeys(("feature", "threshold", "left", "right"), (trees, nodes)),
        "leaf": (trees, nodes, classes),
        "mean": (size,),
        "scale": (size,),
        "coefficients": (classes, size),
        "intercept": (classes,),
        "percentiles": (size, PERCENTILES),
    }
    for name, shape in shapes.items():
        value = getattr(arrays, name)
        if value.dtype != _TYPES[name] or value.shape != shape or not np.isfinite(value).all():
            raise TextureModelError(
                f"{TEXTURE_FILE}: {name} must be finite {np.dtype(_TYPES[name]).name} {list(shape)}: fit the texture"
                f" model again. Received: {value.dtype.name} {list(value.shape)}"
            )
    number = np.arange(nodes)
    inner = arrays.feature >= 0
    # A child has a higher number than its parent, so every way through a tree ends.
    wrong = {
        "feature": (arrays.feature < -1).any() or (arrays.feature >= size).any(),
        "left": (np.where(inner, arrays.left <= number, arrays.left != number) | (arrays.left >= nodes)).any(),
        "right": (np.where(inner, arrays.right <= number, arrays.right != number) | (arrays.right >= nodes)).any(),
        "scale": (arrays.scale <= 0).any(),
        "percentiles": (np.diff(arrays.percentiles, axis=1) < 0).any(),
        "side": not 64 <= int(arrays.side) <= 512,
        "views": (arrays.views < 0).any(),
        "leaf": (arrays.leaf < 0).any(),
    }
    for name, found in wrong.items():
        if found:
            raise TextureModelError(f"{TEXTURE_FILE}: {name} is out of range: fit the texture model again.")
