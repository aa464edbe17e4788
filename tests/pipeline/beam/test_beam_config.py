"""The key ``beam``: what each runner takes, and the arguments that Beam gets."""

from __future__ import annotations

from typing import Any

import pytest
from apache_beam.options.pipeline_options import (
    FlinkRunnerOptions,
    GoogleCloudOptions,
    PipelineOptions,
    PortableOptions,
    SetupOptions,
    SparkRunnerOptions,
    StandardOptions,
    WorkerOptions,
)

from pipeline.beam.config import BeamConfig, beam_arguments, image_beam_arguments
from pipeline.config import ConfigError, load_config

FLINK = {"runner": "flink", "master": "jobmanager:8081", "partitions": 8}
JOB_SERVER = {"runner": "flink", "master": "jobmanager:8081", "worker_pool": "localhost:50000", "parallelism": 4}
SPARK = {"runner": "spark", "master": "spark://head:7077", "properties": {"spark.executor.memory": "2g"}}
DATAFLOW = {
    "runner": "dataflow",
    "project": "hospital-research",
    "region": "europe-west3",
    "temp_location": "gs://bucket/temporary",
    "worker_image": "europe-docker.pkg.dev/hospital/density:1",
}


def configured(**values: Any) -> BeamConfig:
    return load_config(None, values_by_key={"beam": values}).beam


def parsed(config: BeamConfig) -> PipelineOptions:
    """Read the arguments as Beam does; every one of them must be known."""
    import pipeline.beam.flink_runner
    import pipeline.beam.spark_runner  # noqa: F401 - Beam knows their options once they are imported

    arguments = [*beam_arguments(config, "out"), *image_beam_arguments(config, 2)]
    options = PipelineOptions(arguments)
    names = {argument.removeprefix("--").removeprefix("no_").partition("=")[0] for argument in arguments}
    assert names <= options.get_all_options().keys()
    return options


def test_the_direct_runner_is_the_default_and_only_image_nodes_have_arguments() -> None:
    config = load_config(None).beam
    assert beam_arguments(config, "out") == []
    assert image_beam_arguments(config, 0)[:2] == [
        "--direct_running_mode=multi_threading",
        "--direct_num_workers=0",
    ]


def test_flink_has_its_job_manager_and_a_scratch_folder() -> None:
    options = parsed(configured(**FLINK))
    assert options.view_as(FlinkRunnerOptions).flink_master == "jobmanager:8081"
    assert options.get_all_options()["flink_scratch"] == "out/scratch"
    assert options.get_all_options()["flink_partitions"] == 8


def test_workers_of_beams_job_server_are_a_pool_or_an_image() -> None:
    pool = parsed(configured(**JOB_SERVER))
    assert pool.view_as(StandardOptions).runner == "FlinkRunner"
    assert pool.view_as(PortableOptions).environment_type == "EXTERNAL"
    assert pool.view_as(PortableOptions).environment_config == "localhost:50000"
    image = parsed(configured(**{**JOB_SERVER, "worker_pool": None, "worker_image": "registry/density:1"}))
    assert image.view_as(PortableOptions).environment_type == "DOCKER"
    assert image.view_as(PortableOptions).environment_config == "registry/density:1"


def test_a_running_job_server_is_used_by_its_endpoint() -> None:
    options = parsed(configured(**JOB_SERVER, job_endpoint="jobserver:8099"))
    assert options.view_as(StandardOptions).runner == "PortableRunner"
    assert options.view_as(PortableOptions).job_endpoint == "jobserver:8099"


def test_spark_has_its_master_and_properties() -> None:
    options = parsed(configured(**SPARK))
    assert options.view_as(SparkRunnerOptions).spark_master_url == "spark://head:7077"
    assert options.get_all_options()["spark_property"] == ["spark.executor.memory=2g"]


def test_dataflow_has_its_image_and_no_public_addresses() -> None:
    options = parsed(configured(**DATAFLOW, service_account="beam@hospital-research.iam.gserviceaccount.com"))
    assert options.view_as(GoogleCloudOptions).temp_location == "gs://bucket/temporary"
    assert options.view_as(WorkerOptions).sdk_container_image == "europe-docker.pkg.dev/hospital/density:1"
    assert options.view_as(WorkerOptions).use_public_ips is False


@pytest.mark.parametrize("values", [FLINK, JOB_SERVER, SPARK, DATAFLOW], ids=lambda values: " ".join(map(str, values)))
def test_nothing_pickles_the_main_session_nor_builds_a_package(values: dict[str, Any]) -> None:
    options = parsed(configured(**values))
    assert options.view_as(SetupOptions).save_main_session is False
    assert options.view_as(WorkerOptions).sdk_container_image  # what keeps TFX from building one
    assert image_beam_arguments(configured(**values), 2) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"runner": "dask"}, "expected tags: 'direct', 'flink', 'spark', 'dataflow'"),
        ({**JOB_SERVER, "worker_image": "a/b:1"}, "give beam.worker_image or beam.worker_pool, not both"),
        ({**JOB_SERVER, "job_endpoint": "a:1", "job_server_jar": "x.jar"}, "remove it with beam.job_endpoint"),
        ({**JOB_SERVER, "partitions": 4}, "remove beam.partitions with beam.worker_image or beam.worker_pool"),
        (
            {**FLINK, "parallelism": 2, "job_endpoint": "a:1"},
            "remove beam.job_endpoint and beam.parallelism without beam.worker_image or beam.worker_pool",
        ),
        ({**SPARK, "master": "head:7077"}, "beam.master: String should match"),
        ({**SPARK, "properties": {"spark.authenticate.secret": "abc"}}, "spark-defaults.conf of SPARK_CONF_DIR"),
        ({**SPARK, "executors": 3}, "unknown key; allowed: runner, master, partitions, properties"),
        ({**DATAFLOW, "temp_location": "/tmp/x"}, "beam.temp_location: String should match"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_remedy(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        configured(**values)
    assert message in str(raised.value)
    assert "abc" not in str(raised.value)
