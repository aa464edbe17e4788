"""Lossless and sequential JPEG of one component, decoded with proof that the stream holds every sample.

libjpeg fills up a stream that ends too early, and imagecodecs swallows its warnings. So a stream is decoded with some
rows more than it has, and what stands there tells where the entropy-coded data ended. That costs next to nothing.
Zeros at the end are data where they mean that nothing changes. Where they mean anything else, they are padding.
"""

from __future__ import annotations

import numpy as np

from components.dicom.streams.codestream import Coding, Frame
from components.dicom.streams.jpeg_lossless import decode_lossless
from components.dicom.streams.jpeg_parts import parsed
from components.dicom.streams.jpeg_sequential import decode_sequential


def decode_jpeg(stream: bytes, frame: Frame) -> tuple[np.ndarray, bool]:
    """Decodes a JPEG of one component.

    Args:
        stream: Lossless, baseline or extended sequential JPEG.
        frame: What it declares.

    Returns:
        uint8 (up to 8 bits) or uint16 [rows, columns], and whether the end marker is there.

    Raises:
        EOFError: The data are not those of all the samples.
        SecondImageError: There is another image behind it.
        Exception: Whatever libjpeg says of damaged streams.
    """
    decode = decode_sequential if frame.coding in (Coding.BASELINE, Coding.EXTENDED) else decode_lossless
    jpeg = parsed(stream)
    return decode(jpeg, frame), jpeg.is_closed
