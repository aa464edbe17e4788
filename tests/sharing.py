"""What is made once for all worker processes of pytest-xdist."""

from __future__ import annotations

import fcntl
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

T = TypeVar("T")


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], T]) -> T:
    """Makes something that is only read, once for all worker processes; the others wait for it.

    Args:
        factory: pytest's.
        name: Name of its folder.
        make: Makes it in the folder that it is given.

    Returns:
        What ``make`` returned.
    """
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared_{name}"
    shared.mkdir(exist_ok=True)
    kept = shared / "result.pickle"
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(pickle.dumps(make(shared)))
        result: T = pickle.loads(kept.read_bytes())
    return result
