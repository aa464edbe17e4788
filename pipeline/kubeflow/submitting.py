"""Sends a package to Kubeflow Pipelines: a run now, or runs by the clock."""

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

_SECONDS: Final = "a cron expression has six fields, seconds first, such as '0 0 3 * * 1' (Mondays at 3)"


class SubmitError(RuntimeError):
    """Kubeflow did not take the run; the message says what it answered."""


@dataclass(frozen=True)
class Target:
    """A Kubeflow Pipelines installation.

    Attributes:
        host: URL of its API, such as ``http://localhost:8888``.
        namespace: Profile's namespace where there are several users; None where there is one.
        token: Bearer token; None for none.
        ca: File with the authorities of its certificate, PEM; None for the system's.
    """

    host: str
    namespace: str | None = None
    token: str | None = None
    ca: Path | None = None


@dataclass(frozen=True)
class RunRequest:
    """What is to run.

    Attributes:
        package: File of the package.
        experiment: Name of the experiment; made where there is none.
        name: Name of the run.
        values: Run parameters, typed.
        service_account: Kubernetes service account of the pods; None for the installation's.
    """

    package: Path
    experiment: str
    name: str
    values: Mapping[str, Value]
    service_account: str | None = None


def _told(error: kfp_server_api.ApiException) -> str:
    """Finds the sentence in an answer: the API's own JSON, or whatever a proxy says."""
    try:
        body = json.loads(error.body or "")
    except ValueError:
        body = None
    text = body.get("error_message") or body.get("message") or body.get("error") if isinstance(body, dict) else None
    return " ".join(str(text or error.reason or "no reason given").split())[:400]


@contextmanager
def _one_sentence(host: str) -> Iterator[None]:
    try:
        yield
    except kfp_server_api.ApiException as error:
        hint = {401: " Give a token.", 403: " Give a token that may create runs, or another namespace."}
        raise SubmitError(
            f"Kubeflow at {host} answered {error.status}: {_told(error)}.{hint.get(error.status, '')}"
        ) from error
    except urllib3.exceptions.HTTPError as error:
        reason = getattr(error, "reason", None) or error
        raise SubmitError(
            f"Kubeflow at {host} cannot be reached ({type(reason).__name__}): is its API server's port forwarded?"
        ) from error


def _require_health(target: Target) -> None:
    """Asks once whether anybody is there: the client itself asks for half a minute, and tells of no reason."""
    configuration = kfp_server_api.Configuration(host=target.host.rstrip("/"))
    configuration.ssl_ca_cert = str(target.ca) if target.ca else None
    if target.token:
        configuration.api_key, configuration.api_key_prefix = (
            {"authorization": target.token},
            {"authorization": "Bearer"},
        )
    # By its path: the method that is generated for it has another name in the client of each lane.
    api = kfp_server_api.ApiClient(configuration)
    api.call_api("/apis/v2beta1/healthz", "GET", auth_settings=["Bearer"])


def _client(target: Target) -> Client:
    _require_health(target)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it works with version 2 alone
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
    """Starts a run.

    Returns:
        Its id.

    Raises:
        SubmitError: Kubeflow cannot be reached, or does not take it.
    """
    with _one_sentence(target.host):
        client = _client(target)
        run = client.run_pipeline(
            experiment_id=_experiment(client, target, request.experiment),
            job_name=request.name,
            pipeline_package_path=str(request.package),
            params=dict(request.values),
            service_account=request.service_account,
        )
    return str(run.run_id)


def submit_recurring_run(target: Target, request: RunRequest, cron: str, concurrency: int = 1) -> str:
    """Starts runs by the clock; runs that were missed while Kubeflow was down are not made up for.

    Args:
        target: Where.
        request: What.
        cron: Six fields: second, minute, hour, day of month, month, day of week.
        concurrency: Runs that may go on at one time.

    Returns:
        Id of the recurring run.

    Raises:
        SubmitError: Kubeflow cannot be reached, or does not take it.
    """
    if len(cron.split()) != 6:
        raise SubmitError(f"{_SECONDS[0].upper()}{_SECONDS[1:]}. Received: {cron!r}")
    with _one_sentence(target.host):
        client = _client(target)
        run: Any = client.create_recurring_run(
            experiment_id=_experiment(client, target, request.experiment),
            job_name=request.name,
            cron_expression=cron,
            max_concurrency=concurrency,
            no_catchup=True,  # yesterday's archive is gone: the latest span is all that there is to do
            params=dict(request.values),
            pipeline_package_path=str(request.package),
            service_account=request.service_account,
        )
    return str(run.recurring_run_id)
