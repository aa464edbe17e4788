"""Import once, in the process that workers are forked from, what most of Beam's work needs."""

from __future__ import annotations

import gc
import importlib
from typing import Final

PRELOADED: Final = (
    "apache_beam.runners.worker.sdk_worker",
    "tensorflow",  # only imported: it cannot be forked once it has run something
    "tensorflow_data_validation",
    "tensorflow_transform.beam",
    "tensorflow_model_analysis",
)


def preload() -> None:
    """Import it, and exclude it from all later garbage collections.

    A collection would visit all objects of all modules, and copy each page of memory that it touches.
    """
    for name in PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
