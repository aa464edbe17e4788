"""The configuration of a run's ML Metadata."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_PORTS: Final = {"mysql": 3306, "server": 8080}


class MetadataConfig(BaseModel):
    """Where ML Metadata is stored.

    Attributes:
        store: ``sqlite`` for a file in the run's folder; ``mysql`` for a database (MySQL or MariaDB); ``server`` for an
            ML Metadata server, which uses a database (``kubeflow/manifests/metadata``).
        host: Host of the database or server.
        port: Port of the database or server; null for 3306 or 8080.
        database: Name of the database. Use one per output folder: runs of pipelines with the same name share a cache.
        user: User of the database. The login method must be ``mysql_native_password``, the only one that ML Metadata's
            client supports.
        password_variable: Environment variable with the user's password.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    store: Literal["sqlite", "mysql", "server"] = "sqlite"
    host: str = Field("", pattern=r"^[A-Za-z0-9._-]*$")
    port: int | None = Field(None, ge=1, le=65535)
    database: str = Field("metadata", pattern=r"^[A-Za-z0-9_]{1,64}$")
    user: str = Field("mlmd", pattern=r"^[A-Za-z0-9_]{1,32}$")
    password_variable: str = Field("BREAST_DENSITY_METADATA_PASSWORD", pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")

    @model_validator(mode="after")
    def _has_a_host(self) -> MetadataConfig:
        if (self.store == "sqlite") == bool(self.host):
            raise ValueError(
                "metadata.host is required for metadata.store mysql or server, and only for them."
                f" Received: store={self.store}, host={self.host or 'none'}"
            )
        return self

    @property
    def address(self) -> str:
        """``host:port``."""
        return f"{self.host}:{self.port or _PORTS[self.store]}"
