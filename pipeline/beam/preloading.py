"""What a process imports before tasks are forked from it: once for all of them, instead of seconds for each."""

from __future__ import annotations

import gc
import importlib
from typing import Final

_PRELOADED: Final = (
    "pipeline.beam.stage_tasks",
    "tensorflow",  # imported, and no more: it cannot be forked once it has run something
    "tensorflow_data_validation",
    "tensorflow_transform.beam",
    "tensorflow_model_analysis",
)


def preload() -> None:
    """Imports what most tasks need, and leaves it out of all later collections of garbage.

    They would go through all objects of all modules: some 0.2 s with TensorFlow's, and a copy of each page.
    """
    for name in _PRELOADED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()
