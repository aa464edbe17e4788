"""The commands ``breast-density review export``, ``check`` and ``labels``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pipeline.logs import quiet_tensorflow

if TYPE_CHECKING:
    from pipeline.review.session import Checked

review_app: Final = typer.Typer(
    no_args_is_help=True,
    help="Let people review segmentations and labels: export uncertain ones, check the reviews.",
)


@review_app.command("export")
def export_views(
    run_output: Annotated[Path, typer.Argument(help="Output folder of a run.", exists=True, file_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder of reviews.")] = Path("reviews"),
    top: Annotated[int, typer.Option(min=1, help="Number of views, the most uncertain first.")] = 50,
    replace: Annotated[bool, typer.Option("--replace", help="Remove todo/ of an earlier export first.")] = False,
) -> None:
    """Write the most uncertain views, and a page to view them and to draw on."""
    quiet_tensorflow()
    from pipeline.review.session import PAGE, TODO, export_reviews

    count = export_reviews(run_output, out, top, replace)
    typer.echo(f"{count} views. Open {out / PAGE} in a browser, or edit the files in {out / TODO} with labelme or any")
    typer.echo(f"image editor. Move finished files to {out}, then:")
    typer.echo(f"breast-density review check {out} --run {run_output}")


@review_app.command("labels")
def export_labels(
    run_output: Annotated[
        Path, typer.Argument(help="Output folder of the run or experiment.", exists=True, file_okay=False)
    ],
    predictions: Annotated[
        list[Path],
        typer.Option(
            help="Out-of-fold predictions: a table that experiment repeat writes, one per seed. Repeatable.",
            exists=True,
            dir_okay=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write labels.csv and labels.html to.")] = Path("reviews"),
    top: Annotated[int, typer.Option(min=1, help="Number of exams on the page, the most doubted first.")] = 50,
) -> None:
    """List the exams whose density labels the models doubt most, for a second reading."""
    quiet_tensorflow()
    from pipeline.review.labels import PAGE, TABLE, export_doubted

    count, share = export_doubted(run_output, predictions, out, top)
    low, high = share.ci95 or (float("nan"), float("nan"))
    typer.echo(
        f"Doubted labels: {share.value or 0:.1%} of {share.n:,} exams (95 % interval {low:.1%} to {high:.1%}). All of"
        f" them are in {out / TABLE}, with the names of their files, and {count} are in {out / PAGE}."
    )


def _line(entry: Checked) -> str:
    if entry.finding is not None:
        verdict = "refused " if entry.is_refused else "older   "
        return f"{verdict} {entry.file}: {entry.finding.problem.value}: {entry.finding.sentence}"
    assert entry.outcome is not None
    agreement = "" if entry.outcome.dice is None else f", Dice {entry.outcome.dice:.3f} with the automatic one"
    text = f"{entry.file}: {entry.outcome.verdict}{agreement} (automatic: {entry.outcome.automatic_status})"
    return f"look     {text}. {' '.join(entry.warnings)}" if entry.warnings else f"ok       {text}"


@review_app.command("check")
def check_folder(
    reviews: Annotated[Path, typer.Argument(help="Folder of reviews.", exists=True, file_okay=False)],
    run_output: Annotated[Path, typer.Option("--run", help="Output folder of the run.", exists=True, file_okay=False)],
) -> None:
    """Show how the next run will use each file; exit code 1 if a file is refused."""
    quiet_tensorflow()
    from pipeline.review.session import check_reviews

    checked = check_reviews(reviews, run_output)
    for entry in checked:
        typer.echo(_line(entry))
    refused = sum(entry.is_refused for entry in checked)
    unusual = sum(bool(entry.warnings) for entry in checked)
    typer.echo(f"{len(checked)} files, {refused} refused" + (f", {unusual} to look at again" if unusual else ""))
    if refused:
        raise typer.Exit(1)
