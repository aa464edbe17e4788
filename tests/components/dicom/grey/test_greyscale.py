"""The grey scale of headers that were written to a file and read back, in Implicit and Explicit VR.

The fixture ``syntax`` repeats each test for both. Greys are compared with pydicom's own functions on what was read.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut, apply_windowing
from pydicom.uid import UID

from components.dicom.grey import greyscale
from components.dicom.grey.greyscale import GreyScale, grey_scale_of
from components.dicom.grey.stored_values import cells_of, stored_range
from components.dicom.grey.transforms import Window, window_fraction
from components.dicom.headers.tags import tag_name
from components.dicom.rejections import IngestError, RejectionReason
from components.dicom.remarks import Remark
from tests.components.dicom.dicom_files import BOTH, as_written, reread

SYNTAXES = st.sampled_from(BOTH)


def header(**tags: Any) -> Dataset:
    result = Dataset()
    known = {"PhotometricInterpretation": "MONOCHROME2", "BitsStored": 12, "PixelRepresentation": 0}
    for keyword, value in (known | tags).items():
        setattr(result, keyword, value)
    return result


def scale_of(tags: Dataset, syntax: UID) -> GreyScale:
    return grey_scale_of(reread(tags, syntax), "a.dcm")


def grey_table(tags: Dataset, syntax: UID, voi_index: int = 0) -> np.ndarray:
    """Grey of every stored value, from the lowest to the highest."""
    low, high = stored_range(tags.BitsStored, tags.PixelRepresentation == 1)
    return scale_of(tags, syntax).grey(np.arange(low, high + 1), voi_index)


def to_grey(pixels: np.ndarray, tags: Dataset, syntax: UID) -> np.ndarray:
    read = reread(tags, syntax)
    return greyscale.to_grey(pixels, cells_of(pixels, read, 0, "a.dcm"), grey_scale_of(read, "a.dcm"))


FULL = np.rint(np.arange(4096) / 4095 * 65535)


@pytest.mark.slow
@given(
    st.integers(-500, 5000),
    st.integers(2, 6000),
    st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
    SYNTAXES,
)
def test_window_is_that_of_pydicom(centre: int, width: int, function: str, syntax: UID) -> None:
    stored = np.arange(4096)
    tags = reread(header(WindowCenter=centre, WindowWidth=width, VOILUTFunction=function), syntax)
    expected = apply_windowing(stored, tags) / 4095
    found = window_fraction(stored * 1.0, Window(centre, width, function))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_first_window_counts(syntax: UID) -> None:
    table = grey_table(header(WindowCenter=["1000", "3000"], WindowWidth=["501", "10"]), syntax)
    assert table[749] == 0
    assert table[999] < 32768 < table[1000]  # the centre of LINEAR is between the two
    assert table[1250] == 65535


@pytest.mark.parametrize(
    "window",
    [
        {"WindowCenter": "2000"},
        {"WindowWidth": "2000"},
        {"WindowCenter": "2000", "WindowWidth": "0"},
        {"WindowCenter": "2000", "WindowWidth": "-5"},
        {"WindowCenter": "2000", "WindowWidth": "0.5"},
        {"WindowCenter": "90000", "WindowWidth": "100"},
        *({"WindowCenter": "2000", "WindowWidth": junk} for junk in ("NaN", "inf", "-inf", "wide", "1e999", "1,500")),
        {"WindowCenter": "0x10", "WindowWidth": "500"},
        {"WindowCenter": "2000;1000", "WindowWidth": "500"},
        {"WindowCenter": "2000\\", "WindowWidth": "\\500"},
    ],
)
def test_without_a_usable_window_the_stored_range_counts_and_that_is_told(window: dict[str, str], syntax: UID) -> None:
    tags = as_written(header(), **window)
    np.testing.assert_array_equal(grey_table(tags, syntax), FULL)
    assert scale_of(tags, syntax).remarks == (Remark.UNUSABLE_WINDOW,)


@pytest.mark.parametrize("window", [{}, {"WindowCenter": "", "WindowWidth": ""}, {"WindowWidth": "\\ "}])
def test_without_a_window_there_is_nothing_to_tell(window: dict[str, str], syntax: UID) -> None:
    tags = as_written(header(), **window)
    np.testing.assert_array_equal(grey_table(tags, syntax), FULL)
    assert scale_of(tags, syntax).remarks == ()


@pytest.mark.parametrize(
    ("centre", "width", "told"),
    [
        ("2000\\", "1000\\", False),
        ("2000\\NaN", "1000\\500", True),
        ("NaN\\2000", "500\\1000", True),
        ("\\2000", "\\1000", True),
        ("7\\2000", "-5\\1000", True),
        ("2000\\3000", "1000", True),
        (" 2000 ", "+1000.0", False),
        ("2.0e3", "1E3", False),
        ("2000.\\9", "1000\\0", True),
    ],
)
def test_the_first_sound_pair_counts(centre: str, width: str, told: bool, syntax: UID) -> None:
    expected = grey_table(header(WindowCenter="2000", WindowWidth="1000"), syntax)
    tags = as_written(header(), WindowCenter=centre, WindowWidth=width)
    np.testing.assert_array_equal(grey_table(tags, syntax), expected)
    assert scale_of(tags, syntax).remarks == ((Remark.UNUSABLE_WINDOW,) if told else ())


def test_a_decimal_comma_is_understood_and_told(syntax: UID) -> None:
    expected = header(WindowCenter="2047.5", WindowWidth="1000", RescaleSlope="1.0", RescaleIntercept="-1500.25")
    comma = as_written(
        header(), WindowCenter="2047,5", WindowWidth="1000,0", RescaleSlope="1,0", RescaleIntercept="-1500,25"
    )
    np.testing.assert_array_equal(grey_table(comma, syntax), grey_table(expected, syntax))
    assert scale_of(comma, syntax).remarks == (Remark.DECIMAL_COMMA,)


@pytest.mark.parametrize("vr", ["IS", "LO", "UN", "FD"])
def test_windows_under_another_vr(vr: str) -> None:
    tags = header()
    for keyword, number in (("WindowCenter", 2000), ("WindowWidth", 1000)):
        if vr == "FD":
            tags.add_new(keyword, vr, [float(number), 7.0])
        else:
            as_written(tags, vr, **{keyword: f"{number}\\7"})
    expected = grey_table(header(WindowCenter="2000", WindowWidth="1000"), BOTH[1])
    np.testing.assert_array_equal(grey_table(tags, BOTH[1]), expected)


def test_step_window_of_width_one(syntax: UID) -> None:
    table = grey_table(header(WindowCenter="100", WindowWidth="1"), syntax)
    assert (table[99], table[100]) == (0, 65535)


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("linear", "LINEAR"),
        ("Sigmoid ", "SIGMOID"),
        ("linear exact", "LINEAR_EXACT"),
        ("Linear-Exact", "LINEAR_EXACT"),
        ("LOGISTIC", None),
    ],
)
def test_window_functions_in_other_letters(written: str, means: str | None, syntax: UID) -> None:
    window = {"WindowCenter": "2000", "WindowWidth": "1000"}
    tags = as_written(header(**window), "CS", VOILUTFunction=written)
    expected = grey_table(header(**window, VOILUTFunction=means or "LINEAR"), syntax)
    np.testing.assert_array_equal(grey_table(tags, syntax), expected)
    assert scale_of(tags, syntax).remarks == (() if means else (Remark.UNKNOWN_WINDOW_FUNCTION,))


def test_rescale_moves_window_and_range_alike(syntax: UID) -> None:
    plain = grey_table(header(WindowCenter="1000", WindowWidth="500"), syntax)
    moved = header(WindowCenter="1900", WindowWidth="999", RescaleSlope="2", RescaleIntercept="-100")
    assert np.abs(grey_table(moved, syntax).astype(int) - plain).max() < 150
    no_window = header(RescaleSlope="2", RescaleIntercept="-100")
    np.testing.assert_array_equal(grey_table(no_window, syntax), FULL)


@pytest.mark.parametrize("keyword", ["RescaleSlope", "RescaleIntercept"])
@pytest.mark.parametrize("junk", ["NaN", "inf", "one", "1,500", "1;5", "1\\2", "1.5.0", "--1", "1e999"])
def test_a_rescale_that_cannot_be_read_is_refused(keyword: str, junk: str, syntax: UID) -> None:
    with pytest.raises(IngestError) as error:
        scale_of(as_written(header(), **{keyword: junk}), syntax)
    assert error.value.reason is RejectionReason.MALFORMED_HEADER
    assert (error.value.tag[:-12], error.value.value) == (tag_name(keyword)[:-12], junk)


def test_a_slope_of_zero_or_beyond_all_numbers_is_refused(syntax: UID) -> None:
    for slope in ("0", "0.0", "-0", "1e308", "0,0"):
        with pytest.raises(IngestError, match="Rescale Slope"):
            scale_of(as_written(header(), RescaleSlope=slope), syntax)


@pytest.mark.parametrize("rescale", [{"RescaleSlope": "", "RescaleIntercept": " "}, {"RescaleSlope": "1\\1"}])
def test_an_empty_rescale_is_none(rescale: dict[str, str], syntax: UID) -> None:
    tags = as_written(header(), **rescale)
    np.testing.assert_array_equal(grey_table(tags, syntax), FULL)
    assert scale_of(tags, syntax).remarks == ()


def test_negative_slope_inverts_once(syntax: UID) -> None:
    np.testing.assert_array_equal(grey_table(header(RescaleSlope="-1"), syntax), FULL[::-1])


def test_signed_values(syntax: UID) -> None:
    assert stored_range(12, True) == (-2048, 2047)
    image = np.array([[-2048, 0, 2047]], np.int16)
    grey = to_grey(image, header(PixelRepresentation=1), syntax)
    np.testing.assert_array_equal(grey, [[0, 32776, 65535]])


def lut(first: int, values: list[int], bits: int) -> Dataset:
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(values), first, bits])
    item.add_new("LUTData", "US", values)
    return item


def test_voi_lut_wins_over_the_window(syntax: UID) -> None:
    inverse = [4095 - v for v in range(4096)]
    tags = header(WindowCenter="5", WindowWidth="-2", VOILUTSequence=[lut(0, inverse, 12)])
    np.testing.assert_array_equal(grey_table(tags, syntax), FULL[::-1])
    assert scale_of(tags, syntax).remarks == ()


def test_modality_lut_wins_over_the_rescale(syntax: UID) -> None:
    halves = [v // 2 for v in range(4096)]
    tags = as_written(header(ModalityLUTSequence=[lut(0, halves, 12)]), RescaleSlope="NaN")
    np.testing.assert_array_equal(grey_table(tags, syntax), np.rint((np.arange(4096) // 2) / 4095 * 65535))


def test_either_byte_order_and_eight_bits(syntax: UID) -> None:
    image = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    np.testing.assert_array_equal(to_grey(image.astype(">u2"), header(), syntax).ravel(), FULL)
    bytes_ = np.array([[-128, 0, 127]], np.int8)
    grey = to_grey(bytes_, header(BitsStored=8, PixelRepresentation=1), syntax)
    np.testing.assert_array_equal(grey, [[0, 128 * 257, 65535]])


def test_which_of_several_windows_and_luts(syntax: UID) -> None:
    windows = header(WindowCenter=["1000", "3000"], WindowWidth=["500", "200"])
    second = grey_table(header(WindowCenter="3000", WindowWidth="200"), syntax)
    first = grey_table(header(WindowCenter="1000", WindowWidth="500"), syntax)
    np.testing.assert_array_equal(grey_table(windows, syntax, voi_index=1), second)
    np.testing.assert_array_equal(grey_table(windows, syntax, voi_index=2), first)  # there is no third window
    luts = [lut(0, [4095 - v for v in range(4096)], 12), lut(0, [v // 2 for v in range(4096)], 12)]
    tags = header(VOILUTSequence=luts, WindowCenter=["1000", "3000"], WindowWidth=["500", "200"])
    np.testing.assert_array_equal(grey_table(tags, syntax), FULL[::-1])
    np.testing.assert_array_equal(grey_table(tags, syntax, voi_index=1), np.rint((np.arange(4096) // 2) / 4095 * 65535))


@pytest.mark.parametrize("index", [0, 1])
def test_one_damaged_lut_of_several_gives_way_and_is_told(index: int, syntax: UID) -> None:
    sound, damaged = lut(0, [4095 - v for v in range(4096)], 12), lut(0, [1, 2, 3], 12)
    damaged.LUTDescriptor = [4096, 0, 12]
    tags = header(VOILUTSequence=[damaged, sound])
    np.testing.assert_array_equal(grey_table(tags, syntax, voi_index=index), FULL[::-1])
    assert scale_of(tags, syntax).remarks == (Remark.UNUSABLE_LUT,)


@pytest.mark.parametrize("shape", ["IDENTITY", "INVERSE", None])
def test_photometric_interpretation_decides_and_inverts_once(shape: str | None, syntax: UID) -> None:
    changes = {} if shape is None else {"PresentationLUTShape": shape}
    window = {"WindowCenter": "1000", "WindowWidth": "500"}
    upright = grey_table(header(**window, **changes), syntax)
    inverted = grey_table(header(**window, **changes, PhotometricInterpretation="MONOCHROME1"), syntax)
    assert (upright[0], upright[-1]) == (0, 65535)
    np.testing.assert_allclose(inverted.astype(int), 65535 - upright.astype(int), atol=1)


@st.composite
def grey_scales(draw: st.DrawFn) -> Dataset:
    """Headers with whatever of rescale, modality LUT, window and VOI LUT pydicom reads too."""
    bits, signed = draw(st.sampled_from([8, 10, 12, 14, 16])), draw(st.booleans())
    tags = header(BitsStored=bits, PixelRepresentation=int(signed), BitsAllocated=16)
    low, high = stored_range(bits, signed)
    kind = draw(st.sampled_from(["none", "window", "lut"]))
    # pydicom's LUTs truncate values that are not integers, as after any rescale, and its LUTs of 8 bits overflow.
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
        first = draw(st.integers(low, low + 100) if low < 0 else st.integers(0, 100))
        tags.VOILUTSequence = [lut(first, entries, table_bits)]
    return tags


@given(grey_scales(), SYNTAXES)
def test_grey_is_that_of_pydicom(tags: Dataset, syntax: UID) -> None:
    bits, signed = tags.BitsStored, tags.PixelRepresentation == 1
    low, high = stored_range(bits, signed)
    stored = np.arange(low, high + 1, max(1, (high - low) // 999)).astype(np.int16 if signed else np.uint16)
    read = reread(tags, syntax)
    shown = apply_voi_lut(apply_modality_lut(stored, read), read).astype(float)
    if "VOILUTSequence" in read:
        first, last = 0.0, float((1 << read.VOILUTSequence[0].LUTDescriptor[2]) - 1)
    else:
        slope, intercept = float(read.get("RescaleSlope", 1)), float(read.get("RescaleIntercept", 0))
        first, last = low * slope + intercept, high * slope + intercept
    expected = (shown - first) / (last - first) * 65535
    np.testing.assert_allclose(scale_of(tags, syntax).grey(stored), expected, atol=0.51 + 1e-3)


@given(st.integers(2, 500), st.integers(0, 200), st.sampled_from([8, 16]), SYNTAXES)
def test_modality_lut_is_that_of_pydicom(entries: int, first: int, bits: int, syntax: UID) -> None:
    table = [(i * 7919) % (1 << bits) for i in range(entries)]
    tags = header(ModalityLUTSequence=[lut(first, table, bits)], BitsAllocated=16)
    stored = np.arange(0, 4096, 3).astype(np.uint16)
    expected = apply_modality_lut(stored, reread(tags, BOTH[0])) / ((1 << bits) - 1) * 65535
    np.testing.assert_allclose(scale_of(tags, syntax).grey(stored), expected, atol=0.51)
