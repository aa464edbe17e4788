"""The process that Python workers are forked from. ``python -m`` it for Spark's ``spark.python.daemon.module``.

It imports what most tasks need once, instead of seconds for each task. For Spark it also takes PySpark from where it is
installed: Spark puts its archives first on the path, and Python 3.10 reads their directories again at every task
(``importlib.invalidate_caches``), which costs seconds of CPU. A worker also collects garbage after every task, over all
objects of all modules, which takes some 0.2 s with TensorFlow's. What is frozen before the fork is skipped.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

from pipeline.beam.preload import preload


def _remove_archives_from_path() -> None:
    """Remove zip and jar files from the path, if PySpark is found without them."""
    archives = [path for path in sys.path if os.path.isfile(path)]
    sys.path[:] = [path for path in sys.path if path not in archives]
    sys.path_importer_cache.clear()
    if importlib.util.find_spec("pyspark") is None or importlib.util.find_spec("py4j") is None:
        sys.path[:0] = archives


def main() -> None:
    """Serve until Spark closes the pipe."""
    _remove_archives_from_path()
    preload()
    importlib.import_module("pyspark.daemon").manager()


if __name__ == "__main__":
    main()
