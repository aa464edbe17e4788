"""Commands that run the pipeline: ``run``, ``demo`` and ``experiment``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer

from pipeline.commands.options import (
    GIVE_DATA,
    Archive,
    DataFolder,
    DensityValues,
    Labels,
    Manifest,
    Overrides,
    data_keys,
)
from pipeline.experiments.catalogue import EXPERIMENTS
from schema.software import NOTICE

_ALL: Final = "all"
REFUSED: Final = 4  # the run is whole, and its model was refused
_REPEAT: Final = "repeat"
_EXPERIMENTS_HELP: Final = "\n\n".join(
    (
        "Run one of the thesis's experiments, and print its table beside the values of the slides.",
        *(f"{name}: {found.sentence}" for name, found in EXPERIMENTS.items()),
        f"{_ALL}: all of them.",
        "repeat: cross-validation of your own: --arm CONFIG (repeatable; texture is the texture model, which is also "
        "averaged with each configuration, grey a regression on grey statistics) in --folds by patient with --seeds, "
        "reported with intervals, the spread between seeds and paired differences from the first arm. Finished folds "
        "are kept.",
        "An experiment runs the pipeline once per arm and pushes nothing. Common steps of the arms are computed once, "
        "and finished steps are not run again. Without data it makes the phantoms of its configuration. Metrics, "
        "predictions and a page are in OUTPUT/experiments.",
    )
)


def run(
    config: Annotated[str, typer.Argument(help="YAML file, or one of demo, small, thesis_resnet3.")],
    data: DataFolder = None,
    labels: Labels = None,
    manifest: Manifest = None,
    archive: Archive = None,
    density_values: DensityValues = None,
    reviews: Annotated[Path | None, typer.Option(help="Folder of reviewed segmentations, see docs/review.md.")] = None,
    output: Annotated[Path | None, typer.Option(help="Output folder of the run.")] = None,
    overrides: Overrides = None,
) -> None:
    """Run the pipeline: from an archive to a report, and to a served or refused model.

    Exit code: 0 the model is served, 4 the model was refused and nothing was pushed, 1 error.
    """
    from pipeline.config import find_config, load_config
    from pipeline.logs import chatter_to

    paths = {key: str(value) for key, value in (("data.reviews", reviews), ("output", output)) if value is not None}
    named = data_keys(data, labels, manifest, archive, density_values) | paths
    settings = load_config(find_config(config), overrides or (), named)
    if settings.data is None:
        raise ValueError(f"{config} names no archive: {GIVE_DATA}")
    if absent := settings.data.absent():  # before TensorFlow is imported, which takes seconds
        raise ValueError(f"{', '.join(absent)}: does not exist; correct the name, or put the data there.")
    with chatter_to(settings.output / "pipeline.log") as terminal:
        from pipeline.local.run import figures_table, run_config

        outcome = run_config(settings, terminal)
    if outcome.public_key:
        typer.echo(f"warning  {settings.pipeline.ingest.hash_key_variable} is not set: identifiers are hashed with a")
        typer.echo("         public key, which protects nobody. Set it to a secret before you use real archives.")
    for alert in outcome.alerts:
        typer.echo(f"alert    {alert}")
    typer.echo("")
    typer.echo("Exam-level metrics on the test split:")
    for line in figures_table(outcome.figures):
        typer.echo("  " + line)
    if outcome.baseline:
        typer.echo("The network against a regression on grey statistics of the same pictures:")
    for line in outcome.baseline:
        typer.echo("  " + line)
    for line in outcome.warnings:
        typer.echo(f"warning  {line}")
    for line in outcome.refusals:
        typer.echo(f"refused  {line}")
    if outcome.pushed:
        typer.echo(f"model    blessed, served from {outcome.serving}")
    elif outcome.blessed:
        typer.echo("model    blessed by the gates, but refused by a later check, not pushed")
    else:
        typer.echo("model    refused by the gates, not pushed")
    typer.echo(f"report   {outcome.report}")
    typer.echo(NOTICE)
    if not outcome.pushed:
        raise typer.Exit(REFUSED)


def demo(
    output: Annotated[Path, typer.Option(help="Output folder of the demo.")] = Path("demo"),
    overrides: Overrides = None,
) -> None:
    """Run the whole pipeline on phantoms, then grade a real exam by gRPC.

    Exit code: 0 the model is served, 4 the model was refused, 1 error.
    """
    from pipeline.local.demo import ModelRefusedError, run_demo

    try:
        run_demo(output, tuple(overrides or ()), typer.echo)
    except ModelRefusedError as error:
        typer.secho(f"Error: {error}", fg=typer.colors.RED, err=True)
        raise typer.Exit(REFUSED) from error


def experiment(
    name: Annotated[str, typer.Argument(help="One of the names above.")],
    config: Annotated[
        str | None,
        typer.Argument(help="YAML file, or one of experiment (the reduced size, the default), small, thesis_resnet3."),
    ] = None,
    data: DataFolder = None,
    labels: Labels = None,
    manifest: Manifest = None,
    archive: Archive = None,
    density_values: DensityValues = None,
    output: Annotated[Path | None, typer.Option(help="Output folder of the experiment.")] = None,
    overrides: Overrides = None,
    arm: Annotated[
        list[str] | None,
        typer.Option(metavar="CONFIG[+KEY=VALUE...]", help="Only repeat: a configuration to compare. Repeatable."),
    ] = None,
    folds: Annotated[int | None, typer.Option(help="Only repeat: folds by patient, 5 by default.")] = None,
    seeds: Annotated[int | None, typer.Option(help="Only repeat: trainings per fold, 3 by default.")] = None,
) -> None:
    """See the help above."""
    if name not in (*EXPERIMENTS, _ALL, _REPEAT):
        known = ", ".join((*EXPERIMENTS, _ALL, _REPEAT))
        raise ValueError(f"The experiment {name} does not exist: give one of {known}.")
    if name != _REPEAT and (arm, folds, seeds) != (None, None, None):
        raise ValueError(f"--arm, --folds and --seeds belong to the experiment {_REPEAT}. Received: {name}")
    if arm and config:
        raise ValueError(f"{_REPEAT} takes a configuration or --arm, not both. Received: {config} and {', '.join(arm)}")
    from rich.console import Console

    from pipeline.commands.experiments import run_named
    from pipeline.config import find_config

    values = data_keys(data, labels, manifest, archive, density_values) | ({"output": str(output)} if output else {})
    config = config or "experiment"
    if name == _REPEAT:
        from pipeline.commands.experiments import run_repeated

        numbers = (5 if folds is None else folds, 3 if seeds is None else seeds)
        run_repeated(tuple(arm or [config]), numbers, overrides or (), values, Console(highlight=False))
        typer.echo(NOTICE)
        return
    chosen = list(EXPERIMENTS.values()) if name == _ALL else [EXPERIMENTS[name]]
    run_named(chosen, find_config(config), overrides or (), values, Console(highlight=False))
    typer.echo(NOTICE)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(run)
    app.command()(demo)
    app.command(help=_EXPERIMENTS_HELP)(experiment)
