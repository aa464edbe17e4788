"""What the runner for Spark does before Spark is asked; ``tests/e2e/test_spark_cluster.py`` has the rest."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.coders import VarIntCoder
from apache_beam.runners.portability.fn_api_runner.execution import (
    ENCODED_IMPULSE_VALUE,
    FnApiRunnerExecutionContext,
)
from apache_beam.runners.portability.fn_api_runner.fn_runner import ExtendedProvisionInfo
from apache_beam.runners.portability.fn_api_runner.worker_handlers import WorkerHandlerManager
from apache_beam.transforms import environments
from apache_beam.transforms.userstate import CombiningValueStateSpec

from pipeline.beam_runners.spark_bundles import StageTask, dealt, partition_of, run_bundle
from pipeline.beam_runners.spark_runner import SparkStageRunner


class Counting(beam.DoFn):
    STATE = CombiningValueStateSpec("seen", VarIntCoder(), sum)

    def process(self, pair: tuple[str, int], seen=beam.DoFn.StateParam(STATE)) -> None:  # noqa: B008 - Beam's way
        seen.add(1)


def test_user_state_is_refused_before_anything_runs() -> None:
    pipeline = beam.Pipeline(runner=SparkStageRunner())
    _ = pipeline | beam.Create([("a", 1)]) | beam.ParDo(Counting())
    with pytest.raises(ValueError, match=r"Unable to run pipeline with requirement: .*stateful"):
        pipeline.run()


def test_a_bundle_that_is_repeated_draws_the_same_random_keys() -> None:
    """Else an element of a repeated map task could go to a partition that was read before: lost, or there twice."""
    pipeline = beam.Pipeline(runner=SparkStageRunner())
    _ = pipeline | beam.Create(range(50), reshuffle=False) | beam.Reshuffle()
    runner = SparkStageRunner()
    made, stages = runner.create_stages(
        pipeline.to_runner_api(default_environment=environments.EmbeddedPythonEnvironment.default())
    )
    manager = WorkerHandlerManager(made.components.environments, ExtendedProvisionInfo())
    context = FnApiRunnerExecutionContext(
        stages, manager, made.components, made.safe_coders, made.data_channel_coders, num_workers=1
    )
    context.setup()
    [stage] = [stage for stage in stages if any("AddRandomKeys" in t.unique_name for t in stage.transforms)]
    bundle = context.bundle_manager_for(stage)
    sources = [t.unique_name for t in stage.transforms if t.unique_name in context.input_transform_to_buffer_id]
    task = StageTask(
        bundle.process_bundle_descriptor.SerializeToString(), tuple(sources), bundle.stage_data_outputs, {}
    )

    def output(partition: int) -> list[tuple[bytes, bytes]]:
        return list(run_bundle(task, partition, [(sources[0], ENCODED_IMPULSE_VALUE)]))

    assert output(0) == output(0)
    assert output(0) != output(1)


def test_elements_are_dealt_in_the_order_of_their_making() -> None:
    made = [(0, (1, 0, b"c")), (1, (0, 1, b"b")), (0, (0, 0, b"a"))]
    assert list(dealt(made)) == [b"a", b"b", b"c"]


def test_a_key_has_the_same_partition_in_every_process() -> None:
    program = "from pipeline.beam_runners.spark_bundles import partition_of; print(partition_of(b'key'))"
    other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(other.stdout) == partition_of(b"key")


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
        "from pipeline.beam_runners.spark_daemon import _without_archives; _without_archives()\n"
        "import pyspark; print(pyspark.__file__)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert ("pyspark.zip" not in found) == installed
