"""The commands ``compile``, ``submit`` and ``walk``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Final, Literal

import typer

_PARAMETER: Final = typer.Option(
    "--parameter", "-p", metavar="NAME=VALUE", help="Run parameter, such as epochs=60. Repeatable."
)
_TOKEN_VARIABLE: Final = "KF_PIPELINES_TOKEN"


def _pairs(assignments: Sequence[str]) -> dict[str, str]:
    values = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or not name:
            raise ValueError(f"A run parameter must be NAME=VALUE, such as epochs=60. Received: {assignment!r}")
        values[name] = value
    return values


def _compile(
    config: Annotated[str, typer.Argument(help="YAML file, or one of small, thesis_resnet3.")],
    out: Annotated[Path, typer.Option(help="Package to write.")] = Path("kubeflow/pipeline.yaml"),
    runner: Annotated[Literal["kubeflow"], typer.Option(help="Runner to compile for.")] = "kubeflow",
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as kubeflow.image=REPO/IMAGE:TAG."),
    ] = None,
) -> None:
    """Compile the pipeline into a package of Kubeflow Pipelines v2, see docs/kubeflow.md."""
    from pipeline.config import find_config, load_config
    from pipeline.logs import quiet_tensorflow

    del runner
    settings = load_config(find_config(config), overrides or ())
    quiet_tensorflow()
    from pipeline.kubeflow.compiling import write_package

    package = write_package(settings, out)
    parameters = ", ".join(f"{parameter.name}={parameter.default}" for parameter in package.run_parameters())
    typer.echo(f"{len(package.spec.root.dag.tasks)} tasks in {out}, image {settings.kubeflow.image}")
    typer.echo(f"run parameters: {parameters}")


def _submit(
    package: Annotated[Path, typer.Argument(help="Package that compile wrote.", exists=True, dir_okay=False)],
    host: Annotated[str, typer.Option(help="URL of Kubeflow Pipelines' API.", envvar="KF_PIPELINES_ENDPOINT")],
    experiment: Annotated[str, typer.Option(help="Experiment; created if it does not exist.")] = "breast-density",
    run_name: Annotated[str | None, typer.Option(help="Name of the run; by default with the time.")] = None,
    parameters: Annotated[list[str] | None, _PARAMETER] = None,
    cron: Annotated[
        str | None, typer.Option(help="Recurring runs: six fields, seconds first, such as '0 0 3 * * 1'.")
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Namespace of the profile, in a multi-user installation.")
    ] = None,
    service_account: Annotated[str | None, typer.Option(help="Service account of the pods.")] = None,
    ca: Annotated[Path | None, typer.Option(help="Certificate authorities of the API, PEM.", exists=True)] = None,
) -> None:
    """Start a run of a package on Kubeflow Pipelines, or recurring runs.

    A bearer token is read from the environment variable KF_PIPELINES_TOKEN.
    """
    from pipeline.kubeflow.package import check_values, read_package
    from pipeline.kubeflow.submitting import RunRequest, Target, submit_recurring_run, submit_run

    read = read_package(package)
    values = check_values(read, _pairs(parameters or ()))
    name = run_name or f"breast-density {datetime.now(timezone.utc):%Y-%m-%d %H:%M:%S}"
    target = Target(host, namespace, os.environ.get(_TOKEN_VARIABLE), ca)
    request = RunRequest(package, experiment, name, values, read.pipeline_root, service_account)
    if cron is None:
        typer.echo(f"run {submit_run(target, request)}")
    else:
        typer.echo(f"recurring run {submit_recurring_run(target, request, cron)}")


def _walk(
    package: Annotated[Path, typer.Argument(help="Package that compile wrote.", exists=True, dir_okay=False)],
    folder: Annotated[Path, typer.Option(help="Folder for the store, the pods and their logs: empty, or of a walk.")],
    parameters: Annotated[list[str] | None, _PARAMETER] = None,
    jobs: Annotated[int, typer.Option(min=1, max=16, help="Number of tasks that run at the same time.")] = 2,
) -> None:
    """Run a package on this machine without Kubeflow: each container's command, in order.

    A second walk in a folder runs what a second run on Kubeflow would run; the rest is cached.
    """
    from pipeline.kubeflow.driver import LOGS, Request
    from pipeline.kubeflow.package import check_values, read_package
    from pipeline.kubeflow.walk import FinishedTask, walk
    from pipeline.metadata import STORE_FILE

    if folder.exists() and any(folder.iterdir()) and not (folder / STORE_FILE).is_file():
        raise ValueError(f"{folder} is not empty, and not of a walk: give another folder.")
    read = read_package(package)

    def on_task(finished: FinishedTask, number: int, count: int) -> None:
        outputs = ", ".join(sorted({*finished.output.artifacts} - {LOGS}))
        duration = "  cached" if finished.cached else f"{finished.seconds:6.1f} s"
        typer.echo(f"[{number:2}/{count}] {finished.task:24} {duration}  {outputs}")

    request = Request(check_values(read, _pairs(parameters or ())), read.pipeline_root)
    walk(read, folder, request, jobs, on_task)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("compile")(_compile)
    app.command("submit")(_submit)
    app.command("walk")(_walk)
