from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing

from components.dicom_example_gen.greyscale import grey_of_values, to_grey, window_fraction
from components.dicom_example_gen.stored_values import stored_range


def header(**tags: Any) -> Dataset:
    result = Dataset()
    known = {"PhotometricInterpretation": "MONOCHROME2", "BitsStored": 12, "PixelRepresentation": 0}
    for keyword, value in (known | tags).items():
        setattr(result, keyword, value)
    return result


def grey_table(tags: Dataset, bits: int, signed: bool, voi_index: int = 0) -> np.ndarray:
    """Grey of every stored value, from the lowest to the highest."""
    low, high = stored_range(bits, signed)
    return grey_of_values(np.arange(low, high + 1), tags, bits, signed, voi_index)


FULL = np.rint(np.arange(4096) / 4095 * 65535)


@settings(deadline=None)
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
    grey = to_grey(image, header(PixelRepresentation=1))
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


def with_padding(value: int, limit: int | None = None, vr: str = "US", **tags: Any) -> Dataset:
    result = header(**tags)
    result.add_new("PixelPaddingValue", vr, value)
    if limit is not None:
        result.add_new("PixelPaddingRangeLimit", vr, limit)
    return result


def test_padding_is_black() -> None:
    image = np.array([[4095, 4094]], np.uint16)
    np.testing.assert_array_equal(to_grey(image, with_padding(4095)), [[0, 65519]])
    inverted = with_padding(0, PhotometricInterpretation="MONOCHROME1")
    np.testing.assert_array_equal(to_grey(np.array([[0, 1]], np.uint16), inverted), [[0, 65519]])


@pytest.mark.parametrize("ends", [(100, 200), (200, 100)])
def test_padding_of_a_range(ends: tuple[int, int]) -> None:
    image = np.array([[99, 100, 150, 200, 201]], np.uint16)
    np.testing.assert_array_equal(to_grey(image, with_padding(*ends)) > 0, [[True, False, False, False, True]])


def test_padding_of_the_wrong_sign_or_beyond_the_stored_bits() -> None:
    signed = np.array([[-2000, -1999]], np.int16)
    tags = with_padding(63536, PixelRepresentation=1)
    assert (to_grey(signed, tags) > 0).tolist() == [[False, True]]
    assert (to_grey(signed, with_padding(-2000, vr="SS", PixelRepresentation=1)) > 0).tolist() == [[False, True]]
    beyond = np.array([[63536, 4095]], np.uint16)
    np.testing.assert_array_equal(to_grey(beyond, with_padding(63536)), [[0, 65535]])
    np.testing.assert_array_equal(to_grey(beyond, with_padding(-2000, vr="SS")), [[0, 65535]])


def test_values_beyond_the_stored_bits_are_the_brightest() -> None:
    image = np.array([[4095, 4096, 9000]], np.uint16)
    np.testing.assert_array_equal(to_grey(image, header()), 65535)


def test_an_overlay_in_the_high_bits_is_no_part_of_the_value() -> None:
    overlay = np.array([[5, 4095 | 1 << 12, 7 | 15 << 12]], np.uint16)
    tags = header()
    tags.add_new(0x60020102, "US", 12)  # Overlay Bit Position of the second overlay
    np.testing.assert_array_equal(to_grey(overlay, tags), FULL[[5, 4095, 7]][None])
    tags.add_new(0x60020102, "US", 0)  # an overlay with data of its own
    np.testing.assert_array_equal(to_grey(overlay, tags), FULL[[5, 4095, 4095]][None])


def test_unused_bits_of_signed_values_may_hold_anything() -> None:
    image = np.array([[-2000, -2000 & 0x0FFF, -2000 & 0x0FFF | 0x5000]], np.int16)
    assert len(set(to_grey(image, header(PixelRepresentation=1))[0])) == 1


def test_samples_in_the_high_bits() -> None:
    """High Bit 15 with 12 bits stored: the four lowest bits are unused, here with an overlay in one."""
    values = np.array([[0, 1, 4095]], np.uint16)
    np.testing.assert_array_equal(to_grey(values << 4 | 1, header(), shift=4), FULL[[0, 1, 4095]][None])
    signed = np.array([[-2048, 0, 2047]], np.int16)
    tags = header(PixelRepresentation=1)
    np.testing.assert_array_equal(to_grey(signed << 4, tags, shift=4), to_grey(signed, tags))


def test_either_byte_order_and_eight_bits() -> None:
    image = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    np.testing.assert_array_equal(to_grey(image.astype(">u2"), header()).ravel(), FULL)
    bytes_ = np.array([[-128, 0, 127]], np.int8)
    grey = to_grey(bytes_, header(BitsStored=8, PixelRepresentation=1))
    np.testing.assert_array_equal(grey, [[0, 128 * 257, 65535]])


def test_which_of_several_windows_and_luts() -> None:
    windows = header(WindowCenter=["1000", "3000"], WindowWidth=["500", "200"])
    second = grey_table(header(WindowCenter="3000", WindowWidth="200"), 12, False)
    first = grey_table(header(WindowCenter="1000", WindowWidth="500"), 12, False)
    np.testing.assert_array_equal(grey_table(windows, 12, False, voi_index=1), second)
    np.testing.assert_array_equal(grey_table(windows, 12, False, voi_index=2), first)  # there is no third
    luts = [lut(0, [4095 - v for v in range(4096)], 12), lut(0, [v // 2 for v in range(4096)], 12)]
    tags = header(VOILUTSequence=luts, WindowCenter=["1000", "3000"], WindowWidth=["500", "200"])
    np.testing.assert_array_equal(grey_table(tags, 12, False), FULL[::-1])
    np.testing.assert_array_equal(
        grey_table(tags, 12, False, voi_index=1), np.rint((np.arange(4096) // 2) / 4095 * 65535)
    )


@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE", None])
def test_photometric_interpretation_decides_and_inverts_once(shape: str | None) -> None:
    changes = {} if shape is None else {"PresentationLUTShape": shape}
    window = {"WindowCenter": "1000", "WindowWidth": "500"}
    upright = grey_table(header(**window, **changes), 12, False)
    inverted = grey_table(header(**window, **changes, PhotometricInterpretation="MONOCHROME1"), 12, False)
    assert (upright[0], upright[-1]) == (0, 65535)
    np.testing.assert_allclose(inverted.astype(int), 65535 - upright.astype(int), atol=1)


@st.composite
def grey_scales(draw: st.DrawFn) -> tuple[Dataset, int, bool]:
    """Headers with whatever of rescale, modality LUT, window and VOI LUT pydicom reads too."""
    bits, signed = draw(st.sampled_from([8, 10, 12, 14, 16])), draw(st.booleans())
    tags = header(BitsStored=bits, PixelRepresentation=int(signed), BitsAllocated=16)
    low, high = stored_range(bits, signed)
    kind = draw(st.sampled_from(["none", "window", "lut"]))
    # pydicom's LUTs cut where values are no integers, as they are after any rescale, and those of 8 bits overflow.
    if kind != "lut" and draw(st.booleans()):
        tags.RescaleSlope = draw(st.sampled_from(["1", "2", "0.5"]))
        tags.RescaleIntercept = str(draw(st.integers(-500, 500)))
        low, high = (int(v * float(tags.RescaleSlope) + float(tags.RescaleIntercept)) for v in (low, high))
    if kind == "window":
        tags.WindowCenter, tags.WindowWidth = draw(st.integers(low + 1, high - 1)), draw(st.integers(2, high - low))
        tags.VOILUTFunction = draw(st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]))
    elif kind == "lut":
        table_bits = draw(st.sampled_from([10, 12, 16]))
        entries = draw(st.lists(st.integers(0, (1 << table_bits) - 1), min_size=2, max_size=300))
        first = draw(st.integers(max(0, low), max(0, low) + 100))
        tags.VOILUTSequence = [lut(first, entries, table_bits)]
    return tags, bits, signed


@settings(deadline=None)
@given(grey_scales())
def test_grey_is_that_of_pydicom(case: tuple[Dataset, int, bool]) -> None:
    tags, bits, signed = case
    low, high = stored_range(bits, signed)
    stored = np.arange(low, high + 1, max(1, (high - low) // 999)).astype(np.int16 if signed else np.uint16)
    values = apply_modality_lut(stored, tags)
    shown = apply_voi_lut(values, tags).astype(float)
    if "VOILUTSequence" in tags:
        first, last = 0.0, float((1 << tags.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    else:
        slope, intercept = float(tags.get("RescaleSlope", 1)), float(tags.get("RescaleIntercept", 0))
        first, last = low * slope + intercept, high * slope + intercept
    expected = (shown - first) / (last - first) * 65535
    np.testing.assert_allclose(grey_of_values(stored, tags, bits, signed), expected, atol=0.51 + 1e-3)


@settings(deadline=None)
@given(st.integers(2, 500), st.integers(0, 200), st.sampled_from([8, 16]))
def test_modality_lut_is_that_of_pydicom(entries: int, first: int, bits: int) -> None:
    table = [(i * 7919) % (1 << bits) for i in range(entries)]
    tags = header(ModalityLUTSequence=[lut(first, table, bits)], BitsAllocated=16)
    stored = np.arange(0, 4096, 3).astype(np.uint16)
    expected = apply_modality_lut(stored, tags) / ((1 << bits) - 1) * 65535
    np.testing.assert_allclose(grey_of_values(stored, tags, 12, False), expected, atol=0.51)
