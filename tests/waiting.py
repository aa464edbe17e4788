"""How long tests wait for what must happen: no verdict depends on how fast the machine is.

A test waits for an event, not for a time; the limits here only end a test that hangs. They leave room for a machine
that does much else; ``BREAST_DENSITY_TEST_PATIENCE=4`` makes them, and pytest's own, four times as long.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Final, TypeVar

PATIENCE: Final = float(os.environ.get("BREAST_DENSITY_TEST_PATIENCE", "1"))
HANG: Final = 300.0 * PATIENCE  # s; an answer, an event, a short command
LONG: Final = 1800.0 * PATIENCE  # s; a command that runs a pipeline

T = TypeVar("T")


def wait_until(
    question: Callable[[], T],
    meanwhile: Callable[[], object] = lambda: None,
    limit: float = HANG,
    pause: float = 0.02,
) -> T:
    """Asks until the answer is true.

    Args:
        question: Is asked again and again.
        meanwhile: Is called between; it raises where waiting is in vain.
        limit: Time after which it counts as hung, s.
        pause: Time between, s.

    Returns:
        The answer.

    Raises:
        AssertionError: It hangs.
    """
    deadline = time.monotonic() + limit
    while not (answer := question()):
        meanwhile()
        assert time.monotonic() < deadline, f"It did not happen within {limit:.0f} s"
        time.sleep(pause)
    return answer
