"""The version of this software, as stated in pyproject.toml."""

from __future__ import annotations

from importlib import metadata
from typing import Final

DISTRIBUTION: Final = "breast-density"


def installed_version() -> str:
    """Return the version of the installed package, such as ``0.6.0``."""
    return metadata.version(DISTRIBUTION)
