"""Configuration of the gateway: one YAML file without secrets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from schema.features import VIEWS
from serving.client.grading import GradingPolicy, Unfamiliar
from serving.client.grpc_client import DEFAULT_MODEL_NAME
from serving.dicom_results import ResultsConfig
from serving.wire.tls import ClientTls, ServerTls

TOKEN_VARIABLE: Final = "BREAST_DENSITY_GATEWAY_TOKEN"
_MIB: Final = 1 << 20
_MIN_TOKEN_CHARACTERS: Final = 16

# PS3.5 section 6.2, AE: 16 characters of the default repertoire without backslash, not only spaces.
AeTitle = Annotated[str, Field(pattern=r"^[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?$")]
Port = Annotated[int, Field(ge=0, le=65535)]
Sent = Literal["sr", "heat_maps", "refusals", "rejection_notes"]


class GatewayConfigError(ValueError):
    """The configuration cannot be used. The message is one sentence that says what to do; it contains no secret."""


@contextmanager
def tls_errors() -> Iterator[None]:
    """Turn errors of TLS files into `GatewayConfigError`."""
    try:
        yield
    except OSError as error:
        raise GatewayConfigError(
            f"A file of the TLS configuration cannot be used ({error.strerror}): name PEM files that this user may "
            "read."
        ) from error


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelServerConfig(_Section):
    """The model server that grades.

    Attributes:
        address: ``host:port`` of the gRPC of TensorFlow Serving or of ``breast-density serve``.
        name: Name of the model on the server.
        timeout_s: Longest wait for a response, s.
        tls: TLS of the connection; ``None`` is plain text.
    """

    address: str = Field("127.0.0.1:8500", pattern=r"^.+:\d+$")
    name: str = DEFAULT_MODEL_NAME
    timeout_s: float = Field(60.0, gt=0)
    tls: ClientTls | None = None


class DicomNodeConfig(_Section):
    """The DICOM node that receives images.

    Attributes:
        ae_title: AE title of the gateway; calls to another title are refused.
        host: Address to listen on.
        port: Port; 0 takes a free one.
        calling_ae_titles: AE titles that may call; empty allows all. An AE title is not a proof of identity: use TLS.
        max_associations: Associations at the same time; more are refused as transient, and the sender tries again.
        idle_seconds: Time without data after which an association is ended, s.
        association_seconds: Longest duration of an association, s.
        max_pdu_bytes: Largest accepted PDU.
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
    tls: ServerTls | None = None


class HttpConfig(_Section):
    """The HTTP server: DICOMweb, JSON routes, page, health and metrics.

    Attributes:
        host: Address to listen on.
        port: Port; 0 takes a free one.
        token_variable: Environment variable with the bearer token; the variable of the same name with ``_FILE`` names
            a file that contains it.
        max_uploads: Uploads at the same time; more get 503.
        max_connections: Requests at the same time; more get 503, except ``/healthz`` and ``/readyz``. A new connection
            takes the place of the one without a request that is open for longest.
        max_connections_per_address: The same per client address; ``null`` sets no limit of its own, for clients behind
            one proxy.
        head_seconds: Longest time to send the head of a request, s.
        idle_seconds: Time without data after which an upload is ended, s.
        upload_seconds: Longest duration of an upload, s.
        tls: TLS; ``None`` is plain text.
    """

    host: str = "127.0.0.1"
    port: Port = 8080
    token_variable: str = Field(TOKEN_VARIABLE, min_length=1)
    max_uploads: int = Field(4, ge=1)
    max_connections: int = Field(64, ge=2)
    max_connections_per_address: int | None = Field(None, ge=1)
    head_seconds: float = Field(5.0, gt=0)
    idle_seconds: float = Field(30.0, gt=0)
    upload_seconds: float = Field(900.0, gt=0)
    tls: ServerTls | None = None


class GroupingConfig(_Section):
    """When a study is complete enough to be graded.

    Attributes:
        quorum: Number of different standard views of a complete study.
        settle_seconds: Wait after the last image of a complete study, s.
        timeout_seconds: Wait after the last image of an incomplete study, s.
    """

    quorum: int = Field(len(VIEWS), ge=1, le=len(VIEWS))
    settle_seconds: float = Field(2.0, ge=0)
    timeout_seconds: float = Field(300.0, ge=0)


class LimitsConfig(_Section):
    """Limits of what is accepted.

    Attributes:
        instance_bytes: Largest image file.
        instances: Largest number of images of a study, and of files of an upload.
        request_bytes: Largest upload.
        waiting_studies: Largest number of studies without a grade; further studies are refused.
        free_bytes: Free space on the spool's disk below which nothing is accepted.
        max_pixels: Largest matrix, rows x columns.
    """

    instance_bytes: int = Field(160 * _MIB, ge=1)
    instances: int = Field(64, ge=4)
    request_bytes: int = Field(1024 * _MIB, ge=1)
    waiting_studies: int = Field(1000, ge=1)
    free_bytes: int = Field(1024 * _MIB, ge=0)
    max_pixels: int = Field(64_000_000, ge=1)


class RetryConfig(_Section):
    """Waits between attempts. The wait doubles after each failure.

    Attributes:
        first_seconds: Wait after the first failure, s.
        cap_seconds: Longest wait, s. Attempts continue until one succeeds.
    """

    first_seconds: float = Field(2.0, gt=0)
    cap_seconds: float = Field(600.0, gt=0)

    def wait(self, attempts: int) -> float:
        """Return the wait after a number of failed attempts, s."""
        return min(self.cap_seconds, self.first_seconds * 2.0 ** min(max(attempts, 1) - 1, 30))


class GatewayPolicy(GradingPolicy):
    """Which exams are graded. Nobody watches a gateway, so its defaults are strict.

    Attributes:
        minimum_views: Views that an exam needs, 1..4.
        maximum_doubt: Largest uncertainty of a view's segmentation, 0..1; exams above it are refused.
        refuse_failed_segmentation: Refuse exams in which the pectoral muscle of a view was not found.
        unseen: Exams of an acquisition system (manufacturer and model) that the model's training data do not have:
            ``flag`` grades them with a warning, ``refuse`` refuses them.
        unlike_training: Exams whose pictures are unlike those of the training exams (familiarity below 1): ``flag`` or
            ``refuse``.
        minimum_confidence: Smallest probability of the most probable class, 0..1; exams below it are refused. 0 refuses
            none.
    """

    minimum_views: int = Field(len(VIEWS), ge=1, le=len(VIEWS))
    unseen: Unfamiliar = "refuse"
    unlike_training: Unfamiliar = "refuse"


class GradingConfig(_Section):
    """How studies are graded.

    Attributes:
        workers: Studies that are graded at the same time.
        crashes: Broken attempts after which a study fails: its own process ended or hung while it read the images, or
            the results could not be made. The last attempt is made while no other study is read.
        decode_seconds: Longest time to read and preprocess the images of a study, s.
        policy: Which exams are graded.
    """

    workers: int = Field(1, ge=1, le=64)
    crashes: int = Field(3, ge=1)
    decode_seconds: float = Field(600.0, gt=0)
    policy: GatewayPolicy = GatewayPolicy()


class RetentionConfig(_Section):
    """How long data are kept.

    Attributes:
        images_hours: Time after the delivery after which images, pictures and DICOM results are deleted, h.
        results_days: Time after which grades are deleted, days. Grades contain no patient identity.
    """

    images_hours: float = Field(24.0, ge=0)
    results_days: float = Field(90.0, ge=0)


class _Destination(_Section):
    name: str = Field(pattern=r"^[A-Za-z0-9_-]{1,32}$")
    # A PACS without IOCM may refuse Key Object Selections, so rejection_notes are named where they are wanted.
    send: tuple[Sent, ...] = ("sr", "heat_maps", "refusals")
    timeout_s: float = Field(60.0, gt=0)
    tls: ClientTls | None = None


class DicomDestination(_Destination):
    """A DICOM node that receives results by C-STORE.

    Attributes:
        kind: ``dicom``.
        name: Name in logs, metrics and responses.
        send: Kinds of results that it receives.
        timeout_s: Longest wait for a response, s.
        tls: TLS; ``None`` is plain text.
        host: Host of the node.
        port: Port of the node.
        ae_title: AE title of the node.
    """

    kind: Literal["dicom"]
    host: str = Field(min_length=1)
    port: int = Field(ge=1, le=65535)
    ae_title: AeTitle


class StowDestination(_Destination):
    """A DICOMweb service that receives results by STOW-RS.

    Attributes:
        kind: ``stow``.
        name: Name in logs, metrics and responses.
        send: Kinds of results that it receives.
        timeout_s: Longest wait for a response, s.
        tls: Authorities and client certificate for ``https``; ``None`` takes the authorities of the system.
        url: Base URL, such as ``https://pacs:8042/dicom-web``.
        token_variable: Environment variable with the bearer token for it (or, with ``_FILE``, a file); empty = none.
    """

    kind: Literal["stow"]
    url: str = Field(pattern=r"^https?://[^\s?#@]+$")
    token_variable: str = ""


Destination = Annotated[DicomDestination | StowDestination, Field(discriminator="kind")]


class GatewayConfig(_Section):
    """Configuration of the gateway.

    Attributes:
        spool: Folder for accepted data until they are deleted. It contains images of patients.
        model: The model server that grades.
        dicom: The DICOM node; ``None`` disables it.
        http: DICOMweb, page and metrics.
        grouping: When a study is complete enough to be graded.
        limits: Limits of what is accepted.
        retry: Waits between attempts to grade or deliver.
        grading: How studies are graded.
        retention: How long data are kept.
        results: The DICOM results.
        destinations: Where results are sent.
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
    """Read the configuration.

    Args:
        path: YAML file; relative paths in it start at the working directory.

    Returns:
        The configuration.

    Raises:
        GatewayConfigError: The file cannot be read or is not a configuration.
    """
    try:
        document: Any = yaml.safe_load(path.read_text())
    except OSError as error:
        raise GatewayConfigError(f"{path} cannot be read ({error.strerror}): name a YAML file.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise GatewayConfigError(f"{path} is not YAML: {' '.join(str(error).split())}.") from error
    try:
        return GatewayConfig.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise GatewayConfigError(
            f"{path}: {where}: {first['msg']}: see serving/deploy/gateway.example.yaml."
        ) from error


def read_token(variable: str, environ: Mapping[str, str], how: str = "make one with: openssl rand -hex 32") -> str:
    """Read a bearer token from the environment, or from the file that ``VARIABLE_FILE`` names.

    Args:
        variable: Name of the variable.
        environ: Environment.
        how: How to get a token, for messages.

    Returns:
        The token.

    Raises:
        GatewayConfigError: The token is missing, has fewer than 16 characters, or is not printable ASCII.
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
            f"{variable} has {len(token)} characters; it needs at least {_MIN_TOKEN_CHARACTERS} of printable ASCII "
            f"without spaces: {how}."
        )
    return token
