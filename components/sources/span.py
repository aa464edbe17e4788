"""A span and its version."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Span:
    """A group of exams that came together.

    Attributes:
        number: Span number; later spans win over earlier ones.
        version: Version of the span; -1 where the archive has no versions.
    """

    number: int
    version: int = -1
