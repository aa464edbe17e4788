"""What the runner for Spark does before Spark is asked; ``tests/e2e/test_spark_cluster.py`` has the rest."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.transforms.userstate import CombiningValueStateSpec

from pipeline.beam.staged.spark_runner import SparkStageRunner


class Counting(beam.DoFn):
    STATE = CombiningValueStateSpec("seen", VarIntCoder(), sum)

    def process(self, pair: tuple[str, int], seen: Any = beam.DoFn.StateParam(STATE)) -> None:  # noqa: B008 - Beam's way
        seen.add(1)


def test_user_state_is_refused_before_anything_runs() -> None:
    pipeline = beam.Pipeline(runner=SparkStageRunner())
    _ = pipeline | beam.Create([("a", 1)]) | beam.ParDo(Counting())
    with pytest.raises(ValueError, match=r"Unable to run pipeline with requirement: .*stateful"):
        pipeline.run()


def test_a_run_needs_a_folder_that_all_workers_see() -> None:
    pipeline = beam.Pipeline(runner=SparkStageRunner())
    _ = pipeline | beam.Create([1])
    with pytest.raises(ValueError, match="--spark_scratch is missing"):
        pipeline.run()


@pytest.mark.parametrize("installed", [True, False])
def test_archives_leave_the_path_where_pyspark_is_installed(installed: bool, tmp_path: Path) -> None:
    archive, packages = tmp_path / "pyspark.zip", tmp_path / "packages"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("pyspark/__init__.py", "")
        file.writestr("py4j/__init__.py", "")
    for name in ("pyspark", "py4j") if installed else ():
        (packages / name).mkdir(parents=True)
        (packages / name / "__init__.py").touch()
    program = (
        f"import sys; sys.path[:0] = [{str(archive)!r}, {str(packages)!r}]\n"
        "from pipeline.beam.staged.fork_server import _remove_archives_from_path; _remove_archives_from_path()\n"
        "import pyspark; print(pyspark.__file__)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # it may name a PySpark
    command = [sys.executable, "-c", program]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert ("pyspark.zip" not in found) == installed
