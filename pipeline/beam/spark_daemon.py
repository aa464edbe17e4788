"""The process that Spark's Python workers are forked from: ``spark.python.daemon.module``.

It has imported what most tasks need once for all of them, and takes PySpark from where it is installed. Spark puts its
archives first on the path, whose directories Python 3.10 reads anew at every task (``importlib.invalidate_caches``):
seconds of CPU. A worker also collects garbage after every task, which goes through all objects of all modules, some
0.2 s with TensorFlow's: what is frozen before the fork is left out.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

from pipeline.beam.preloading import preload


def _without_archives() -> None:
    """Takes zip and jar files off the path, if PySpark is found without them."""
    archives = [path for path in sys.path if os.path.isfile(path)]
    sys.path[:] = [path for path in sys.path if path not in archives]
    sys.path_importer_cache.clear()
    if importlib.util.find_spec("pyspark") is None or importlib.util.find_spec("py4j") is None:
        sys.path[:0] = archives


def main() -> None:
    """Serves until Spark closes the pipe."""
    _without_archives()
    preload()
    importlib.import_module("pyspark.daemon").manager()


if __name__ == "__main__":
    main()
