"""The key that a driver shares with workers that it does not speak to (:mod:`task_files`)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from components.common.files import read_key_file

KEY_VARIABLE: Final = "BREAST_DENSITY_TASK_KEY"
_MIN_KEY_BYTES: Final = 16


class TaskKeyError(ValueError):
    """The key of tasks is missing or cannot be used; the message tells how to make one, and never shows it."""


def find_task_key(environment: Mapping[str, str]) -> bytes:
    """Finds the key that the driver shares with its workers.

    Args:
        environment: ``BREAST_DENSITY_TASK_KEY``, or ``BREAST_DENSITY_TASK_KEY_FILE`` with the name of a file.

    Returns:
        32 bytes.

    Raises:
        TaskKeyError: Neither or both are set, or the key is shorter than 16 bytes, or its file cannot be used.
    """
    value, file = environment.get(KEY_VARIABLE), environment.get(f"{KEY_VARIABLE}_FILE")
    if (value is None) == (file is None):
        raise TaskKeyError(
            f"Set either {KEY_VARIABLE} or {KEY_VARIABLE}_FILE, the same for the driver and all workers; make a key"
            " with: openssl rand -hex 32"
        )
    key = os.fsencode(value) if value is not None else read_key_file(Path(file or ""), KEY_VARIABLE, TaskKeyError)
    if len(key.strip()) < _MIN_KEY_BYTES:
        raise TaskKeyError(
            f"The key of {KEY_VARIABLE} has {len(key.strip())} bytes, at least {_MIN_KEY_BYTES} are needed: make one"
            " with: openssl rand -hex 32"
        )
    return hashlib.sha256(b"breast-density tasks " + key.strip()).digest()
