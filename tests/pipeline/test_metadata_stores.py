"""ML Metadata outside of the run's folder: in a real MariaDB, and by gRPC before it; its absence is one sentence."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from pydantic import ValidationError

from pipeline.config import ConfigError, RunConfig, load_config
from pipeline.metadata import REMOTE_FILE, MetadataError, connection, open_store, prepare
from pipeline.metadata_config import MetadataConfig
from tests.waiting import HANG, wait_until

PASSWORD = "a-password-of-the-test"
VARIABLE = "BREAST_DENSITY_METADATA_PASSWORD"


def test_a_file_in_the_runs_folder_is_the_default(tmp_path: Path) -> None:
    made = connection(MetadataConfig(), tmp_path / "out", {})
    assert made.sqlite.filename_uri == str(tmp_path / "out" / "metadata.sqlite")
    assert open_store(tmp_path / "out", {}) is None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"store": "mysql"}, "metadata.host is required for metadata.store mysql or server"),
        ({"host": "db"}, "Received: store=sqlite, host=db"),
        ({"store": "mysql", "host": "db", "password": "x"}, "Extra inputs"),
    ],
)
def test_a_wrong_configuration_is_told(values: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        MetadataConfig.model_validate(values)
    with pytest.raises(ConfigError, match="metadata"):
        load_config(None, [f"metadata.{key}={value}" for key, value in values.items()])


def test_what_cannot_be_reached_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as unheard:  # bound, and nobody listens
        unheard.bind(("127.0.0.1", 0))
        port = unheard.getsockname()[1]
        database = MetadataConfig(store="mysql", host="127.0.0.1", port=port)
        with pytest.raises(MetadataError, match=f"{VARIABLE} is not set: it must contain the password of mlmd"):
            prepare(database, tmp_path, {})
        with pytest.raises(MetadataError, match=rf"127\.0\.0\.1:{port} cannot be reached.*native_password") as caught:
            prepare(database, tmp_path, {VARIABLE: PASSWORD})
        assert PASSWORD not in str(caught.value)
        with pytest.raises(MetadataError, match=r"cannot be reached, check host, port and name resolution\. Received"):
            prepare(MetadataConfig(store="server", host="127.0.0.1", port=port), tmp_path, {})
    assert not (tmp_path / REMOTE_FILE).exists()


@dataclass(frozen=True)
class Database:
    port: int
    socket: Path

    def sql(self, text: str) -> str:
        command = ["mariadb", "--no-defaults", f"--socket={self.socket}", "--user=root", "--batch", "-e", text]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=HANG).stdout


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A MariaDB of its own, with the database and the user of ``kubeflow/manifests/metadata``."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"])
    server, install = (shutil.which(name, path=search) for name in ("mariadbd", "mariadb-install-db"))
    if server is None or install is None:
        pytest.skip("MariaDB is not installed (Debian: mariadb-server)")
    folder = tmp_path_factory.mktemp("db")
    user = ["--user=root"] if os.geteuid() == 0 else []
    data = ["--no-defaults", f"--datadir={folder}/data", *user]
    made = [install, *data, "--auth-root-authentication-method=normal", "--skip-test-db"]
    subprocess.run(made, check=True, capture_output=True, timeout=HANG)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    found = Database(port, folder / "s")
    command = [server, *data, "--bind-address=127.0.0.1", f"--port={port}", f"--socket={found.socket}"]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:

            def alive() -> None:
                assert process.poll() is None, (folder / "log").read_text()

            wait_until(found.socket.exists, alive)
            found.sql(
                "CREATE DATABASE metadata; CREATE USER mlmd@'%' IDENTIFIED VIA mysql_native_password"
                f" USING PASSWORD('{PASSWORD}'); GRANT ALL ON metadata.* TO mlmd@'%'"
            )
            yield found
        finally:
            process.terminate()


@pytest.fixture
def server(database: Database) -> Iterator[int]:
    """ML Metadata's own core behind its gRPC service, with the database behind it; its port.

    The server's program is in no package, but all of its methods are in the client's library, under the same names.
    """
    from ml_metadata.metadata_store.metadata_store import MetadataStore
    from ml_metadata.metadata_store.pywrap.metadata_store_extension import metadata_store as core
    from ml_metadata.proto import metadata_store_service_pb2 as service_pb2

    config = MetadataConfig(store="mysql", host="127.0.0.1", port=database.port)
    store = MetadataStore(connection(config, Path(), {VARIABLE: PASSWORD}))
    service = service_pb2.DESCRIPTOR.services_by_name["MetadataStoreService"]

    def handler(name: str) -> grpc.RpcMethodHandler:
        def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
            response, message, status = getattr(core, name)(store._metadata_store, request)
            if status:
                code = next(code for code in grpc.StatusCode if code.value[0] == status)
                context.abort(code, message.decode())
            return response

        return grpc.unary_unary_rpc_method_handler(answer)

    methods = {method.name: handler(method.name) for method in service.methods if hasattr(core, method.name)}
    running = grpc.server(ThreadPoolExecutor(1))
    running.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, methods),))
    port = running.add_insecure_port("127.0.0.1:0")
    running.start()
    yield port
    running.stop(None).wait()


class _Quiet:
    def start(self, node: str, number: int, count: int, progress_file: Path) -> None:
        pass

    def finish(self, result: object) -> None:
        pass


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from pipeline.phantom.config import PhantomConfig
    from pipeline.phantom.generate import generate_phantoms

    folder = tmp_path_factory.mktemp("archive") / "set"
    generate_phantoms(PhantomConfig(exams=8, seed=5, distribution="uniform", reduction=16, workers=1), folder)
    return folder


def settings(archive: Path, output: Path, metadata: MetadataConfig) -> RunConfig:
    return RunConfig.model_validate(
        {
            "pipeline": {
                "ingest": {"longest_side": 64, "splits": {"train": 0.5, "eval": 0.25, "test": 0.25}, "split_seed": "2"},
                "preprocess": {"output_size": 32, "method": "none"},
                "trainer": {"image": {"size": 32}},
            },
            "data": {"folder": str(archive / "images"), "labels": str(archive / "labels.csv")},
            "output": str(output),
            "runner": {"workers": 1},
            "metadata": metadata.model_dump(),
        }
    )


def run(config: RunConfig, last: str) -> dict[str, bool]:
    """Run the pipeline to a node; whether each came from the cache."""
    from pipeline.local import runner as local_runner

    return {n.node: n.cached for n in local_runner.run(local_runner.build(config, last), config.output, _Quiet())}


def test_a_run_in_mysql_is_cached_and_read_back(
    database: Database,
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    from pipeline.local import runner as local_runner

    monkeypatch.setenv(VARIABLE, PASSWORD)
    config = settings(archive, tmp_path, MetadataConfig(store="mysql", host="127.0.0.1", port=database.port))
    last = "MammogramPreprocessor"
    assert run(config, last) == {"DicomExampleGen": False, last: False}
    assert run(config, last) == {"DicomExampleGen": True, last: True}
    # It is all in the database, and none of it in the folder; the password is in neither, nor in the log.
    assert not (config.output / "metadata.sqlite").exists()
    counted = database.sql("SELECT last_known_state, COUNT(*) FROM metadata.Execution GROUP BY 1 ORDER BY 1")
    assert counted.split()[2:] == ["3", "2", "5", "2"]  # COMPLETE, CACHED
    store = open_store(config.output, os.environ)
    assert store is not None
    [examples] = store.get_artifacts_by_type("Examples")[:1]
    assert Path(examples.uri).is_dir()
    noted = (config.output / REMOTE_FILE).read_text(encoding="utf-8")
    assert PASSWORD not in noted + caplog.text
    # Whoever forgets the key would begin a second history.
    with pytest.raises(MetadataError, match="have their metadata elsewhere"):
        local_runner.build(config.model_copy(update={"metadata": MetadataConfig()}))
    with pytest.raises(MetadataError, match="cannot be reached"):
        open_store(config.output, {VARIABLE: "not it"})


def test_a_run_by_the_server_needs_no_password(database: Database, server: int, archive: Path, tmp_path: Path) -> None:
    config = settings(archive, tmp_path, MetadataConfig(store="server", host="127.0.0.1", port=server))
    assert run(config, "ImportSchemaGen") == {"ImportSchemaGen": False}
    assert run(config, "ImportSchemaGen") == {"ImportSchemaGen": True}
    store = open_store(tmp_path, {})
    assert store is not None
    [schema] = store.get_artifacts_by_type("Schema")
    assert Path(schema.uri).is_dir()
    assert "Schema" in database.sql("SELECT name FROM metadata.Type")
