"""Mammographic texture: power-law noise, fibre networks, muscle striae.

Mammograms have a power spectrum close to 1/f^3 (Burgess, Jacobson, Judy, "Human observer detection
experiments with mammograms and power-law noise", Med. Phys. 28, 2001).
Fields are float32 with mean 0 and variance 1.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import fft

Field = NDArray[np.float32]


def power_law_pair(
    rng: np.random.Generator, shape: tuple[int, int], beta: float, low_cut: float = 0.0
) -> tuple[Field, Field]:
    """Make two independent periodic noise fields whose power falls as 1/f^beta.

    Args:
        rng: Source of randomness.
        shape: Rows and columns.
        beta: Exponent of the power spectrum; mammograms have about 3.
        low_cut: Cycles per field (its longer side) under which the spectrum is flat instead of rising.

    Returns:
        Two float32 fields of ``shape``, mean 0, variance 1: the real and the imaginary part of one transform.
    """
    longest = max(shape)
    fy = fft.fftfreq(shape[0], 1.0 / longest).astype(np.float32)[:, None]
    fx = fft.fftfreq(shape[1], 1.0 / longest).astype(np.float32)[None, :]
    power = fx * fx + fy * fy
    np.maximum(power, max(low_cut, 1.0) ** 2, out=power)
    amplitude = np.exp(np.log(power) * np.float32(-beta / 4.0))
    amplitude[0, 0] = 0.0
    spectrum = np.empty(shape, dtype=np.complex64)
    spectrum.real = rng.standard_normal(shape, dtype=np.float32)
    spectrum.imag = rng.standard_normal(shape, dtype=np.float32)
    noise = fft.ifft2(spectrum * amplitude, overwrite_x=True)
    return _standard(noise.real), _standard(noise.imag)


def _standard(values: NDArray[np.float32]) -> Field:
    values = values - values.mean()
    return np.asarray(values / values.std(), dtype=np.float32)


def radiate(field: Field, centre: tuple[float, float], spacing_mm: float, stretch: float) -> Field:
    """Bend a periodic field so that its structures run towards a point, as ducts do towards the nipple.

    The field is read in polar coordinates, ``stretch`` times slower along the radius than across it.

    Args:
        field: float32 [rows, columns], periodic.
        centre: Column and row the structures run to, pixels.
        spacing_mm: Pixel spacing, mm.
        stretch: Length of the structures over their width at about 50 mm from the centre.

    Returns:
        float32 of the shape of ``field``.
    """
    rows, columns = field.shape
    x = (np.arange(columns, dtype=np.float32) - np.float32(centre[0]))[None, :]
    y = (np.arange(rows, dtype=np.float32) - np.float32(centre[1]))[:, None]
    radius, angle = cv2.cartToPolar(x + np.zeros_like(y), y + np.zeros_like(x))
    # A full turn takes one period of the field, so there is no seam. At 50 mm a radian is 50 mm long.
    map_y = angle * np.float32(rows / (2 * np.pi))
    map_x = radius * np.float32(spacing_mm * rows / (2 * np.pi) / 50.0 / stretch)
    return np.asarray(cv2.remap(field, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), dtype=np.float32)


def fibre_network(curves: Field, strength: Field, width: float) -> Field:
    """Draw thin bright strands: the zero lines of a noise field form a network of curves.

    Args:
        curves: Field whose zero lines are drawn, standard deviation 1.
        strength: Field that is high where strands are strong, standard deviation 1.
        width: Width of the strands in standard deviations of ``curves``.

    Returns:
        float32 of the shape of ``curves``, 0 (none) to 1 (on a strand).
    """
    lines = np.exp(-np.square(cv2.GaussianBlur(curves, (0, 0), 1.3) / np.float32(width)))
    envelope = cv2.GaussianBlur(strength, (0, 0), 5.0)
    return np.asarray(lines * np.clip(0.45 + 0.5 * envelope, 0.0, 1.0), dtype=np.float32)


def muscle_striae(rng: np.random.Generator, warp: Field, direction: float, spacing_mm: float) -> Field:
    """Make the streaks of muscle fibres along a direction.

    Args:
        rng: Source of randomness.
        warp: Noise that bends the fibres.
        direction: Angle of the fibres from the vertical, radians.
        spacing_mm: Pixel spacing, mm.

    Returns:
        float32 of the shape of ``warp``, mean about 0, standard deviation about 1.
    """
    rows, columns = warp.shape
    x = np.arange(columns, dtype=np.float32)[None, :]
    y = np.arange(rows, dtype=np.float32)[:, None]
    across_mm = (x * np.cos(direction) + y * np.sin(direction)) * spacing_mm + warp * 3.0
    profile = cv2.GaussianBlur(rng.standard_normal((1, 400), dtype=np.float32), (0, 0), 1.2)[0]
    profile = (profile - profile.mean()) / profile.std()
    waves: NDArray[np.float32] = np.interp(across_mm / 1.6, np.arange(400), profile, period=400).astype(np.float32)
    return waves


def add_fine_detail(rng: np.random.Generator, field: Field, shape: tuple[int, int], share: float) -> Field:
    """Enlarge a field and continue its 1/f^3 spectrum in the octaves that the small grid could not hold.

    Args:
        rng: Source of randomness.
        field: The field on the working grid.
        shape: Rows and columns wanted.
        share: Standard deviation of the first missing octave; each further one has 1/sqrt(2) of it, which
            is what 1/f^3 gives in two dimensions.

    Returns:
        float32 of ``shape``.
    """
    rows, columns = shape
    interpolation = cv2.INTER_AREA if rows < field.shape[0] else cv2.INTER_LINEAR
    result = np.asarray(cv2.resize(field, (columns, rows), interpolation=interpolation), dtype=np.float32)
    grid = (field.shape[0] * 2, field.shape[1] * 2)
    while grid[0] <= rows:
        octave = rng.standard_normal(grid, dtype=np.float32) * np.float32(share)
        result += cv2.resize(octave, (columns, rows), interpolation=cv2.INTER_LINEAR)
        grid, share = (grid[0] * 2, grid[1] * 2), share / np.sqrt(2.0)
    return result
