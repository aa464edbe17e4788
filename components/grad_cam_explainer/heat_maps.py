"""Heat maps from the ``gradcam`` signature of the exam model, so that the served maps are judged, and their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import cv2
import numpy as np
import scipy.stats
import tensorflow as tf
from numpy.typing import NDArray

from components.common.png import decode_png, encode_png
from components.common.views import View
from components.exam_model.heat_layer import sum_of_maps
from components.exam_model.overlays import overlay
from components.transform.images import decode_images
from schema import features as f


@dataclass(frozen=True)
class HeatScores:
    """Scores of one heat map; ``None`` if a score is undefined.

    Shares of heat are relative to the sum of the map ("energy-based pointing game", Wang et al., Score-CAM, 2020, arXiv
    1910.01279, section 4.2). Shares of the image area are the values that an evenly spread map would have.

    Attributes:
        energy_in_breast: Share of the heat on breast and muscle.
        energy_in_pectoral: Share of the heat on the pectoral muscle; undefined if the image has none.
        energy_in_labels: Share of the heat where labels were, before they were blanked; undefined if there were none.
        spearman: Spearman's rank correlation of heat and grey level inside the breast, without the muscle, -1..1. Lizzi
            et al., Applied Sciences 12(1):148, 2022, doi 10.3390/app12010148, use it as explanation accuracy.
        area_in_breast: Share of the image that is breast and muscle.
        area_in_pectoral: Share of the image that is muscle; undefined if the image has none.
    """

    energy_in_breast: float | None
    energy_in_pectoral: float | None
    energy_in_labels: float | None
    spearman: float | None
    area_in_breast: float | None
    area_in_pectoral: float | None

    def to_dict(self) -> dict[str, float | None]:
        """Return the scores by name, with six decimals."""
        return {name: None if value is None else round(value, 6) for name, value in asdict(self).items()}


SCORES: Final = tuple(HeatScores.__dataclass_fields__)


def _share(heatmap: NDArray[np.float32], region: NDArray[np.bool_]) -> float | None:
    total = float(heatmap.sum(dtype=np.float64))
    return float(heatmap[region].sum(dtype=np.float64)) / total if total > 0 and region.any() else None


def rank_correlation(one: NDArray[Any], other: NDArray[Any]) -> float | None:
    """Return Spearman's rank correlation of two vectors, with mean ranks for ties; None if one vector is constant."""
    if one.size < 2 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    return float(np.corrcoef(scipy.stats.rankdata(one), scipy.stats.rankdata(other))[0, 1])


def score_heat_map(
    heatmap: NDArray[np.float32], image: NDArray[np.uint8], regions: NDArray[np.uint8] | None
) -> HeatScores:
    """Score a heat map.

    Args:
        heatmap: float32 [H, W], 0 or more.
        image: uint8 [H, W], the preprocessed view: the background is 0.
        regions: uint8 [H, W] of ``schema.features.REGION_`` values, or None if they are unknown. Then the breast is
            where the image is not 0, and the scores of muscle and labels are undefined.

    Returns:
        The scores. For a map without heat, only the areas are defined.
    """
    if regions is None:
        regions = np.where(image > 0, f.REGION_BREAST, f.REGION_BACKGROUND).astype(np.uint8)
    tissue, muscle = regions == f.REGION_BREAST, regions == f.REGION_PECTORAL
    breast = tissue | muscle
    return HeatScores(
        energy_in_breast=_share(heatmap, breast),
        energy_in_pectoral=_share(heatmap, muscle),
        energy_in_labels=_share(heatmap, regions == f.REGION_LABEL),
        spearman=rank_correlation(heatmap[tissue], image[tissue]),
        area_in_breast=float(breast.mean()),
        area_in_pectoral=float(muscle.mean()) if muscle.any() else None,
    )


def score_view(heatmap: NDArray[np.float32], view: View) -> HeatScores:
    """Score the heat map of a view; resize image and regions to the size of the map.

    Raises:
        ImageDecodeError: The image or the regions of the view are not a PNG.
    """
    size = (heatmap.shape[1], heatmap.shape[0])

    def fitted(png: bytes, interpolation: int) -> NDArray[np.uint8]:
        picture = decode_png(png).astype(np.uint8, copy=False)
        same = picture.shape == heatmap.shape
        return picture if same else cv2.resize(picture, size, interpolation=interpolation).astype(np.uint8)

    regions = fitted(view.regions, cv2.INTER_NEAREST) if view.regions else None
    return score_heat_map(heatmap, fitted(view.image, cv2.INTER_AREA), regions)


_SHOWN: Final = 384  # pixels; a line around the muscle is thin in a picture of this size
_LINE: Final = (80, 220, 250)  # BGR


def outlined_muscle(view: View) -> dict[str, bytes]:
    """Draw the pectoral muscle of a view as a line: the network sees mean grey there.

    Returns:
        PNG by the name ``muscle``; nothing if the view has none.
    """
    regions = decode_png(view.regions) if view.regions else np.zeros((1, 1), np.uint8)
    if not (regions == f.REGION_PECTORAL).any():
        return {}
    image = decode_png(view.image).astype(np.uint8)
    side = max(_SHOWN, *image.shape)
    picture = cv2.cvtColor(cv2.resize(image, (side, side), interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    muscle = cv2.resize((regions == f.REGION_PECTORAL).astype(np.uint8), (side, side), interpolation=cv2.INTER_NEAREST)
    edges, _ = cv2.findContours(muscle, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return {"muscle": encode_png(np.asarray(cv2.drawContours(picture, edges, -1, _LINE, 2), np.uint8))}


PREDICTED: Final = "predicted"


@dataclass(frozen=True)
class HeatMaps:
    """Output of the signature for N views.

    Attributes:
        probabilities: float32 [N, 4].
        density: Predicted class of each view.
        heatmaps: float32 [N, H, W], 0..1.
        textures: What the texture part of a mixed classifier measured, float32 [N, H, W], 0..1; None without one.
    """

    probabilities: NDArray[np.float32]
    density: tuple[str, ...]
    heatmaps: NDArray[np.float32]
    textures: NDArray[np.float32] | None = None


class Explainer:
    """A loaded exam model."""

    def __init__(self, model_dir: str):
        """Load the model.

        Args:
            model_dir: SavedModel with the signature ``gradcam``.
        """
        self._model = tf.saved_model.load(model_dir)  # holds the variables that the signature reads
        strings = tf.TensorSpec([None], tf.string)
        self._gradcam = tf.function(self._without_overlays, input_signature=[strings] * 3, autograph=False)

    def _without_overlays(self, image_bytes: tf.Tensor, view: tf.Tensor, target_class: tf.Tensor) -> list[tf.Tensor]:
        """Call the signature without its overlays, so that TensorFlow does not draw them: few views need one."""
        found = self._model.signatures["gradcam"](image_bytes=image_bytes, view=view, target_class=target_class)
        return [found[name] for name in ("probabilities", "density", "heatmap", "texture_map") if name in found]

    def heat_maps(self, views: Sequence[View], target_class: str) -> HeatMaps:
        """Return the heat maps of views.

        Args:
            views: At least one view.
            target_class: ``predicted`` or a density class.

        Returns:
            Heat maps, probabilities and predicted classes of the views.

        Raises:
            tf.errors.InvalidArgumentError: An image is not a PNG, or a view is unknown.
        """
        probabilities, density, heatmaps, *textures = self._gradcam(
            tf.constant([view.image for view in views]),
            tf.constant([view.view for view in views]),
            tf.constant(["" if target_class == PREDICTED else target_class] * len(views)),
        )
        classes = tuple(name.decode() for name in density.numpy())
        return HeatMaps(probabilities.numpy(), classes, heatmaps.numpy(), textures[0].numpy() if textures else None)

    def pictures(self, views: Sequence[View], target_class: str) -> list[dict[str, bytes]]:
        """Draw views and their maps, the maps as the served model draws them.

        Args:
            views: At least one view.
            target_class: ``predicted`` or a density class.

        Returns:
            PNG by kind for each view: ``image``, ``overlay``; ``muscle`` if it has a muscle; and of a mixed classifier
            ``texture``, what its texture part measured, and ``sum`` of both maps.
        """
        found = self.heat_maps(views, target_class)
        images = decode_images(tf.constant([view.image for view in views]), found.heatmaps.shape[1])
        maps = {"overlay": found.heatmaps}
        if found.textures is not None:
            maps |= {"texture": found.textures, "sum": sum_of_maps(found.heatmaps, found.textures)}
        drawn = {kind: overlay(images, tf.constant(values)).numpy() for kind, values in maps.items()}
        return [
            {"image": view.image, **outlined_muscle(view), **{kind: pngs[row] for kind, pngs in drawn.items()}}
            for row, view in enumerate(views)
        ]
