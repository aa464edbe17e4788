"""What a process needs before it works on one image after another as a Beam worker."""

from __future__ import annotations

import ctypes
import ctypes.util
from typing import Final

import cv2

# Parameters of mallopt(3).
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_LARGEST_KEPT: Final = 256 * 2**20  # bytes


def prepare_worker() -> None:
    """Prepares this process; doing so again changes nothing.

    Workers are one a core, so OpenCV's own threads would only fight over the cores.

    A mammogram takes some buffers of 17 MB. glibc would give each back to the system, to be mapped and zeroed anew for
    the next image, a sixth of the time that JPEG-LS or JPEG 2000 take; it is made to keep freed blocks of up to 256
    MiB. The process holds no more than it did at its peak. Other C libraries are left as they are.
    """
    cv2.setNumThreads(1)
    name = ctypes.util.find_library("c")
    mallopt = getattr(ctypes.CDLL(name), "mallopt", None) if name else None
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT)
        mallopt(_M_TRIM_THRESHOLD, _LARGEST_KEPT)
