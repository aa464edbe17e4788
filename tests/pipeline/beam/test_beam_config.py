"""The key ``beam``: what each runner takes, and the arguments that Beam gets."""

from __future__ import annotations

from typing import Any, get_args

import apache_beam
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
from apache_beam.transforms.environments import ExternalEnvironment

from pipeline.beam.config import BeamConfig, FlinkJobServer, beam_arguments, identity, image_beam_arguments
from pipeline.config import ConfigError, load_config

FLINK = {"runner": "flink", "master": "jobmanager:8081", "partitions": 8}
PRISM = {"runner": "portable", "job_endpoint": "prism:8073", "worker_pool": "localhost:50000"}
JOB_SERVER = {**PRISM, "parallelism": 4, "flink": {"master": "jobmanager:8081", "version": "1.20", "restarts": 5}}
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
    import pipeline.beam.staged.flink_runner
    import pipeline.beam.staged.spark_runner  # noqa: F401 - Beam knows their options once they are imported

    arguments = [*beam_arguments(config, "out"), *image_beam_arguments(config, 2)]
    options = PipelineOptions(arguments)
    names = {argument.removeprefix("--").removeprefix("no_").partition("=")[0] for argument in arguments}
    assert names <= options.get_all_options().keys()
    return options


def test_the_direct_runner_is_the_default_and_only_image_nodes_have_arguments() -> None:
    config = load_config(None).beam
    assert beam_arguments(config, "out") == []
    assert image_beam_arguments(config, 0)[:2] == [
        "--runner=pipeline.beam.direct.ThreadsRunner",
        "--direct_num_workers=0",
    ]


def test_flink_has_its_job_manager_and_a_scratch_folder() -> None:
    options = parsed(configured(**FLINK))
    assert options.view_as(FlinkRunnerOptions).flink_master == "jobmanager:8081"
    assert options.get_all_options()["flink_scratch"] == "out/scratch"
    assert options.get_all_options()["flink_partitions"] == 8


def test_a_job_server_is_used_by_its_address_with_a_pool_or_an_image() -> None:
    pool = parsed(configured(**PRISM))
    assert pool.view_as(StandardOptions).runner == "PortableRunner"
    assert pool.view_as(PortableOptions).job_endpoint == "prism:8073"
    assert pool.view_as(PortableOptions).environment_type == "EXTERNAL"
    # As Beam itself reads it: the pool's address, and what the pool must be.
    environment = ExternalEnvironment.from_options(pool.view_as(PortableOptions))
    assert environment.url == "localhost:50000"
    assert environment.params == identity()
    assert environment.params["apache-beam"] == apache_beam.__version__
    image = parsed(configured(**{**PRISM, "worker_pool": None, "worker_image": "registry/density:1"}))
    assert image.view_as(PortableOptions).environment_type == "DOCKER"
    assert image.view_as(PortableOptions).environment_config == "registry/density:1"


def test_a_job_server_is_told_its_cluster() -> None:
    """One that is not told runs everything in its own process."""
    values = configured(**JOB_SERVER)
    flink = [argument for argument in beam_arguments(values, "out") if "execution_retr" not in argument]
    options = PipelineOptions(flink)
    assert options.view_as(FlinkRunnerOptions).flink_master == "jobmanager:8081"
    assert options.view_as(FlinkRunnerOptions).flink_version == "1.20"
    assert options.view_as(FlinkRunnerOptions).parallelism == 4
    # Flink's default is to fail at the first lost worker. Names and units of Beam's FlinkPipelineOptions.
    assert {"--number_of_execution_retries=5", "--execution_retry_delay=10000"} <= {*beam_arguments(values, "out")}
    spark = parsed(configured(**PRISM, spark_master="spark://head:7077"))
    assert spark.view_as(SparkRunnerOptions).spark_master_url == "spark://head:7077"
    prism = parsed(configured(**PRISM)).get_all_options(drop_default=True)
    assert not {"flink_master", "spark_master_url"} & prism.keys()


def test_each_slot_has_a_python_of_its_own() -> None:
    def workers(**values: Any) -> str:
        return parsed(configured(**PRISM, **values)).get_all_options()["sdk_worker_parallelism"]

    assert [workers(), workers(slots=4), workers(slots=4, sdk_worker_parallelism=1)] == ["2", "4", "1"]


def test_flinks_versions_are_those_that_beam_publishes_job_servers_for() -> None:
    allowed = get_args(FlinkJobServer.model_fields["version"].annotation)
    published = FlinkRunnerOptions.PUBLISHED_FLINK_VERSIONS
    assert published == list(allowed[:5] if "1.17" in published else allowed[2:])  # of Beam 2.74 and of 2.77


def test_spark_has_its_master_and_properties() -> None:
    options = parsed(configured(**SPARK))
    assert options.view_as(SparkRunnerOptions).spark_master_url == "spark://head:7077"
    assert options.get_all_options()["spark_property"] == ["spark.executor.memory=2g"]


def test_dataflow_has_its_image_and_no_public_addresses() -> None:
    options = parsed(configured(**DATAFLOW, service_account="beam@hospital-research.iam.gserviceaccount.com"))
    assert options.view_as(GoogleCloudOptions).temp_location == "gs://bucket/temporary"
    assert options.view_as(WorkerOptions).sdk_container_image == "europe-docker.pkg.dev/hospital/density:1"
    assert options.view_as(WorkerOptions).use_public_ips is False


@pytest.mark.parametrize("values", [FLINK, PRISM, SPARK, DATAFLOW], ids=lambda values: " ".join(map(str, values)))
def test_nothing_pickles_the_main_session_nor_builds_a_package(values: dict[str, Any]) -> None:
    options = parsed(configured(**values))
    assert options.view_as(SetupOptions).save_main_session is False
    assert options.view_as(WorkerOptions).sdk_container_image  # what keeps TFX from building one
    assert image_beam_arguments(configured(**values), 2) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"runner": "dask"}, "expected tags: 'direct', 'portable', 'dataflow', 'flink', 'spark'"),
        ({**PRISM, "worker_image": "a/b:1"}, "give either beam.worker_pool or beam.worker_image"),
        ({**PRISM, "worker_pool": None}, "Received: no pool and no image"),
        ({**JOB_SERVER, "spark_master": "spark://a:1"}, "give beam.flink or beam.spark_master, not both"),
        ({**PRISM, "master": "jobmanager:8081"}, "unknown key"),
        (
            {**PRISM, "flink": {"master": "a:1", "version": "3.0"}},
            "'1.17', '1.18', '1.19', '1.20', '2.0', '2.1' or '2.2'",
        ),
        ({**FLINK, "worker_pool": "localhost:50000"}, "set beam.runner to portable, and beam.flink.master instead"),
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
