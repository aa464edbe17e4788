"""Submit a package to Kubeflow Pipelines: one run now, or recurring runs."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import kfp_server_api
import urllib3
from kfp.client import Client

from pipeline.kubeflow.parameters import Value

_CRON_HELP: Final = "A cron expression has six fields, seconds first, such as '0 0 3 * * 1' (Mondays at 3)"


class SubmitError(RuntimeError):
    """Kubeflow did not accept the run; the message contains its response."""


@dataclass(frozen=True)
class Target:
    """A Kubeflow Pipelines installation.

    Attributes:
        host: URL of the API, such as ``http://localhost:8888``.
        namespace: Namespace of the profile in a multi-user installation; None in a single-user one.
        token: Bearer token; None to send no token.
        ca: PEM file with the certificate authorities of the API; None for the system's.
    """

    host: str
    namespace: str | None = None
    token: str | None = None
    ca: Path | None = None


@dataclass(frozen=True)
class RunRequest:
    """The run to start.

    Attributes:
        package: File of the package.
        experiment: Name of the experiment; it is created if it does not exist.
        name: Name of the run.
        values: Typed run parameters.
        pipeline_root: Root of the artifacts.
        service_account: Kubernetes service account of the pods; None for the installation's default.
    """

    package: Path
    experiment: str
    name: str
    values: Mapping[str, Value]
    pipeline_root: str
    service_account: str | None = None


def _reason(error: kfp_server_api.ApiException) -> str:
    """Return the message in a response: from the API's JSON, or the text of a proxy."""
    try:
        body = json.loads(error.body or "")
    except ValueError:
        body = None
    text = body.get("error_message") or body.get("message") or body.get("error") if isinstance(body, dict) else None
    return " ".join(str(text or error.reason or "no reason given").split())[:400]


@contextmanager
def _submit_errors(host: str) -> Iterator[None]:
    """Raise the client's errors as SubmitError with one sentence."""
    try:
        yield
    except kfp_server_api.ApiException as error:
        hint = {401: " Give a token.", 403: " Give a token that may create runs, or another namespace."}
        raise SubmitError(
            f"Kubeflow at {host} answered {error.status}: {_reason(error)}.{hint.get(error.status, '')}"
        ) from error
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise SubmitError(
            f"Kubeflow at {host} cannot be reached ({type(reason).__name__}): is its API server's port forwarded?"
        ) from error


def _require_health(target: Target) -> None:
    """Check once that the API responds. The client itself would try for half a minute and give no reason."""
    configuration = kfp_server_api.Configuration(host=target.host.rstrip("/"))
    configuration.ssl_ca_cert = str(target.ca) if target.ca else None
    if target.token:
        configuration.api_key, configuration.api_key_prefix = (
            {"authorization": target.token},
            {"authorization": "Bearer"},
        )
    # By its path: the generated method has a different name in the client of each lane.
    api = kfp_server_api.ApiClient(configuration)
    api.call_api("/apis/v2beta1/healthz", "GET", auth_settings=["Bearer"])


def _client(target: Target) -> Client:
    _require_health(target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the warning that it works only with version 2
        client = Client(
            host=target.host,
            namespace=target.namespace or "kubeflow",
            existing_token=target.token,
            ssl_ca_cert=str(target.ca) if target.ca else None,
        )
    return client


def _experiment(client: Client, target: Target, name: str) -> str:
    return str(client.create_experiment(name, namespace=target.namespace).experiment_id)


def submit_run(target: Target, request: RunRequest) -> str:
    """Start a run.

    Returns:
        Id of the run.

    Raises:
        SubmitError: Kubeflow cannot be reached, or does not accept the run.
    """
    with _submit_errors(target.host):
        client = _client(target)
        run = client.run_pipeline(
            experiment_id=_experiment(client, target, request.experiment),
            job_name=request.name,
            pipeline_package_path=str(request.package),
            params=dict(request.values),
            pipeline_root=request.pipeline_root,
            service_account=request.service_account,
        )
    return str(run.run_id)


def submit_recurring_run(target: Target, request: RunRequest, cron: str, concurrency: int = 1) -> str:
    """Start recurring runs. Runs that were missed while Kubeflow was down are not repeated.

    Args:
        target: The installation.
        request: The run to start each time.
        cron: Six fields: second, minute, hour, day of month, month, day of week.
        concurrency: Maximum number of simultaneous runs.

    Returns:
        Id of the recurring run.

    Raises:
        SubmitError: Kubeflow cannot be reached, or does not accept the run.
    """
    if len(cron.split()) != 6:
        raise SubmitError(f"{_CRON_HELP}. Received: {cron!r}")
    with _submit_errors(target.host):
        client = _client(target)
        run: Any = client.create_recurring_run(
            experiment_id=_experiment(client, target, request.experiment),
            job_name=request.name,
            cron_expression=cron,
            max_concurrency=concurrency,
            no_catchup=True,  # a run always takes the latest span
            params=dict(request.values),
            pipeline_package_path=str(request.package),
            pipeline_root=request.pipeline_root,
            service_account=request.service_account,
        )
    return str(run.recurring_run_id)
