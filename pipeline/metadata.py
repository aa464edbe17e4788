"""Open the ML Metadata of a run: a file in its folder, a MySQL database, or an ML Metadata server."""

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
# In the folder of a run with remote metadata: where they are. It contains no password.
REMOTE_FILE: Final = "metadata.json"
_SECONDS: Final = 60.0


class MetadataError(RuntimeError):
    """The metadata of a run cannot be reached; the message contains the address and what to check."""


def connection(config: MetadataConfig, output: Path, environment: Mapping[str, str]) -> Connection:
    """Return the connection for ML Metadata's client.

    Args:
        config: Where metadata are stored.
        output: Folder of the run; it is created if it does not exist.
        environment: Environment variables.

    Raises:
        MetadataError: The variable of the password is not set.
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
        raise MetadataError(f"{config.password_variable} is not set: it must contain the password of {config.user}.")
    host, _, port = config.address.rpartition(":")
    made.mysql.host, made.mysql.port, made.mysql.database = host, int(port), config.database
    made.mysql.user, made.mysql.password = config.user, password
    return made


def open_connection(config: MetadataConfig, made: Connection) -> MetadataStore:
    """Open a store, and send a query to test it.

    Raises:
        MetadataError: The store does not respond.
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
    """Connect a run as :func:`connection`, test the connection, and note it in the run's folder for later readers.

    Raises:
        MetadataError: The store does not respond, or earlier runs in the folder use another store.
    """
    made = connection(config, output, environment)
    noted = output / REMOTE_FILE
    here = (output / STORE_FILE).exists()
    if (noted.exists() and noted_in(output) != config) or (here and config.store != "sqlite"):
        raise MetadataError(f"The runs in {output} have their metadata elsewhere: give another output folder.")
    if config.store != "sqlite":
        open_connection(config, made)
        output.mkdir(parents=True, exist_ok=True)
        write_whole(noted, config.model_dump_json(indent=1).encode())
    return made


def noted_in(run: Path) -> MetadataConfig:
    """Return where the metadata of a run's folder are."""
    noted = run / REMOTE_FILE
    return MetadataConfig.model_validate_json(noted.read_bytes()) if noted.exists() else MetadataConfig()


def open_store(run: Path, environment: Mapping[str, str]) -> MetadataStore | None:
    """Open the metadata of a run's folder for reading; return None if there are none.

    Raises:
        MetadataError: They are on a server that cannot be reached.
    """
    config = noted_in(run)
    if config.store == "sqlite" and not (run / STORE_FILE).is_file():
        return None
    made = connection(config, run, environment)
    if config.store == "sqlite":
        made.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READONLY
    return open_connection(config, made)
