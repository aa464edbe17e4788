"""One worker of a cluster, for tests that start several."""

from __future__ import annotations

import json
import os
from typing import Any

from components.trainer.job import Job, run_job


def work(job: Job, task: dict[str, Any], log: str) -> None:
    """Train a job as the worker that ``task`` (TF_CONFIG) names; write the log of TensorFlow to a file."""
    descriptor = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.environ["TF_CONFIG"] = json.dumps(task)
    run_job(job)
