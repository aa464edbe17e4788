"""Starts the JVM of a Spark driver from a process with many threads.

PySpark's own way runs Python between fork and exec (``preexec_fn``), in a copy of a process whose other threads, gRPC's
and TensorFlow's, held locks: now and then the copy dies or hangs, and no JVM comes up
(ClickHouse/ClickHouse pull request 113870 tells of the same).
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyspark import SparkConf, SparkContext

_START: Final = 300.0  # seconds
_PORT, _SECRET = "PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET"


class GatewayError(RuntimeError):
    """Spark's driver did not start; its JVM has written the reason to standard error."""


def _start(conf: SparkConf, answer: Path) -> subprocess.Popen[bytes]:
    """Starts the JVM as PySpark does, in a session of its own: Ctrl-C is for Python to act on.

    Raises:
        GatewayError: It ended, or did not answer in five minutes.
    """
    from pyspark.find_spark_home import _find_spark_home

    settings = [word for key, value in conf.getAll() for word in ("--conf", f"{key}={value}")]
    environment = {**os.environ, "_PYSPARK_DRIVER_CONN_INFO_PATH": str(answer)}
    process = subprocess.Popen(
        [str(Path(_find_spark_home(), "bin", "spark-submit")), *settings, "pyspark-shell"],
        stdin=subprocess.PIPE,  # the JVM ends with it
        env=environment,
        start_new_session=True,
    )
    deadline = time.monotonic() + _START
    while not answer.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise GatewayError("Spark's driver did not start: what its JVM wrote to standard error tells why.")
        time.sleep(0.05)
    return process


@contextlib.contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Sets environment variables for as long as PySpark reads them."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            os.environ.pop(name, None)


def spark_context(conf: SparkConf) -> SparkContext:
    """Connects this process to its Spark application, which is kept for further pipelines.

    Args:
        conf: Of a new application.

    Raises:
        GatewayError: The driver's JVM did not start.
    """
    from pyspark import SparkContext
    from pyspark.serializers import UTF8Deserializer, read_int

    if SparkContext._gateway is not None or _PORT in os.environ:
        return SparkContext.getOrCreate(conf)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "gateway"
        process = _start(conf, answer)
        with answer.open("rb") as file:
            port, secret = read_int(file), UTF8Deserializer().loads(file)
    with _variables({_PORT: str(port), _SECRET: secret}):
        spark = SparkContext.getOrCreate(conf)
    assert spark._gateway is not None
    spark._gateway.proc = process  # where PySpark keeps it
    return spark
