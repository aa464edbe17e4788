"""Which version a baseline is; read without TensorFlow, whose import takes seconds."""

from __future__ import annotations

import os
from typing import Final

from components.common.location import location

VERSION_FILE: Final = "baseline_version.txt"


def baseline_version(model_uri: str) -> str | None:
    """Tells which version a Model artifact of ``copy_baseline`` holds, None for an empty one."""
    try:
        return location(os.path.join(model_uri, VERSION_FILE)).read_bytes().decode()
    except FileNotFoundError:
        return None
