"""Pictures for people and for disk: overlays of what was found, PNG coding."""

from __future__ import annotations

from typing import Final, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from components.mammogram_preprocessor.grey import to_eight_bit
from components.mammogram_preprocessor.result import ImageDecodeError, PreprocessedView

_LONGEST: Final = 512
_BACKGROUND_BLUR: Final = 16.0  # pixels; letters of a film label are some 20 high
_BREAST_BGR: Final = (0, 200, 255)
_MUSCLE_BGR: Final = (60, 60, 255)


def encode_png(image: np.ndarray) -> bytes:
    """Encodes a grey or BGR picture as PNG, the same bytes for the same picture.

    Args:
        image: uint8 or uint16 [H, W], or uint8 [H, W, 3] in BGR order.

    Returns:
        The file's bytes.

    Raises:
        ValueError: OpenCV cannot encode the array.
    """
    try:
        done, data = cv2.imencode(".png", image, [cv2.IMWRITE_PNG_COMPRESSION, 4])
    except cv2.error as error:
        raise ValueError(
            f"The array is no picture that PNG can hold. Received: shape={image.shape}, dtype={image.dtype}"
        ) from error
    if not done:
        raise ValueError(f"PNG encoding failed. Received: shape={image.shape}, dtype={image.dtype}")
    return data.tobytes()


def decode_png(data: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Decodes a grey PNG.

    Args:
        data: The file's bytes; colour pictures are converted to grey.

    Returns:
        uint8 or uint16 [H, W], as stored.

    Raises:
        ImageDecodeError: The bytes are no readable picture.
    """
    buffer = np.frombuffer(data, np.uint8)
    flags = cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH
    try:
        image = cv2.imdecode(buffer, flags) if buffer.size else None
    except cv2.error:
        image = None
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise ImageDecodeError(
            f"The bytes are no readable PNG; write the picture again. Received: {len(data)} bytes, "
            f"starting with {data[:8]!r}"
        )
    return cast("NDArray[np.uint8] | NDArray[np.uint16]", image)


def _outline(picture: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> None:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, 1, cv2.LINE_AA)


def overlay_png(pixels: np.ndarray, result: PreprocessedView, *, hide_background: bool = False) -> bytes:
    """Draws what was found over the input.

    Args:
        pixels: uint8 or uint16 [H, W], the input of ``preprocess_view``.
        result: What it gave.
        hide_background: Blur all that is outside the breast, where film labels may name the patient.

    Returns:
        PNG bytes, colour, longest side at most 512 pixels: breast outlined in yellow, muscle tinted red.
    """
    height, width = pixels.shape
    scale = min(1.0, _LONGEST / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(pixels.dtype)
    low, high = np.quantile(small, (0.01, 0.995), method="nearest")
    picture = cv2.cvtColor(to_eight_bit(small, float(low), float(high)), cv2.COLOR_GRAY2BGR)
    breast, muscle = (
        cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
        for mask in (result.breast_mask, result.pectoral_mask)
    )
    if hide_background:
        blurred = cv2.GaussianBlur(picture, (0, 0), _BACKGROUND_BLUR)
        picture = np.where(breast[..., np.newaxis] > 0, picture, blurred)
    tint = np.array(_MUSCLE_BGR, np.float64)
    picture[muscle > 0] = (0.75 * picture[muscle > 0] + 0.25 * tint).astype(np.uint8)
    _outline(picture, breast, _BREAST_BGR)
    _outline(picture, muscle, _MUSCLE_BGR)
    return encode_png(picture)
