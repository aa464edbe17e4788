"""What was done to a file that is taken, and that its reader must know: the closed list of remarks.

A remark is not a refusal: the picture is right. It tells that the file departs from the standard, and that it was read
by another rule than the plain one. Remarks name no value of the file, so they identify nobody. They come from the
header (``ViewHeader.remarks``) and from decoding (``LoadedView.remarks`` holds both), and go to ``files.jsonl``, to the
summary of an ingest report, to ``describe``, and with each grade.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum


class Remark(str, Enum):
    """Every remark.

    Members:
        OTHER_VR_ENCODING: File meta information names another VR encoding or byte order than the data set has; it was
            read as it is written.
        UNREADABLE_WINDOW: A window, or a part of it, is not a number; another window or the full range was used.
        DECIMAL_COMMA: A number of the grey scale is written with a decimal comma, and was read as meant.
    """

    OTHER_VR_ENCODING = "other_vr_encoding"
    UNREADABLE_WINDOW = "unreadable_window"
    DECIMAL_COMMA = "decimal_comma"

    @property
    def text(self) -> str:
        """The remark in words."""
        return self.value.replace("_", " ")


def joined(*groups: Iterable[Remark]) -> tuple[Remark, ...]:
    """Returns all remarks, each once, in the order of ``Remark``."""
    found = {remark for group in groups for remark in group}
    return tuple(remark for remark in Remark if remark in found)
