"""How each acquisition system shows tissue: grey scale, bits, window, noise, and what lies beside the breast.

None of the grey scales is that of a manufacturer. They only differ in a similar way, so that brightness alone
identifies the system rather than the class.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.phantom.texture import add_fine_detail

Image = NDArray[np.float32]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Appearance:
    """Grey scale and file traits of one system, in the order of ``REFERENCE_SYSTEMS``.

    Attributes:
        model_name: Manufacturer's Model Name (0008,1090) as the machine writes it.
        software_versions: Software Versions (0018,1020) as the machine writes it.
        bits_stored: Bits Stored (0028,0101).
        inverted: MONOCHROME1, stored values inverted.
        jpeg_ls: Lossless JPEG-LS instead of uncompressed.
        floor: Grey of no tissue within the breast, share of full scale.
        span: Grey between no tissue and brightest tissue, share of full scale.
        gamma: Exponent of the grey scale.
        contrast: Slope of the S-shaped curve, 0 for none.
        exposure_control: Share of the breast's mean brightness that is evened out, as automatic exposure
            control and presentation processing do.
        noise: Standard deviation of the detector noise, share of full scale.
        air: Grey of the background, share of full scale.
        window: Lower and upper end of the standard display window, share of full scale.
        sigmoid_window: VOI LUT Function (0028,1056) SIGMOID instead of LINEAR.
        marker_grey: Grey of the burned-in view marker, share of full scale.
    """

    model_name: str
    software_versions: str
    bits_stored: int
    inverted: bool
    jpeg_ls: bool
    floor: float
    span: float
    gamma: float
    contrast: float
    exposure_control: float
    noise: float
    air: float
    window: tuple[float, float]
    sigmoid_window: bool
    marker_grey: float


# The reference names no software version of IMS and Hologic; these two are made up after their style.
APPEARANCES: Final = (
    Appearance(
        model_name="GIOTTO IMAGE SDL",
        software_versions="4.3.1",
        bits_stored=13,
        inverted=True,
        jpeg_ls=True,
        floor=0.05,
        span=0.62,
        gamma=1.25,
        contrast=0.0,
        exposure_control=0.75,
        noise=0.006,
        air=0.015,
        window=(0.0, 0.80),
        sigmoid_window=False,
        marker_grey=0.90,
    ),
    Appearance(
        model_name="Selenia Dimensions",
        software_versions="AWS:1.8.3.63",
        bits_stored=12,
        inverted=False,
        jpeg_ls=True,
        floor=0.12,
        span=0.80,
        gamma=0.80,
        contrast=5.0,
        exposure_control=0.85,
        noise=0.005,
        air=0.0,
        window=(0.0, 1.0),
        sigmoid_window=True,
        marker_grey=1.0,
    ),
    Appearance(
        model_name="Senographe DS",
        software_versions="ADS_54.11",
        bits_stored=14,
        inverted=False,
        jpeg_ls=False,
        floor=0.02,
        span=0.42,
        gamma=1.0,
        contrast=3.5,
        exposure_control=0.65,
        noise=0.0035,
        air=0.0,
        window=(0.0, 0.50),
        sigmoid_window=False,
        marker_grey=0.75,
    ),
    Appearance(
        model_name="Senographe DS",
        software_versions="ADS_53.40",
        bits_stored=12,
        inverted=False,
        jpeg_ls=False,
        floor=0.20,
        span=0.66,
        gamma=0.70,
        contrast=0.0,
        exposure_control=0.70,
        noise=0.007,
        air=0.01,
        window=(0.05, 1.0),
        sigmoid_window=True,
        marker_grey=1.0,
    ),
)


@dataclass(frozen=True)
class Exposure:
    """What varies from exam to exam within a system.

    Attributes:
        offset: Added to the tissue scale.
        gain: Multiplies the tissue scale about its middle.
    """

    offset: float
    gain: float


def draw_exposure(rng: np.random.Generator) -> Exposure:
    """Draw the exposure of an exam."""
    return Exposure(offset=float(rng.normal(0.0, 0.045)), gain=float(np.exp(rng.normal(0.0, 0.10))))


_MIDDLE: Final = 0.50  # tissue brightness that exposure control aims at


def grey_scale(signal: Image, mean: float, appearance: Appearance, exposure: Exposure) -> Image:
    """Map tissue brightness to a system's grey, without noise and background.

    Args:
        signal: float32 of any shape, tissue scale.
        mean: Mean of the signal over the breast without muscle, which exposure control evens out.
        appearance: The system.
        exposure: The exam's exposure.

    Returns:
        float32 of the same shape, share of full scale, 0..1.
    """
    shift = appearance.exposure_control * (_MIDDLE - mean) + exposure.offset
    value = (signal - np.float32(_MIDDLE - shift)) * np.float32(exposure.gain) + np.float32(_MIDDLE)
    value = np.clip(value / np.float32(1.05), 0.0, 1.0)
    if appearance.contrast > 0:
        low = float(1.0 / (1.0 + np.exp(0.5 * appearance.contrast)))
        value = 1.0 / (1.0 + np.exp(np.float32(-appearance.contrast) * (value - np.float32(0.5))))
        # The curve runs from low to 1 - low; rounding must not leave a negative base for the power.
        value = np.clip((value - np.float32(low)) / np.float32(1.0 - 2.0 * low), 0.0, 1.0)
    value = appearance.floor + appearance.span * np.power(value, np.float32(appearance.gamma))
    return np.asarray(value, dtype=np.float32)


def _marker_patch(text: str, height: int, angle: float) -> NDArray[np.uint8]:
    """Draw text as 0..255, ``height`` pixels tall, rotated by ``angle`` degrees."""
    font, drawn_at = cv2.FONT_HERSHEY_DUPLEX, 3.0
    (width, tall), base = cv2.getTextSize(text, font, drawn_at, 7)
    rows, columns = tall + base + 20, width + 20
    canvas: NDArray[np.uint8] = np.zeros((rows, columns), dtype=np.uint8)
    cv2.putText(canvas, text, (10, tall + 10), font, drawn_at, (255,), 7, cv2.LINE_AA)
    scale = height / rows
    size = max(8, int(math.hypot(rows, columns) * scale) + 2)
    turn = np.asarray(cv2.getRotationMatrix2D((columns / 2, rows / 2), angle, scale), dtype=np.float64)
    turn[:, 2] += (size - columns) / 2, (size - rows) / 2
    small = np.asarray(cv2.warpAffine(canvas, turn, (size, size), flags=cv2.INTER_AREA), dtype=np.uint8)
    drawn = np.nonzero(small > 20)
    return small[drawn[0].min() : drawn[0].max() + 1, drawn[1].min() : drawn[1].max() + 1]


def add_marker(image: Image, breast: Mask, view: str, grey: float, rng: np.random.Generator) -> None:
    """Burn the view's marker into the background, away from the breast; omit it if there is no space.

    Args:
        image: float32, chest wall at the left edge for left and at the right edge for right breasts; changed.
        breast: bool, same shape.
        view: One of ``schema.features.VIEWS``.
        grey: Grey of the marker.
        rng: Random numbers of the view.
    """
    projection, side = view.split("_")
    text = f"{side} {projection}" if rng.uniform() < 0.5 else f"{side}{projection}"
    rows, columns = image.shape
    angle = float(rng.choice([0.0, 90.0, rng.uniform(-50.0, 50.0)]))
    patch = _marker_patch(text, int(rows * rng.uniform(0.028, 0.045)), angle)
    top = int(rows * rng.uniform(0.03, 0.09))
    inset = int(columns * rng.uniform(0.02, 0.06))
    left = inset if side == "R" else columns - inset - patch.shape[1]
    for row in (top, rows - top - patch.shape[0]):
        area = np.s_[row : row + patch.shape[0], left : left + patch.shape[1]]
        if left >= 0 and not breast[area].any():
            image[area] = np.maximum(image[area], patch * np.float32(grey / 255.0))
            return


def add_background(image: Image, side: str, appearance: Appearance, rng: np.random.Generator) -> None:
    """Add collimator edges and the faint line of the compression paddle.

    Args:
        image: float32, changed.
        side: ``R`` or ``L``; the chest wall edge is never collimated.
        appearance: The system.
        rng: Random numbers of the view.
    """
    rows = image.shape[0]
    if rng.uniform() < 0.5:
        row = int(rows * rng.uniform(0.03, 0.97))
        thick = max(1, rows // 700)
        image[row : row + thick] += np.float32(rng.uniform(0.006, 0.02))
    if rng.uniform() < 0.45:
        grey = np.float32(appearance.marker_grey if rng.uniform() < 0.5 else appearance.air + 0.06)
        band = max(1, int(rows * rng.uniform(0.003, 0.015)))
        edges = rng.uniform(size=3) < 0.6
        if edges[0]:
            image[:band] = grey
        if edges[1]:
            image[-band:] = grey
        if edges[2]:
            image[:, slice(-band, None) if side == "L" else slice(None, band)] = grey


def expose(
    signal: Image,
    masks: tuple[Mask, Mask],
    view: str,
    appearance: Appearance,
    exposure: Exposure,
    rng: np.random.Generator,
) -> NDArray[np.uint16]:
    """Convert tissue into the stored pixels of a system.

    Args:
        signal: float32, tissue scale on the working grid, drawn as a left breast.
        masks: Breast (with muscle) and muscle, bool, at the size of the matrix, drawn as a left breast.
        view: One of ``schema.features.VIEWS``.
        appearance: The system.
        exposure: The exam's exposure.
        rng: Random numbers of the view.

    Returns:
        uint16 at the size of the matrix, mirrored for right breasts, inverted for MONOCHROME1.
    """
    breast, muscle = masks
    side = view[-1]
    rows, columns = breast.shape
    detailed = add_fine_detail(rng, signal, (rows, columns), 0.012)
    mean = float(detailed[breast & ~muscle].mean())
    image = np.full((rows, columns), appearance.air, dtype=np.float32)
    image[breast] = grey_scale(detailed[breast], mean, appearance, exposure)
    if side == "R":
        image, breast = np.ascontiguousarray(image[:, ::-1]), breast[:, ::-1]
    # One noise for all: quanta fall on the background too, and air that is exactly 0 is what clips it.
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise *= np.where(breast, np.float32(appearance.noise), np.float32(min(appearance.noise, appearance.air)))
    image += noise
    add_background(image, side, appearance, rng)
    add_marker(image, breast, view, appearance.marker_grey, rng)
    full_scale = (1 << appearance.bits_stored) - 1
    stored = np.clip(image * np.float32(full_scale) + 0.5, 0, full_scale).astype(np.uint16)
    return np.asarray(full_scale - stored if appearance.inverted else stored, dtype=np.uint16)
