from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_windowing

from components.dicom_example_gen.greyscale import grey_table, stored_range, to_grey, window_fraction


def header(**tags: Any) -> Dataset:
    result = Dataset()
    for keyword, value in ({"PhotometricInterpretation": "MONOCHROME2", "BitsStored": 12} | tags).items():
        setattr(result, keyword, value)
    return result


FULL = np.rint(np.arange(4096) / 4095 * 65535)


@given(
    st.integers(-500, 5000),
    st.integers(2, 6000),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
)
def test_window_is_that_of_pydicom(centre: int, width: int, function: str) -> None:
    stored = np.arange(4096)
    tags = header(WindowCenter=centre, WindowWidth=width, VOILUTFunction=function, PixelRepresentation=0)
    expected = apply_windowing(stored, tags) / 4095
    np.testing.assert_allclose(window_fraction(stored * 1.0, centre, width, function), expected, atol=1e-9)


def test_the_first_window_counts() -> None:
    table = grey_table(header(WindowCenter=["1000", "3000"], WindowWidth=["501", "10"]), 12, False)
    assert table[749] == 0
    assert table[999] < 32768 < table[1000]  # the centre of LINEAR lies between the two
    assert table[1250] == 65535


@pytest.mark.parametrize(
    "window",
    [
        {},
        {"WindowCenter": "2000"},
        {"WindowCenter": "2000", "WindowWidth": "0"},
        {"WindowCenter": "2000", "WindowWidth": "-5"},
        {"WindowCenter": "2000", "WindowWidth": "0.5"},
        {"WindowCenter": "90000", "WindowWidth": "100"},
    ],
)
def test_without_a_usable_window_the_stored_range_counts(window: dict[str, str]) -> None:
    np.testing.assert_array_equal(grey_table(header(**window), 12, False), FULL)


def test_windows_that_are_no_numbers_are_ignored() -> None:
    for junk in (b"NaN ", b"inf ", b"wide", b""):
        tags = header(WindowCenter="2000")
        tags.add_new("WindowWidth", "DS", None)
        tags[("WindowWidth")]._value = junk.decode()
        np.testing.assert_array_equal(grey_table(tags, 12, False), FULL)


def test_step_window_of_width_one() -> None:
    table = grey_table(header(WindowCenter="100", WindowWidth="1"), 12, False)
    assert (table[99], table[100]) == (0, 65535)


def test_rescale_moves_window_and_range_alike() -> None:
    plain = grey_table(header(WindowCenter="1000", WindowWidth="500"), 12, False)
    moved = header(WindowCenter="1900", WindowWidth="999", RescaleSlope="2", RescaleIntercept="-100")
    assert np.abs(grey_table(moved, 12, False).astype(int) - plain).max() < 150
    no_window = header(RescaleSlope="2", RescaleIntercept="-100")
    np.testing.assert_array_equal(grey_table(no_window, 12, False), FULL)


def test_negative_slope_inverts_once() -> None:
    np.testing.assert_array_equal(grey_table(header(RescaleSlope="-1"), 12, False), FULL[::-1])


def test_signed_values() -> None:
    assert stored_range(12, True) == (-2048, 2047)
    image = np.array([[-2048, 0, 2047]], np.int16)
    grey = to_grey(image, header(PixelRepresentation=1), 12, True)
    np.testing.assert_array_equal(grey, [[0, 32776, 65535]])


def lut(first: int, values: list[int], bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(values), first, bits])
    item.add_new("LUTData", "US", values)
    return item


def test_voi_lut_wins_over_the_window() -> None:
    inverse = [4095 - v for v in range(4096)]
    tags = header(WindowCenter="5", WindowWidth="2", VOILUTSequence=[lut(0, inverse, 12)])
    np.testing.assert_array_equal(grey_table(tags, 12, False), FULL[::-1])


def test_modality_lut() -> None:
    tags = header(ModalityLUTSequence=[lut(0, [v // 2 for v in range(4096)], 12)])
    np.testing.assert_array_equal(grey_table(tags, 12, False), np.rint((np.arange(4096) // 2) / 4095 * 65535))


def test_padding_is_black_and_excess_is_clipped() -> None:
    image = np.array([[4095, 4094, 9000]], np.uint16)
    tags = header()
    tags.add_new("PixelPaddingValue", "US", 4095)
    grey = to_grey(image, tags, 12, False)
    assert grey[0, 0] == 0
    assert grey[0, 1] == 65519
    inverted = header(PhotometricInterpretation="MONOCHROME1")
    inverted.add_new("PixelPaddingValue", "US", 0)
    assert to_grey(np.zeros((1, 1), np.uint16), inverted, 12, False)[0, 0] == 0
