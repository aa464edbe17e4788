"""The pictures of a request are checked by their headers; the pictures here are written by Pillow and zlib."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from components.exam_model.png_check import LARGEST_REQUEST, allowed_sides, checked_pngs
from components.transform.images import decode_images

SIZE = 64


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
def decoded(pngs: tf.Tensor) -> tf.Tensor:
    return decode_images(checked_pngs(pngs, SIZE), SIZE)


def picture(mode: str = "L", width: int = SIZE, height: int = SIZE, form: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    Image.new(mode, (width, height), 1).save(out, form, **options)
    return out.getvalue()


def declared(width: int, height: int) -> bytes:
    """Return a PNG that declares a size and has few bytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(100))) + chunk(b"IEND", b"")


@pytest.mark.parametrize("size", [(64, 64), (32, 256), (256, 32), (100, 70)])
def test_grey_pngs_of_allowed_sizes_are_decoded(size: tuple[int, int]) -> None:
    assert decoded(tf.constant([picture("L", *size)])).shape == (1, SIZE, SIZE, 1)
    assert decoded(tf.constant([], tf.string)).shape == (0, SIZE, SIZE, 1)


def test_the_pictures_are_not_changed() -> None:
    grey = np.arange(SIZE * SIZE, dtype=np.uint8).reshape(SIZE, SIZE)
    out = io.BytesIO()
    Image.fromarray(grey).save(out, "PNG", optimize=True)
    np.testing.assert_array_equal(decoded(tf.constant([out.getvalue()] * 2))[1, ..., 0], grey)


@pytest.mark.parametrize(
    "given",
    [
        picture("RGB"),
        picture("RGBA"),
        picture("LA"),
        picture("P"),
        picture("1"),
        picture("I;16"),
        picture("L", form="JPEG"),
        picture("L", form="BMP"),
        picture("L", form="GIF"),
        b"",
        b"\x89PNG",
        picture()[:20],
        b"x" + picture(),
    ],
)
def test_other_forms_are_refused(given: bytes) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="Each picture must be an 8-bit grey PNG"):
        decoded(tf.constant([picture(), given]))


@pytest.mark.parametrize(
    "size", [(1, 1), (31, 64), (64, 31), (257, 64), (64, 257), (20_000, 20_000), (0, 0), (2**32 - 1, 2**32 - 1)]
)
def test_other_sizes_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(tf.errors.InvalidArgumentError, match="Each side of a picture must have 32 to 256 pixels"):
        decoded(tf.constant([picture(), declared(*size)]))


def test_too_many_pictures_or_pixels_are_refused() -> None:
    check = tf.function(lambda pngs: checked_pngs(pngs, SIZE))
    small = picture("L", 32, 32)
    assert check(tf.constant([small] * LARGEST_REQUEST)).shape == (LARGEST_REQUEST,)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 4096 pictures"):
        check(tf.constant([small] * (LARGEST_REQUEST + 1)))
    large = declared(256, 256)
    with pytest.raises(tf.errors.InvalidArgumentError, match="at most 16777216 pixels in all"):
        check(tf.constant([large] * 257))


def test_small_networks_take_pictures_of_their_size() -> None:
    assert allowed_sides(16) == (16, 64)
    assert allowed_sides(450) == (32, 1800)
