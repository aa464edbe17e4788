"""Sequential JPEG: each restart interval must have exactly its blocks, whatever the picture and the tables contain."""

from __future__ import annotations

from itertools import pairwise

import cv2
import imagecodecs
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from components.dicom.streams.codestream import declared_frame
from components.dicom.streams.decoders import decode_jpeg
from tests.components.dicom.streams.streams import sequential_jpeg

QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
END = b"\xff\xd9"


def decoded(stream: bytes) -> np.ndarray:
    frame = declared_frame(stream)
    assert frame is not None
    return decode_jpeg(stream, frame)[0]


def picture(level: int, spread: int, rows: int = 64, columns: int = 72, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    noise = random.integers(-spread, spread + 1, (rows, columns)) * (random.random((rows, columns)) < 0.1)
    return np.clip(level + noise, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("spread", [0, 1, 3, 30])
@pytest.mark.parametrize("level", [0, 120, 127, 128, 129, 255])
@pytest.mark.parametrize("interval", [0, 1, 3, 9, 72])
def test_nearly_flat_pictures_with_tables_of_their_own(interval: int, level: int, spread: int) -> None:
    expected = picture(level, spread)
    for quality in (30, 90, 100):
        options = [cv2.IMWRITE_JPEG_OPTIMIZE, 1, cv2.IMWRITE_JPEG_QUALITY, quality]
        stream = cv2.imencode(".jpg", expected, [*options, cv2.IMWRITE_JPEG_RST_INTERVAL, interval])[1].tobytes()
        np.testing.assert_array_equal(decoded(stream), imagecodecs.jpeg8_decode(stream))


@pytest.mark.parametrize("missing", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("precision", [8, 12])
@pytest.mark.parametrize("interval", [5, 8, 10])
def test_each_interval_lacks_none(interval: int, precision: int, missing: int) -> None:
    """Streams by an encoder of our own, from which whole blocks are left out at the end of an interval."""
    random = np.random.default_rng(missing)
    blocks = np.clip(random.normal(0, 3, 40).astype(int), -20, 20)
    blocks[random.random(40) < 0.5] = 0
    whole = sequential_jpeg(blocks, 4, 10, precision, interval)
    np.testing.assert_array_equal(decoded(whole), imagecodecs.jpeg8_decode(whole))
    if missing > interval:
        return
    for number in range(40 // interval):
        with pytest.raises(EOFError):
            print(number, decoded(sequential_jpeg(blocks, 4, 10, precision, interval, {number: missing})))


@QUICK
@given(
    st.lists(st.integers(-30, 30) | st.just(0), min_size=24, max_size=24),
    st.sampled_from([0, 1, 4, 6, 24]),
    st.sampled_from([8, 12]),
    st.integers(0, 23),
    st.integers(1, 4),
)
def test_any_missing_blocks(levels: list[int], interval: int, precision: int, number: int, missing: int) -> None:
    blocks = np.array(levels)
    whole = sequential_jpeg(blocks, 4, 6, precision, interval)
    np.testing.assert_array_equal(decoded(whole), imagecodecs.jpeg8_decode(whole))
    size = interval or 24
    with pytest.raises(EOFError):
        decoded(sequential_jpeg(blocks, 4, 6, precision, interval, {number % (24 // size): min(missing, size)}))


@pytest.mark.parametrize("level", [90, 127, 128, 129])
@pytest.mark.parametrize("optimized", [0, 1])
def test_an_interval_that_lacks_bytes(level: int, optimized: int) -> None:
    """Whatever number of bytes an interval of 9 blocks loses at its end, but for bits that only fill it up."""
    expected = picture(level, 2)
    options = [cv2.IMWRITE_JPEG_RST_INTERVAL, 1, cv2.IMWRITE_JPEG_OPTIMIZE, optimized]
    stream = cv2.imencode(".jpg", expected, options)[1].tobytes()
    start = stream.index(b"\xff\xda") + 10
    ends = [start - 2, *(stream.index(bytes([0xFF, 0xD0 + number]), start) for number in range(7))]
    for first, last in pairwise(ends):
        for lost in range(2, last - first - 2):
            cut = stream[: last - lost].removesuffix(b"\xff") + stream[last:]
            with pytest.raises(EOFError):
                print(first, lost, decoded(cut))


def test_intervals_longer_than_an_image_of_libjpeg_is_wide() -> None:
    blocks = np.tile([3, 0, -2, 0, 0], 4000)
    for interval in (9000, 20000):
        stream = sequential_jpeg(blocks, 100, 200, 8, interval)
        np.testing.assert_array_equal(decoded(stream), imagecodecs.jpeg8_decode(stream))
    with pytest.raises(EOFError):
        decoded(sequential_jpeg(blocks, 100, 200, 8, 9000, {1: 1}))
