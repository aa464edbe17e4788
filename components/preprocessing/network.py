"""Compute the muscle's probability map with a small U-Net, run by OpenCV's DNN module.

The input is the breast's box (see ``muscle_edge``) on a fixed grid, so it does not depend on the matrix or the aspect
ratio of the scanner. ``pipeline/segmenter`` trains the network; ``weights/README.md`` documents the training data.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.muscle_edge import BreastBox

DATA_FILES: Final = ("weights/muscle.pb",)  # part of the cache key of the nodes that use this module
# Rows and columns of the network's grid.
GRID: Final = (128, 96)
CHANNELS: Final = 3
# The network works on blocks of 2 x 2 cells, at a quarter of the cost.
BLOCK: Final = 2
_GREY: Final = (-0.1, 1.3)
_LEVELS: Final = 256
_NETS: Final = 32  # networks in memory, one per thread and file of weights; 2 MB each


class WeightsError(RuntimeError):
    """The file of weights is missing, or does not belong to this version."""


@dataclass(frozen=True)
class Weights:
    """A trained network.

    Attributes:
        path: Frozen TensorFlow graph with the nodes ``input`` and ``logits``.
        sha256: Hash of the file.
    """

    path: Path
    sha256: str


SHIPPED: Final = Weights(
    Path(__file__).parent / DATA_FILES[0],
    "d2000edd0b8383e36a894fa77e16e80455b49cd1e78294301426f514efca39dd",
)


def _rank(grey: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the rank of each pixel's grey level among those inside, 0..1; it does not depend on the tone curve."""
    low, high = _GREY
    level = np.clip((grey - low) * ((_LEVELS - 1) / (high - low)), 0, _LEVELS - 1).astype(np.intp)
    rank = np.cumsum(np.bincount(level[inside], minlength=_LEVELS)).astype(np.float32)
    ranks: NDArray[np.float32] = (rank / max(1.0, float(rank[-1])))[level]
    return ranks


def to_channels(grey: NDArray[np.float32], mask: NDArray[np.float32]) -> NDArray[np.float32]:
    """Stack the network's channels: grey level, rank of the grey level, mask.

    Args:
        grey: float32 [128, 96], the breast spans about 0..1.
        mask: float32 [128, 96], share of breast and muscle in each cell, 0..1.

    Returns:
        float32 [128, 96, 3], 0 outside the mask.
    """
    rank = _rank(grey, mask > 0.5)
    result: NDArray[np.float32] = np.stack([np.clip(grey, *_GREY) * mask, rank * mask, mask], axis=-1).astype(
        np.float32
    )
    return result


def to_blocks(grid: NDArray[np.float32]) -> NDArray[np.float32]:
    """Fold blocks of 2 x 2 cells into channels: [..., 128, 96, C] to [..., 64, 48, 4 C]."""
    *batch, height, width, channels = grid.shape
    split = grid.reshape(*batch, height // BLOCK, BLOCK, width // BLOCK, BLOCK, channels)
    return split.swapaxes(-4, -3).reshape(*batch, height // BLOCK, width // BLOCK, BLOCK * BLOCK * channels)


def from_blocks(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unfold the blocks of a map: [..., 64, 48, 4] to [..., 128, 96]."""
    *batch, height, width, _ = blocks.shape
    split = blocks.reshape(*batch, height, width, BLOCK, BLOCK)
    return split.swapaxes(-3, -2).reshape(*batch, height * BLOCK, width * BLOCK)


@lru_cache(maxsize=_NETS)
def _net(weights: Weights, thread: int) -> cv2.dnn.Net:
    """Read the network for one thread: a ``cv2.dnn.Net`` stores its activations and must not be shared."""
    try:
        data = weights.path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{weights.path}: the network's weights cannot be read; install again") from error
    found = hashlib.sha256(data).hexdigest()
    if found != weights.sha256:
        raise WeightsError(
            f"{weights.path}: these are not the weights of this version; install again, or put the hash of newly "
            f"trained weights into {__name__}. Expected SHA-256 {weights.sha256}, received {found}"
        )
    return cv2.dnn.readNetFromTensorflow(np.frombuffer(data, np.uint8))


def resample_to_grid(box: BreastBox) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Resample a box to the network's grid: grey levels and mask, float32 [128, 96] each."""
    size = (GRID[1], GRID[0])
    grey = np.asarray(cv2.resize(box.grey, size, interpolation=cv2.INTER_AREA), np.float32)
    mask = np.asarray(cv2.resize(box.mask.astype(np.float32), size, interpolation=cv2.INTER_AREA), np.float32)
    return grey, mask


def muscle_probability(box: BreastBox, weights: Weights = SHIPPED) -> NDArray[np.float32]:
    """Compute the probability of muscle in each cell of a box.

    Args:
        box: Breast and muscle of a mediolateral oblique view, chest wall at the left edge.
        weights: Network to use; benchmarks use networks that are not shipped.

    Returns:
        float32 [128, 96], probability of muscle in each cell of a grid over the box; 0 outside the mask.

    Raises:
        WeightsError: The file of weights is missing or changed.
    """
    grey, mask = resample_to_grid(box)
    net = _net(weights, threading.get_ident())
    net.setInput(np.ascontiguousarray(to_blocks(to_channels(grey, mask)).transpose(2, 0, 1)[np.newaxis]))
    logits = from_blocks(np.ascontiguousarray(net.forward()[0].transpose(1, 2, 0)))
    return np.asarray(np.where(mask > 0.5, 1 / (1 + np.exp(-np.clip(logits, -30, 30))), 0), np.float32)
