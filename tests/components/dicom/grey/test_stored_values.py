"""Unused bits, samples in the high bits, and padding, with headers that were read from a file."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID

from components.dicom.grey.stored_values import Cells, cells_of
from components.dicom.rejections import IngestError, RejectionReason
from components.dicom.remarks import Remark
from tests.components.dicom.dicom_files import reread


def header(bits: int = 12, signed: bool = False, **tags: Any) -> Dataset:
    result = Dataset()
    for keyword, value in ({"BitsStored": bits, "PixelRepresentation": int(signed)} | tags).items():
        setattr(result, keyword, value)
    return result


def with_padding(value: int, limit: int | None = None, vr: str = "US", **tags: Any) -> Dataset:
    result = header(**tags)
    result.add_new("PixelPaddingValue", vr, value)
    if limit is not None:
        result.add_new("PixelPaddingRangeLimit", vr, limit)
    return result


def meaning(pixels: np.ndarray, tags: Dataset, syntax: UID, shift: int = 0) -> Cells:
    return cells_of(pixels, reread(tags, syntax), shift, "a.dcm")


def values(pixels: np.ndarray, tags: Dataset, syntax: UID, shift: int = 0) -> list[int]:
    cells = pixels.view(pixels.dtype.str.replace("i", "u")).astype(int).ravel()
    found: list[int] = meaning(pixels, tags, syntax, shift).values[cells].tolist()
    return found


def padded(pixels: list[int], tags: Dataset, syntax: UID, shift: int = 0) -> list[bool]:
    image = np.array([pixels])
    image = image.astype(np.int16 if tags.PixelRepresentation else np.uint16)
    found: list[bool] = meaning(image, tags, syntax, shift).padding[image.view(np.uint16)][0].tolist()
    return found


def breast(top: int, rows: int = 144, columns: int = 120) -> np.ndarray:
    """Return a smooth bright half ellipse with some texture on black: int [rows, columns], 0 to ``top``."""
    y, x = np.mgrid[:rows, :columns]
    radius = np.sqrt(((y - rows / 2) / (rows * 0.45)) ** 2 + (x / (columns * 0.8)) ** 2)
    noise = cv2.GaussianBlur(np.random.default_rng(5).normal(0, 1, (rows, columns)), (0, 0), 3)
    smooth: np.ndarray = np.clip(1.2 - radius + 0.15 * noise / noise.std(), 0, 1) ** 0.6 * (radius < 1)
    return np.rint(smooth / smooth.max() * top).astype(int)


def annotation(shape: tuple[int, ...]) -> np.ndarray:
    drawn = np.zeros(shape, np.uint8)
    cv2.circle(drawn, (shape[1] // 3, shape[0] // 2), shape[0] // 6, (1,), 3)
    cv2.putText(drawn, "MLO", (10, shape[0] // 4), cv2.FONT_HERSHEY_SIMPLEX, 1, (1,), 2)
    return drawn.astype(int)


def junk_of(kind: str, stored: np.ndarray) -> np.ndarray:
    random = np.random.default_rng(3)
    if kind.startswith("overlay"):
        return annotation(stored.shape) << int(kind[7:])
    return {
        "random bits": random.integers(0, 16, stored.shape) << 12,
        "one random bit": random.integers(0, 2, stored.shape) << 12,
        "all set": np.full(stored.shape, 0xF000),
        "sign of bit 11": np.where(stored & 0x0800, 0xF000, 0),
        "sign of bit 10": np.where(stored & 0x0400, 0xF000, 0),
        "all set outside": np.where(stored == 0, 0xF000, 0),
    }[kind]


KINDS = (
    "overlay12",
    "overlay15",
    "random bits",
    "one random bit",
    "all set",
    "sign of bit 11",
    "sign of bit 10",
    "all set outside",
)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_what_the_unused_bits_hold_does_not_count(kind: str, signed: bool, syntax: UID) -> None:
    stored = breast(4095) - 2048 * signed
    cells = (stored & 0x0FFF | junk_of(kind, stored)).astype(np.uint16)
    found = values(cells.view(np.int16) if signed else cells, header(signed=signed), syntax)
    np.testing.assert_array_equal(np.reshape(found, stored.shape), stored)


@pytest.mark.parametrize("kind", KINDS)
def test_junk_is_told_and_plain_pixels_are_not(kind: str, syntax: UID) -> None:
    stored = breast(4095)
    cells = (stored | junk_of(kind, stored)).astype(np.uint16)
    assert meaning(cells, header(), syntax).remarks == (Remark.UNUSED_BITS_SET,)
    assert meaning(cells.astype(">u2"), header(), syntax).remarks == (Remark.UNUSED_BITS_SET,)
    assert meaning(stored.astype(np.uint16), header(), syntax).remarks == ()
    signed = (stored - 2048).astype(np.int16)
    assert meaning(signed, header(signed=True), syntax).remarks == ()


@pytest.mark.parametrize("rows", [144, 600])
@pytest.mark.parametrize(("bits", "top"), [(12, 16383), (12, 8191), (12, 65535), (10, 4095), (14, 65535), (12, 6000)])
def test_values_for_which_bits_stored_is_too_small_are_refused(bits: int, top: int, rows: int, syntax: UID) -> None:
    with pytest.raises(IngestError, match=f"Bits Stored .* is {bits}; the pixels have values from 0 to {top}") as error:
        meaning(breast(top, rows, rows - 24).astype(np.uint16), header(bits), syntax)
    assert error.value.reason is RejectionReason.MALFORMED_HEADER


def test_signed_pixels_that_are_unsigned_are_refused(syntax: UID) -> None:
    with pytest.raises(IngestError, match="Bits Stored"):
        meaning(breast(4095).astype(np.int16), header(signed=True), syntax)


def test_single_pixels_beyond_bits_stored_are_the_brightest_and_told(syntax: UID) -> None:
    image = np.minimum(breast(4200), 4095).astype(np.uint16)
    image[60, 20:24] = [4096, 4097, 4300, 4095]
    cells = meaning(image, header(), syntax)
    assert cells.values[[4096, 4097, 4300, 4095]].tolist() == [4095] * 4
    assert cells.remarks == (Remark.VALUES_BEYOND_BITS_STORED,)


def test_values_hardly_beyond_bits_stored_are_the_brightest_and_told(syntax: UID) -> None:
    """As lossy compression leaves them."""
    cells = meaning(breast(4200).astype(np.uint16), header(), syntax)
    assert cells.values[[4094, 4095, 4200]].tolist() == [4094, 4095, 4095]
    assert cells.remarks == (Remark.VALUES_BEYOND_BITS_STORED,)


def test_a_declared_overlay_is_no_part_of_the_value_and_not_told(syntax: UID) -> None:
    image = np.array([[5, 4095 | 1 << 12, 7 | 15 << 12]], np.uint16)
    tags = header()
    tags.add_new(0x60020102, "US", 12)  # Overlay Bit Position of the second overlay
    assert values(image, tags, syntax) == [5, 4095, 7]
    assert meaning(image, tags, syntax).remarks == ()


def test_samples_in_the_high_bits(syntax: UID) -> None:
    """High Bit 15 with 12 bits stored: the four lowest bits are unused, here with an overlay in one."""
    image = np.array([[0, 1, 4095]], np.uint16)
    assert values(image << 4 | 1, header(), syntax, shift=4) == [0, 1, 4095]
    signed = np.array([[-2048, 0, 2047]], np.int16)
    assert values(signed << 4, header(signed=True), syntax, shift=4) == [-2048, 0, 2047]


def test_samples_in_the_middle_bits(syntax: UID) -> None:
    """High Bit 13 with 12 bits stored: two unused bits on either side."""
    stored = breast(4095)
    cells = (stored << 2 | 3 | annotation(stored.shape) << 15).astype(np.uint16)
    found = values(cells, header(), syntax, shift=2)
    np.testing.assert_array_equal(np.reshape(found, stored.shape), stored)


def test_padding_of_a_value(syntax: UID) -> None:
    assert padded([4095, 4094], with_padding(4095), syntax) == [True, False]
    assert padded([0, 1], with_padding(0), syntax) == [True, False]


@pytest.mark.parametrize("ends", [(100, 200), (200, 100)])
def test_padding_of_a_range(ends: tuple[int, int], syntax: UID) -> None:
    expected = [False, True, True, True, False]
    assert padded([99, 100, 150, 200, 201], with_padding(*ends), syntax) == expected


@pytest.mark.parametrize(
    ("declared", "vr"),
    [(63488, "US"), (-2048, "SS"), (2048, "US")],
    ids=["sign in all bits", "signed", "stored bits alone"],
)
def test_padding_of_signed_pixels_however_it_is_declared(declared: int, vr: str, syntax: UID) -> None:
    """The lowest of 12 bits, in cells with its sign in the bits above and in cells without."""
    assert padded([-2048, 0x0800, -2047, 0], with_padding(declared, vr=vr, signed=True), syntax) == [
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(("declared", "vr"), [(63536, "US"), (-2000, "SS")])
def test_padding_beyond_the_stored_bits_is_the_whole_cell(declared: int, vr: str, syntax: UID) -> None:
    """And no tissue whose stored bits are those of the padding."""
    assert padded([63536, 63536 & 4095, 4095], with_padding(declared, vr=vr), syntax) == [True, False, False]


def test_padding_beyond_the_stored_bits_is_no_vote_for_values(syntax: UID) -> None:
    image = breast(4095)
    image[:, 100:] = 65535
    cells = meaning(image.astype(np.uint16), with_padding(65535), syntax)
    assert cells.padding[65535]
    assert not cells.padding[4095]
    assert cells.remarks == ()


def test_padding_written_with_the_unused_bits_set(syntax: UID) -> None:
    assert padded([0xF000, 0xF001, 0x1000], with_padding(0), syntax) == [True, False, True]


def test_padding_counts_in_stored_values_where_samples_are_in_the_high_bits(syntax: UID) -> None:
    assert padded([16 << 4, 16, 17 << 4], with_padding(16), syntax, shift=4) == [True, False, False]
