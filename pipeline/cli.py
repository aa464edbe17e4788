"""The command ``breast-density``.

Commands import what they need when they run: TensorFlow and TFX take seconds, ``--help`` must not.
"""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from enum import Enum
from pathlib import Path
from typing import Annotated, Final

import typer

_NOTICE: Final = "Research software. Not a medical device."

app = typer.Typer(
    name="breast-density",
    help=f"Mammography DICOM to a served, explainable BI-RADS density classifier. {_NOTICE}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Distribution(str, Enum):
    """Class distributions of the thesis."""

    AOUP = "AOUP"
    BIRADS = "BIRADS"
    UNIFORM = "uniform"


class View(str, Enum):
    """The four standard views."""

    CC_R = "CC_R"
    CC_L = "CC_L"
    MLO_R = "MLO_R"
    MLO_L = "MLO_L"


class Method(str, Enum):
    """Ways to segment the pectoral muscle."""

    AUTO = "auto"
    THESIS = "thesis"
    NONE = "none"


Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key, such as pipeline.trainer.epochs=3. Repeatable."),
]


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write to.")],
    exams: Annotated[int, typer.Option(min=1, help="Number of exams.")] = 40,
    seed: Annotated[int, typer.Option(help="Seed; the same one writes the same bytes.")] = 1,
    distribution: Annotated[Distribution, typer.Option(help="Class distribution.")] = Distribution.AOUP,
    reduction: Annotated[int, typer.Option(min=1, max=16, help="Divide the systems' matrices by this.")] = 1,
) -> None:
    """Write four-view phantom exams as DICOM, with labels and ground truth."""
    from pipeline.phantom.config import PhantomConfig
    from pipeline.phantom.generate import generate_phantoms

    config = PhantomConfig(exams=exams, seed=seed, distribution=distribution.value, reduction=reduction)
    with typer.progressbar(length=exams, label="phantom exams", file=sys.stderr) as bar:
        summary = generate_phantoms(config, out, lambda done, total, exam: bar.update(1))
    typer.echo(f"{summary.exams} exams of {summary.patients} patients in {out / 'images'}")
    typer.echo(f"labels in {summary.labels}, ground truth in {out / 'truth'}")


@app.command()
def run(
    config: Annotated[str, typer.Argument(help="YAML file, or one of demo, small, thesis_resnet3.")],
    data: Annotated[Path | None, typer.Option(help="Folder of DICOM files.")] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV: exam_id, density.")] = None,
    manifest: Annotated[Path | None, typer.Option(help="CSV: exam_id, view, file, density.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for all that the run writes.")] = None,
    overrides: Overrides = None,
) -> None:
    """Run the pipeline: archive to report, and to a served or refused model."""
    from pipeline.config import find_config, load_config
    from pipeline.logs import chatter_to

    named = {"data.folder": data, "data.labels": labels, "data.manifest": manifest, "output": output}
    paths = {key: str(value) for key, value in named.items() if value is not None}
    settings = load_config(find_config(config), overrides or (), paths)
    if settings.data is None:
        raise ValueError(f"{config} names no archive: give --data with --labels, or --manifest.")
    with chatter_to(settings.output / "pipeline.log") as terminal:
        from pipeline.run import figures_table, run_config

        outcome = run_config(settings, terminal)
    if outcome.public_key:
        typer.echo(f"warning  {settings.pipeline.ingest.hash_key_variable} is not set: identifiers are hashed with a")
        typer.echo("         public key, which protects nobody. Set it to a secret before using real archives.")
    typer.echo("")
    typer.echo("Exam-level figures on the test split:")
    for line in figures_table(outcome.figures):
        typer.echo("  " + line)
    verdict = "blessed" if outcome.blessed else "refused by the gates, not pushed"
    typer.echo(f"model    {verdict}" + (f", served from {outcome.serving}" if outcome.pushed else ""))
    typer.echo(f"report   {outcome.report}")
    typer.echo(_NOTICE)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for all that the demo writes.")] = Path("demo"),
    overrides: Overrides = None,
) -> None:
    """Phantoms through the whole pipeline, then a real exam graded by gRPC."""
    from pipeline.demo import run_demo

    run_demo(output, tuple(overrides or ()), typer.echo)


@app.command()
def preprocess(
    files: Annotated[list[Path], typer.Argument(help="DICOM, PNG or JPEG files.", exists=True, dir_okay=False)],
    out: Annotated[Path, typer.Option(help="Folder to write to.")],
    view: Annotated[
        View | None, typer.Option(help="View of the files; needed for PNG and JPEG, overrides DICOM's own.")
    ] = None,
    method: Annotated[Method, typer.Option(help="How the pectoral muscle is found.")] = Method.AUTO,
    size: Annotated[int, typer.Option(min=32, max=4096, help="Side of the square result, pixels.")] = 450,
    longest_side: Annotated[int, typer.Option(min=64, help="Reduce to this longest side first, pixels.")] = 1024,
) -> None:
    """Preprocess single files: STEM.png, STEM.pectoral.png, STEM.overlay.png and STEM.json."""
    from components.dicom_example_gen.rejections import IngestError
    from components.mammogram_preprocessor.config import PreprocessConfig
    from pipeline.preprocess import check_targets, preprocess_file
    from serving.preprocessing import PreprocessingRecipe

    check_targets(files, out)
    recipe = PreprocessingRecipe(
        longest_side=longest_side, preprocess=PreprocessConfig(method=method.value, output_size=size)
    )
    failures = 0
    for number, file in enumerate(files, start=1):
        try:
            result = preprocess_file(file, view.value if view else None, recipe, out)
            typer.echo(f"[{number}/{len(files)}] {file.name}: {result.status}, doubt {result.doubt:.2f}")
        except IngestError as error:
            failures += 1
            typer.echo(f"[{number}/{len(files)}] {error}", err=True)
    if failures:
        raise typer.Exit(1)


@app.command()
def serve(
    model_dir: Annotated[Path, typer.Argument(help="Folder of version folders, as the Pusher writes it.")],
    name: Annotated[str, typer.Option(help="Name the model is served under.")] = "breast_density",
    grpc_port: Annotated[int, typer.Option(help="Port of gRPC; 0 takes a free one.")] = 8500,
    rest_port: Annotated[int, typer.Option(help="Port of REST; 0 takes a free one.")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; tensorflow_model_server listens on all.")
    ] = "127.0.0.1",
) -> None:
    """Serve a model as TensorFlow Serving does; tensorflow_model_server is used where there is one."""
    _quiet_tensorflow()
    from serving.tf_serving import start_model_server

    with start_model_server(model_dir, name, grpc_port, rest_port, host) as server:
        typer.echo(f"serving {name} from {model_dir}: gRPC {server.grpc_address}, REST {server.rest_address}")
        typer.echo(f"{_NOTICE} Stop with Ctrl-C.")
        server.wait()


@app.command()
def predict(
    exam_dir: Annotated[Path, typer.Argument(help="Folder with one exam's DICOM files.", exists=True, file_okay=False)],
    model: Annotated[Path | None, typer.Option(help="SavedModel, or folder of versions, to run here.")] = None,
    server: Annotated[str | None, typer.Option(help="HOST:PORT of a model server's gRPC.")] = None,
    name: Annotated[str, typer.Option(help="Name the model is served under.")] = "breast_density",
    out: Annotated[Path, typer.Option(help="Folder for heat maps and exam.json.")] = Path("predictions"),
) -> None:
    """Grade an exam: density, probabilities, heat maps."""
    if (model is None) == (server is None):
        raise ValueError("Give either --model MODEL_DIR or --server HOST:PORT.")
    _quiet_tensorflow()
    from pipeline.predict import describe, predict_exam
    from serving.client import ExamClient, LocalModel

    if server is not None:
        with ExamClient(server, name) as client:
            graded = predict_exam(exam_dir, client, out)
    else:
        assert model is not None
        graded = predict_exam(exam_dir, LocalModel(model), out)
    for line in describe(graded):
        typer.echo(line)
    typer.echo(_NOTICE)


def _quiet_tensorflow() -> None:
    """Keeps the C++ log, which can hold what a client sent, and libraries' advice off the terminal."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    warnings.filterwarnings("ignore", category=FutureWarning, module="google")


def main() -> None:
    """Runs the command line: errors are one sentence, and the traceback only on request."""
    try:
        app()
    except Exception as error:
        if os.environ.get("BREAST_DENSITY_DEBUG"):
            traceback.print_exc()
        text = " ".join(str(error).split()) or type(error).__name__
        typer.secho(f"Error: {text}", fg=typer.colors.RED, err=True)
        if not os.environ.get("BREAST_DENSITY_DEBUG"):
            typer.echo("Set BREAST_DENSITY_DEBUG=1 for the traceback.", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
