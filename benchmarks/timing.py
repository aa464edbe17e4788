"""Times ways to do the same in turn, so that a machine that slows down slows them all."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

_WARM_UP: Final = 3  # the first calls trace, connect and fill caches
_DRAWS: Final = 2000

Call = Callable[[], Any]


def alternate(ways: Mapping[str, Call], seconds: float, rounds: int) -> dict[str, list[float]]:
    """Time calls in rounds of one each, in a new order every round.

    Args:
        ways: The calls.
        seconds: Rounds go on at least as long, s.
        rounds: And at least as often.

    Returns:
        Seconds of each call, by way; those of one round have one index.
    """
    for call in ways.values():
        for _ in range(_WARM_UP):
            call()
    times: dict[str, list[float]] = {name: [] for name in ways}
    shuffle = random.Random(1)
    order = list(ways)
    deadline = time.perf_counter() + seconds
    while time.perf_counter() < deadline or len(times[order[0]]) < rounds:
        shuffle.shuffle(order)
        for name in order:
            started = time.perf_counter()
            ways[name]()
            times[name].append(time.perf_counter() - started)
    return times


def percentiles(times: Sequence[float]) -> str:
    """Write p50, p95, p99 in ms and the number of times, as cells of a table."""
    p50, p95, p99 = (1000 * np.percentile(times, share) for share in (50, 95, 99))
    return f"{p50:.1f} | {p95:.1f} | {p99:.1f} | {len(times)}"


def ratio(times: Sequence[float], floor: Sequence[float]) -> str:
    """Write the ratio of the medians with its 95 % interval, by a bootstrap over rounds."""
    pairs = np.array([times, floor])
    drawn = np.random.default_rng(1).integers(0, pairs.shape[1], (_DRAWS, pairs.shape[1]))
    medians = np.median(pairs[:, drawn], axis=2)
    low, high = np.percentile(medians[0] / medians[1], (2.5, 97.5))
    return f"{statistics.median(times) / statistics.median(floor):.3f} ({low:.3f}..{high:.3f})"


def load() -> str:
    """Return a sentence about the load of the machine."""
    one, five, _ = os.getloadavg()
    cores = os.cpu_count() or 1
    return f"Load of the machine before the start: {one:.2f} in the last minute, {five:.2f} in five, of {cores} cores."
