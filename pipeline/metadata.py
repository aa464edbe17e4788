"""Where a run's ML Metadata is kept: a file of its own, a MySQL database, or ML Metadata's server before one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeAlias

from ml_metadata.errors import StatusError
from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb

from components.common.files import write_whole
from pipeline.metadata_config import MetadataConfig

Connection: TypeAlias = pb.ConnectionConfig | pb.MetadataStoreClientConfig
STORE_FILE: Final = "metadata.sqlite"
# In a run's folder where its metadata are elsewhere: where. It holds no password.
REMOTE_FILE: Final = "metadata.json"
_SECONDS: Final = 60.0


class MetadataError(RuntimeError):
    """The metadata of a run cannot be reached; the message says which, and what to check."""


def connection(config: MetadataConfig, output: Path, environment: Mapping[str, str]) -> Connection:
    """Makes the connection that ML Metadata's client takes.

    Args:
        config: Where metadata are kept.
        output: The run's folder; it is made where it is not there.
        environment: Environment variables.

    Raises:
        MetadataError: The password's variable is not set.
    """
    if config.store == "server":
        host, _, port = config.address.rpartition(":")
        return pb.MetadataStoreClientConfig(host=host, port=int(port), client_timeout_sec=_SECONDS)
    made = pb.ConnectionConfig()
    if config.store == "sqlite":
        output.mkdir(parents=True, exist_ok=True)
        made.sqlite.filename_uri = str(output.resolve() / STORE_FILE)
        made.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
        return made
    password = environment.get(config.password_variable)
    if not password:
        raise MetadataError(f"{config.password_variable} is not set: it holds the password of {config.user}.")
    host, _, port = config.address.rpartition(":")
    made.mysql.host, made.mysql.port, made.mysql.database = host, int(port), config.database
    made.mysql.user, made.mysql.password = config.user, password
    return made


def open_connection(config: MetadataConfig, made: Connection) -> MetadataStore:
    """Opens a store, and asks it something.

    Raises:
        MetadataError: It does not answer.
    """
    try:
        store = MetadataStore(made)
        store.get_context_types()
    except (RuntimeError, StatusError) as error:
        advice = "host, port and name resolution"
        if config.store == "mysql":
            advice += f", the password, and that {config.user} may log in by mysql_native_password"
        raise MetadataError(
            f"The metadata at {config.address} cannot be reached, check {advice}."
            f" Received: {' '.join(str(error).split())[:300]}"
        ) from error
    return store


def prepare(config: MetadataConfig, output: Path, environment: Mapping[str, str]) -> Connection:
    """Connects a run: as :func:`connection`, asked once, and noted in the run's folder for who reads it later.

    Raises:
        MetadataError: There is no answer, or the folder has its metadata elsewhere.
    """
    made = connection(config, output, environment)
    noted = output / REMOTE_FILE
    here = (output / STORE_FILE).exists()
    if (noted.exists() and noted_in(output) != config) or (here and config.store != "sqlite"):
        raise MetadataError(f"The runs in {output} have their metadata elsewhere: name another output folder.")
    if config.store != "sqlite":
        open_connection(config, made)
        output.mkdir(parents=True, exist_ok=True)
        write_whole(noted, config.model_dump_json(indent=1).encode())
    return made


def noted_in(run: Path) -> MetadataConfig:
    """Reads where the metadata of a run's folder are."""
    noted = run / REMOTE_FILE
    return MetadataConfig.model_validate_json(noted.read_bytes()) if noted.exists() else MetadataConfig()


def open_store(run: Path, environment: Mapping[str, str]) -> MetadataStore | None:
    """Opens the metadata of a run's folder to read them; None where there are none.

    Raises:
        MetadataError: They are elsewhere, and cannot be reached.
    """
    config = noted_in(run)
    if config.store == "sqlite" and not (run / STORE_FILE).is_file():
        return None
    made = connection(config, run, environment)
    if config.store == "sqlite":
        made.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READONLY
    return open_connection(config, made)
