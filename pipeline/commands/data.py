"""Commands on images: ``phantom`` makes them, ``describe`` counts them, ``preprocess`` shows the networks' input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

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
from schema.features import ClassDistribution, PectoralMethod, ViewName


def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    exams: Annotated[int, typer.Option(min=1, help="Number of exams.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed; the same seed writes the same bytes.")] = 1,
    distribution: Annotated[ClassDistribution, typer.Option(help="Class distribution.")] = "AOUP",
    reduction: Annotated[int, typer.Option(min=1, max=16, help="Divide the systems' matrices by this factor.")] = 1,
    special: Annotated[
        bool,
        typer.Option("--special", help="Write special pictures (paddles, implants, crops) and distractors instead."),
    ] = False,
) -> None:
    """Write four-view phantom exams as DICOM, with labels and ground truth."""
    from pipeline.phantom.config import PhantomConfig
    from pipeline.phantom.generate import generate_phantoms

    config = PhantomConfig(exams=exams, seed=seed, distribution=distribution, reduction=reduction)
    if special:
        from pipeline.phantom.special_set import write_special_set

        counts = write_special_set(config, out)
        typer.echo(f"{sum(counts.values())} pictures of {len(counts)} kinds in {out / 'images'}, truth in truth.csv")
        return
    with typer.progressbar(length=exams, label="phantom exams", file=sys.stderr) as bar:
        summary = generate_phantoms(config, out, lambda done, total, exam: bar.update(1))
    typer.echo(f"{summary.exams} exams of {summary.patients} patients in {out / 'images'}")
    typer.echo(f"labels in {summary.labels}, ground truth in {out / 'truth'}")


def describe(
    config: Annotated[
        str | None, typer.Argument(help="YAML file, or one of demo, small, thesis_resnet3, as for run.")
    ] = None,
    data: DataFolder = None,
    labels: Labels = None,
    manifest: Manifest = None,
    archive: Archive = None,
    density_values: DensityValues = None,
    files: Annotated[
        Path | None,
        typer.Option(help="Write one line of JSON per file: accepted, or the reason why not. It contains file names."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Print the tables of a data set: exams by class, age, system and split, and rejected files. Reads only headers.

    Exit code 1 if nothing would be accepted.
    """
    from rich.console import Console

    from components.sources.spans import find_spans
    from pipeline.config import find_config, load_config
    from pipeline.describe import describe_spans, tables_of, write_file_rows
    from pipeline.sources import source_of

    path = find_config(config) if config else None
    settings = load_config(path, overrides or (), data_keys(data, labels, manifest, archive, density_values))
    if settings.data is None:
        raise ValueError(f"No archive is named: {GIVE_DATA}")
    ingest = settings.pipeline.ingest
    with typer.progressbar(length=1, label="headers", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

        def on_file(done: int, total: int) -> None:
            bar.length = total
            bar.update(1)

        described = describe_spans(find_spans(source_of(settings.data)), ingest, on_file)
    console = Console(highlight=False)
    console.print(f"Configuration: {config or 'the defaults; give the configuration that you will run'}")
    for part in tables_of(described.figures, ingest):
        console.print(part)
    if files is not None:
        write_file_rows(described, files)
        typer.echo(f"Result of each file: {files}")
    if not described.figures["accepted"]:
        raise typer.Exit(1)


def readers(
    labels: Annotated[Path, typer.Argument(help="Labels or manifest, as for run.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="CSV file to write: the same table with readers instead of the density.")],
    kappa: Annotated[float, typer.Option(help="Quadratic weighted kappa between two readers, .05 to 1.")] = 0.7,
    count: Annotated[int, typer.Option("--readers", min=2, max=20, help="Number of readers.")] = 3,
    seed: Annotated[int, typer.Option(help="Seed; the same seed draws the same readers.")] = 1,
    density_values: DensityValues = None,
) -> None:
    """Draw readers who disagree over a labels table, for tests and teaching.

    Shows their agreement, and the metrics that a model without any error has if these readers judge it.
    """
    from rich.console import Console

    from components.sources.densities import read_density_values, split_density_values
    from pipeline.describe import terminal_table
    from pipeline.simulated_readers import ReaderPlan, draw, pairs_table, perfect_model_table, write_table

    values = read_density_values(split_density_values(density_values)) if density_values else None
    drawn, table = draw(labels, ReaderPlan(kappa, count, seed), values)
    write_table(out, table)
    console = Console(highlight=False)
    console.print(drawn.expected(kappa))
    for part in (pairs_table(drawn), perfect_model_table(drawn)):
        console.print(f"\n{part.caption}", style="bold")
        console.print(terminal_table(part))
        console.print(part.note, style="dim")
    typer.echo(f"{len(drawn.labels)} exams with {count} readers: {out}")


def preprocess(
    files: Annotated[list[Path], typer.Argument(help="DICOM, PNG or JPEG files.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    view: Annotated[
        ViewName | None,
        typer.Option(help="View of the files; required for PNG and JPEG, overrides the view in DICOM headers."),
    ] = None,
    method: Annotated[PectoralMethod, typer.Option(help="How the pectoral muscle is found.")] = "auto",
    size: Annotated[int, typer.Option(min=32, max=4096, help="Side of the square result, pixels.")] = 450,
    longest_side: Annotated[int, typer.Option(min=64, help="Reduce to this longest side first, pixels.")] = 1024,
    accept: Annotated[
        list[str] | None, typer.Option(help="Special images to accept, such as spot_compression. Repeatable.")
    ] = None,
) -> None:
    """Preprocess single files: STEM.png, STEM.pectoral.png, STEM.overlay.png and STEM.json."""
    from components.dicom.rejections import SPECIAL_CASES, AcceptanceConfig, IngestError, RejectionReason
    from components.exam_model.recipe import PreprocessingRecipe
    from components.preprocessing.config import PreprocessConfig
    from pipeline.preprocess import check_targets, preprocess_file

    unknown = sorted(set(accept or ()) - {case.value for case in SPECIAL_CASES})
    if unknown:
        allowed = ", ".join(case.value for case in SPECIAL_CASES)
        raise ValueError(f"--accept takes the kinds of special images: {allowed}. Received: {', '.join(unknown)}.")
    check_targets(files, out)
    # VIEW_CONFLICT, because the user states the view with --view.
    accepted = (RejectionReason.VIEW_CONFLICT, *map(RejectionReason, accept or ()))
    recipe = PreprocessingRecipe(
        longest_side=longest_side,
        acceptance=AcceptanceConfig(accept=accepted),
        preprocess=PreprocessConfig(method=method, output_size=size),
    )
    failures = 0
    for number, file in enumerate(files, start=1):
        try:
            result = preprocess_file(file, view, recipe, out)
            typer.echo(f"[{number}/{len(files)}] {file.name}: {result.status}, doubt {result.doubt:.2f}")
        except IngestError as error:
            failures += 1
            typer.echo(f"[{number}/{len(files)}] {error}", err=True)
    if failures:
        raise typer.Exit(1)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(phantom)
    app.command()(describe)
    app.command()(readers)
    app.command()(preprocess)
