"""How many pictures the page holds, and how large."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class PictureLimits:
    """Caps that keep the page small enough to send by mail.

    At the defaults a page holds at most 136 pictures of some 25 KiB (a heat map is two), and the feature maps.

    Attributes:
        max_side: Longest side of a picture, pixels.
        quality: JPEG quality, 1 to 100.
        doubtful: Most doubtful segmentations.
        typical: Typical segmentations of each acquisition system.
        systems: Acquisition systems with typical segmentations.
        astray: Views with the least heat inside the breast.
        explained_systems: Acquisition systems with right and wrong heat maps of each class.
        sheet_width: Width of a picture of feature maps, pixels.
    """

    max_side: int = 460
    quality: int = 82
    doubtful: int = 8
    typical: int = 4
    systems: int = 6
    astray: int = 4
    explained_systems: int = 4
    sheet_width: int = 900
