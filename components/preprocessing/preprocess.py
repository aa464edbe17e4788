"""Turn the pixels of a view into the network's picture. Pipeline, clients and tests all call ``preprocess_view``.

The eight steps of the thesis are: view selection, 8-bit transformation, background removal, region of interest, noise
reduction, binarisation and mask, edge coordinates and line fit, replacement by the mean grey level. Method ``auto``
replaces steps 4 to 7 (see ``auto_method`` and ``network``).

The result depends only on the arguments, so it is byte for byte the same on every machine.
"""

from __future__ import annotations

from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from components.preprocessing.auto_method import find_edge_auto
from components.preprocessing.chest_wall import orient_chest_wall_left, standard_wall_is_left
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.geometry import to_square
from components.preprocessing.grey_levels import WorkingPicture, to_eight_bit
from components.preprocessing.muscle_edge import (
    BreastBox,
    MuscleEdge,
    cut_breast_box,
    draw_muscle,
    to_full_picture,
)
from components.preprocessing.network import SHIPPED, Weights
from components.preprocessing.preprocessed_view import EdgeMeasurements, PreprocessedView, PreprocessError
from components.preprocessing.thesis_method import find_edge_thesis
from schema.features import VIEWS, is_mlo

_MIN_SIDE = 32  # pixels; smaller pictures show no structures
_EDGE_POINTS = 24  # kept in the measurements
_NO_POINTS = np.empty((0, 2))
_LABEL_DOUBT = 0.9  # for every view: the rest of a film label could name a patient
LABEL_CUT = "a film label touched the breast and was cut off, look whether all of it is gone"
_CRANIOCAUDAL, _SWITCHED_OFF = "craniocaudal view", "segmentation is off (method none)"
EXPECTED_REASONS: Final = frozenset({_CRANIOCAUDAL, _SWITCHED_OFF})  # why no muscle was looked for; nothing to look at
_MANUAL = MuscleEdge("manual", _NO_POINTS, 0.0, reasons=("a person outlined the muscle",))


def _checked(pixels: NDArray[Any], view: str) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if view not in VIEWS:
        raise PreprocessError(f"View must be one of {', '.join(VIEWS)}. Received: view={view!r}")
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16) or pixels.size == 0:
        raise PreprocessError(
            "Pixels must be a grey picture [H, W] of uint8 or uint16 that is not empty; convert it first. "
            f"Received: shape={pixels.shape}, dtype={pixels.dtype}"
        )
    return pixels


def _failed(shape: tuple[int, int], config: PreprocessConfig, reason: str) -> PreprocessedView:
    nothing = np.zeros(shape, np.bool_)
    image = np.zeros((config.output_size, config.output_size), np.uint8)
    return PreprocessedView(image, nothing, nothing, "failed", 0.0, 0.0, 1.0, EdgeMeasurements(reasons=(reason,)))


def _find_edge(box: BreastBox, view: str, config: PreprocessConfig, weights: Weights) -> MuscleEdge:
    """Do steps 1 and 4 to 7: only oblique views show the muscle."""
    if is_mlo(view) and config.method != "none":
        return find_edge_auto(box, weights) if config.method == "auto" else find_edge_thesis(box)
    reason = _SWITCHED_OFF if is_mlo(view) else _CRANIOCAUDAL
    return MuscleEdge("not_applicable", _NO_POINTS, 0.0, reasons=(reason,))


def _resize_mask(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Resize a mask between working and full picture, with a smooth outline."""
    size = (shape[1], shape[0])
    return cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_LINEAR) > 0.5


def _grey_window(work: WorkingPicture, floor: float, tissue: NDArray[np.float32]) -> tuple[float, float]:
    """Return the grey levels of background and densest tissue in the input."""
    high = float(np.quantile(tissue, 0.998, method="nearest")) if tissue.size else 1.0
    return work.input_level(floor), work.input_level(max(high, floor + 1e-3))


def _check_manual(manual_mask: NDArray[np.bool_], shape: tuple[int, int], view: str) -> None:
    if manual_mask.shape != shape or manual_mask.dtype != np.bool_ or not is_mlo(view):
        raise PreprocessError(
            f"A manual mask must be bool with the picture's shape {shape}, of a mediolateral oblique view. "
            f"Received: shape={manual_mask.shape}, dtype={manual_mask.dtype}, view={view!r}"
        )


def preprocess_view(
    pixels: NDArray[Any],
    view: str,
    config: PreprocessConfig,
    manual_mask: NDArray[np.bool_] | None = None,
    weights: Weights = SHIPPED,
) -> PreprocessedView:
    """Preprocess one view.

    Args:
        pixels: uint8 or uint16 [H, W], grey, bright = dense. Read only.
        view: One of ``schema.features.VIEWS``; determines the standard side and whether the muscle is segmented.
        config: Method and geometry of the result.
        manual_mask: bool [H, W], the muscle as a person drew it, oriented like ``pixels``; all False for no muscle. It
            replaces the result of the method, and the status is ``manual``.
        weights: Network of method ``auto``; benchmarks use networks that are not shipped.

    Returns:
        The preprocessed view. The status is ``failed`` if the picture is too small or has no breast.

    Raises:
        PreprocessError: Pixels, view or manual mask are not valid.
        WeightsError: The file of weights is missing or changed.

    Examples:
        >>> import numpy as np
        >>> breast = np.zeros((128, 96), np.uint8)
        >>> breast[20:108, :60] = 120
        >>> view = preprocess_view(breast, "CC_L", PreprocessConfig(output_size=64))
        >>> view.image.shape, view.status
        ((64, 64), 'not_applicable')
    """
    pixels = _checked(pixels, view)
    shape = (pixels.shape[0], pixels.shape[1])
    if manual_mask is not None:
        _check_manual(manual_mask, shape, view)
    if min(shape) < _MIN_SIDE:
        return _failed(shape, config, f"the picture is smaller than {_MIN_SIDE} pixels")
    oriented = orient_chest_wall_left(pixels, view)
    pixels, mirrored, work, foreground = oriented.pixels, oriented.mirrored, oriented.work, oriented.foreground
    if foreground.reason:
        return _failed(shape, config, foreground.reason)

    work_shape = (work.grey.shape[0], work.grey.shape[1])
    box = cut_breast_box(work.grey, foreground.mask)
    edge = _MANUAL if manual_mask is not None else _find_edge(box, view, config, weights)
    breast = _resize_mask(foreground.mask, shape)
    muscle = np.zeros(shape, np.bool_)
    if edge.status == "removed":
        muscle = draw_muscle(edge.points, box, work_shape, shape) & breast
    if manual_mask is not None:
        muscle = (manual_mask[:, ::-1] if mirrored else manual_mask) & breast

    small_muscle = _resize_mask(muscle, work_shape)
    low, high = _grey_window(work, foreground.floor, work.grey[foreground.mask & ~small_muscle])
    image = to_eight_bit(pixels, low, high)
    image[~breast] = 0
    mean_grey = -1
    if edge.status == "removed" or muscle.any():
        mean_grey = round(float(image[breast & ~muscle].mean())) if (breast & ~muscle).any() else 0
        image[muscle] = mean_grey
    standard_left = standard_wall_is_left(view)
    square, input_pixels_per_pixel = to_square(image, breast, standard_left, config)

    kept = np.linspace(0, len(edge.points) - 1, min(_EDGE_POINTS, len(edge.points))).astype(int)
    points = to_full_picture(edge.points[kept], box, work_shape, shape)
    if mirrored:
        points[:, 0] = shape[1] - 1 - points[:, 0]
    back = np.s_[:, ::-1] if mirrored else np.s_[:, :]
    return PreprocessedView(
        image=square,
        pectoral_mask=np.ascontiguousarray(muscle[back]),
        breast_mask=np.ascontiguousarray(breast[back]),
        status=edge.status,
        pectoral_area_fraction=float(muscle.sum() / max(1, breast.sum())),
        breast_area_fraction=float(breast.mean()),
        doubt=max(edge.doubt, _LABEL_DOUBT) if foreground.label_cut else edge.doubt,
        measurements=EdgeMeasurements(
            flipped=mirrored == standard_left,
            line_angle_deg=edge.angle_deg,
            fit_residual=edge.fit_residual,
            contrast=edge.contrast,
            agreement=edge.agreement,
            mean_grey=mean_grey,
            edge_points=tuple((round(float(x), 1), round(float(y), 1)) for x, y in points),
            reasons=(*edge.reasons, LABEL_CUT) if foreground.label_cut else edge.reasons,
        ),
        input_pixels_per_pixel=input_pixels_per_pixel,
    )
