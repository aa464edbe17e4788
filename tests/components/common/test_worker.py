"""What a worker does to its process."""

from __future__ import annotations

import subprocess
import sys

# Touches as many fresh pages as four images have, again and again; prints the page faults of the later rounds.
_SCRIPT = """
import resource, sys
from components.common.stages import prepare_worker
if sys.argv[1] == "prepared":
    prepare_worker()
for round in range(6):
    if round == 2:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    buffers = [b"x" * 17_000_000 for _ in range(4)]
    del buffers
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(how: str) -> int:
    return int(subprocess.run([sys.executable, "-c", _SCRIPT, how], check=True, capture_output=True, text=True).stdout)


def test_a_prepared_worker_maps_its_buffers_once() -> None:
    assert _faults("prepared") < _faults("plain") / 5
