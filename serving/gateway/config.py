"""Configuration of the gateway: one YAML file, no secret in it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schema.features import VIEWS
from serving.client.grading import GradingPolicy
from serving.client.grpc_client import DEFAULT_MODEL_NAME
from serving.client.tls import ClientTls
from serving.dicom_results import ResultsConfig

TOKEN_VARIABLE: Final = "BREAST_DENSITY_GATEWAY_TOKEN"
_MIB: Final = 1 << 20
_MIN_TOKEN_CHARACTERS: Final = 16

# PS3.5 section 6.2, AE: 16 characters of the default repertoire without backslash, not only spaces.
AeTitle = Annotated[str, Field(pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$")]
Port = Annotated[int, Field(ge=0, le=65535)]
Sent = Literal["sr", "heat_maps", "refusals"]


class GatewayConfigError(ValueError):
    """The configuration cannot be used. One sentence with the way out; it shows no secret."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TlsFiles(_Part):
    """TLS of a listening socket.

    Attributes:
        certificate: PEM file with the certificate chain.
        key: PEM file with its private key.
        client_ca: PEM file of the authority that must have signed the peer's certificate; ``None`` asks for none.
    """

    certificate: Path
    key: Path
    client_ca: Path | None = None


class ModelServerConfig(_Part):
    """Where grades come from.

    Attributes:
        address: ``host:port`` of the gRPC of TensorFlow Serving or of ``breast-density serve``.
        name: Name the model is served under.
        timeout_s: Longest wait for an answer, s.
        tls: TLS towards the server; ``None`` is plain text.
    """

    address: str = Field("127.0.0.1:8500", pattern=r"^.+:\d+$")
    name: str = DEFAULT_MODEL_NAME
    timeout_s: float = Field(60.0, gt=0)
    tls: ClientTls | None = None


class DicomNodeConfig(_Part):
    """The DICOM node that images are sent to.

    Attributes:
        ae_title: Our AE title; calls to another one are refused.
        host: Address to listen on.
        port: Port, 0 takes a free one.
        calling_ae_titles: AE titles that may call; empty lets all call (an AE title is a name, no proof: use TLS).
        max_associations: Associations at a time; more are refused as a passing state, and the sender tries again.
        idle_seconds: An association on which nothing comes for this long is ended, s.
        association_seconds: Longest life of an association, s.
        max_pdu_bytes: Largest PDU that is taken.
        tls: TLS; ``None`` is plain text.
    """

    ae_title: AeTitle = "BREASTDENSITY"
    host: str = "127.0.0.1"
    port: Port = 11112
    calling_ae_titles: tuple[AeTitle, ...] = ()
    max_associations: int = Field(8, ge=1, le=256)
    idle_seconds: float = Field(30.0, gt=0)
    association_seconds: float = Field(1800.0, gt=0)
    max_pdu_bytes: int = Field(128 * 1024, ge=4096, le=16 * _MIB)
    tls: TlsFiles | None = None


class HttpConfig(_Part):
    """DICOMweb, the JSON routes, the page, health and metrics.

    Attributes:
        host: Address to listen on.
        port: Port, 0 takes a free one.
        token_variable: Environment variable with the bearer token; the one of the same name with ``_FILE`` names a
            file that holds it.
        max_uploads: Uploads at a time; more get 503.
        max_connections: Connections at a time; more get 503.
        idle_seconds: An upload on which nothing comes for this long is ended, s.
        upload_seconds: Longest life of an upload, s.
        tls: TLS; ``None`` is plain text.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    token_variable: str = Field(TOKEN_VARIABLE, min_length=1)
    max_uploads: int = Field(4, ge=1)
    max_connections: int = Field(64, ge=2)
    idle_seconds: float = Field(30.0, gt=0)
    upload_seconds: float = Field(900.0, gt=0)
    tls: TlsFiles | None = None


class GroupingConfig(_Part):
    """When the images of a study are taken for the exam.

    Attributes:
        quorum: Different standard views after which no further image is waited for.
        settle_seconds: Quiet time after the last image, even with the quorum there, s.
        timeout_seconds: Quiet time after which the exam is taken as it is, s.
    """

    quorum: int = Field(len(VIEWS), ge=1, le=len(VIEWS))
    settle_seconds: float = Field(2.0, ge=0)
    timeout_seconds: float = Field(300.0, ge=0)


class LimitsConfig(_Part):
    """Bounds on what is taken.

    Attributes:
        instance_bytes: Largest image file.
        instances: Most images of a study, and files of an upload.
        request_bytes: Largest upload.
        waiting_studies: Most studies that are not graded yet; new ones are refused beyond it.
        free_bytes: Nothing is taken while the spool's disk has less free than this.
        max_pixels: Largest matrix, rows x columns.
    """

    instance_bytes: int = Field(160 * _MIB, ge=1)
    instances: int = Field(64, ge=4)
    request_bytes: int = Field(1024 * _MIB, ge=1)
    waiting_studies: int = Field(1000, ge=1)
    free_bytes: int = Field(1024 * _MIB, ge=0)
    max_pixels: int = Field(64_000_000, ge=1)


class RetryConfig(_Part):
    """Waits between attempts: ``first_seconds``, then twice as long each time, up to ``cap_seconds``.

    Attributes:
        first_seconds: Wait after the first failure, s.
        cap_seconds: Longest wait, s. Attempts do not end before they succeed.
    """

    first_seconds: float = Field(2.0, gt=0)
    cap_seconds: float = Field(600.0, gt=0)

    def wait(self, attempts: int) -> float:
        """Tells the wait after so many failed attempts, s."""
        return min(self.cap_seconds, self.first_seconds * 2.0 ** min(max(attempts, 1) - 1, 30))


class GradingConfig(_Part):
    """How studies are graded.

    Attributes:
        workers: Studies at a time.
        crashes: A study during which the gateway broke this often fails, instead of breaking it again.
        policy: Which exams are graded; all four views by default.
    """

    workers: int = Field(1, ge=1, le=64)
    crashes: int = Field(3, ge=1)
    policy: GradingPolicy = GradingPolicy(minimum_views=len(VIEWS))


class RetentionConfig(_Part):
    """How long what is kept.

    Attributes:
        images_hours: Images, pictures and DICOM results are deleted this long after the delivery, h.
        results_days: Grades, which name no patient, are deleted after this, days.
    """

    images_hours: float = Field(24.0, ge=0)
    results_days: float = Field(90.0, ge=0)


class _Destination(_Part):
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    send: tuple[Sent, ...] = ("sr", "heat_maps", "refusals")
    timeout_s: float = Field(60.0, gt=0)
    tls: ClientTls | None = None


class DicomDestination(_Destination):
    """A DICOM node that results are sent to by C-STORE.

    Attributes:
        kind: ``dicom``.
        name: Name in logs, metrics and answers.
        send: What it gets.
        timeout_s: Longest wait for an answer, s.
        tls: TLS; ``None`` is plain text.
        host: Its host.
        port: Its port.
        ae_title: Its AE title.
    """

    kind: Literal["dicom"]
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    ae_title: AeTitle


class StowDestination(_Destination):
    """A DICOMweb service that results are sent to by STOW-RS.

    Attributes:
        kind: ``stow``.
        name: Name in logs, metrics and answers.
        send: What it gets.
        timeout_s: Longest wait for an answer, s.
        tls: Authority and own certificate for ``https``; ``None`` takes the system's authorities.
        url: Its base, such as ``https://pacs:8042/dicom-web``.
        token_variable: Environment variable with the bearer token for it (or, with ``_FILE``, a file); empty = none.
    """

    kind: Literal["stow"]
    url: str = Field(pattern=r"^https?://[^\s?#@]+$")
    token_variable: str = ""


Destination = Annotated[DicomDestination | StowDestination, Field(discriminator="kind")]


class GatewayConfig(_Part):
    """The gateway.

    Attributes:
        spool: Folder for all that was accepted and is not finished. It holds images of patients.
        model: Where grades come from.
        dicom: The DICOM node; ``None`` for none.
        http: DICOMweb, page and metrics.
        grouping: When a study's images are an exam.
        limits: Bounds on what is taken.
        retry: Waits before grading or delivery is tried again.
        grading: How studies are graded.
        retention: How long what is kept.
        results: What the DICOM results say of their maker.
        destinations: Where results go.
    """

    spool: Path
    model: ModelServerConfig = ModelServerConfig()
    dicom: DicomNodeConfig | None = DicomNodeConfig()
    http: HttpConfig = HttpConfig()
    grouping: GroupingConfig = GroupingConfig()
    limits: LimitsConfig = LimitsConfig()
    retry: RetryConfig = RetryConfig()
    grading: GradingConfig = GradingConfig()
    retention: RetentionConfig = RetentionConfig()
    results: ResultsConfig = ResultsConfig()
    destinations: tuple[Destination, ...] = ()

    @model_validator(mode="after")
    def _different_names(self) -> GatewayConfig:
        names = [destination.name for destination in self.destinations]
        if len(set(names)) < len(names):
            raise ValueError(f"destinations need different names. Received: {', '.join(names)}")
        return self


def load_gateway_config(path: Path) -> GatewayConfig:
    """Reads the configuration.

    Args:
        path: YAML file; relative paths in it start at the working directory.

    Returns:
        The configuration.

    Raises:
        GatewayConfigError: The file cannot be read or holds something else.
    """
    try:
        document: Any = yaml.safe_load(path.read_text())
    except OSError as error:
        raise GatewayConfigError(f"{path} cannot be read ({error.strerror}): name a YAML file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GatewayConfigError(f"{path} is no YAML: {' '.join(str(error).split())}.") from error
    try:
        return GatewayConfig.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise GatewayConfigError(
            f"{path}: {where}: {first['msg']}: see serving/deploy/gateway.example.yaml."
        ) from error


def read_token(variable: str, environ: Mapping[str, str], how: str = "make one with: openssl rand -hex 32") -> str:
    """Reads a bearer token from the environment, or from the file that ``VARIABLE_FILE`` names.

    Args:
        variable: Name of the variable.
        environ: Environment.
        how: Where a token comes from, for messages.

    Returns:
        The token.

    Raises:
        GatewayConfigError: There is none, it is shorter than 16 characters, or it is not printable ASCII.
    """
    value = environ.get(variable, "")
    if not value and (file := environ.get(f"{variable}_FILE")):
        try:
            value = Path(file).read_text("ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise GatewayConfigError(f"{variable}_FILE names a file that cannot be read: correct it.") from error
    token = value.strip()
    if not token:
        raise GatewayConfigError(f"Neither {variable} nor {variable}_FILE is set: {how}.")
    if len(token) < _MIN_TOKEN_CHARACTERS or not all("!" <= c <= "~" for c in token):
        raise GatewayConfigError(
            f"{variable} holds {len(token)} characters, at least {_MIN_TOKEN_CHARACTERS} of printable ASCII without "
            f"spaces are needed: {how}."
        )
    return token
