"""The command ``breast-density``.

Commands import what they need when they run: TensorFlow and TFX take seconds, ``--help`` must not.
"""

from __future__ import annotations

import os
import sys
import traceback
from enum import Enum
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, Final

import typer

from components.dicom_example_gen.archives.kinds import ArchiveKind
from pipeline.experiments.catalogue import EXPERIMENTS
from pipeline.kubeflow.command import register as register_kubeflow
from pipeline.logs import quiet_tensorflow
from pipeline.operations.command import register as register_operations
from pipeline.review_cli import review_app
from schema.intended_use import NOTICE

_GIVE_DATA: Final = "give --data with --labels or --archive, or --manifest."

app = typer.Typer(
    name="breast-density",
    help=f"Mammography DICOM to a served, explainable BI-RADS density classifier. {NOTICE}",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(review_app, name="review")


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


DataFolder = Annotated[str | None, typer.Option("--data", help="Folder of DICOM files, or of a public archive.")]
Labels = Annotated[str | None, typer.Option(help="CSV or Parquet: exam_id, density.")]
Manifest = Annotated[str | None, typer.Option(help="CSV or Parquet: exam_id, view, file, density.")]
Archive = Annotated[ArchiveKind | None, typer.Option(help="Public archive that the folder holds.")]
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
    data: DataFolder = None,
    labels: Labels = None,
    manifest: Manifest = None,
    archive: Archive = None,
    reviews: Annotated[Path | None, typer.Option(help="Folder of reviewed segmentations, see docs/review.md.")] = None,
    output: Annotated[Path | None, typer.Option(help="Folder for all that the run writes.")] = None,
    overrides: Overrides = None,
) -> None:
    """Run the pipeline: archive to report, and to a served or refused model."""
    from pipeline.config import find_config, load_config
    from pipeline.logs import chatter_to

    paths = {key: str(value) for key, value in (("data.reviews", reviews), ("output", output)) if value is not None}
    named = _data_keys(data, labels, manifest, archive) | paths
    settings = load_config(find_config(config), overrides or (), named)
    if settings.data is None:
        raise ValueError(f"{config} names no archive: {_GIVE_DATA}")
    with chatter_to(settings.output / "pipeline.log") as terminal:
        from pipeline.run import figures_table, run_config

        outcome = run_config(settings, terminal)
    if outcome.public_key:
        typer.echo(f"warning  {settings.pipeline.ingest.hash_key_variable} is not set: identifiers are hashed with a")
        typer.echo("         public key, which protects nobody. Set it to a secret before using real archives.")
    for alert in outcome.alerts:
        typer.echo(f"alert    {alert}")
    typer.echo("")
    typer.echo("Exam-level figures on the test split:")
    for line in figures_table(outcome.figures):
        typer.echo("  " + line)
    verdict = "blessed" if outcome.blessed else "refused by the gates, not pushed"
    typer.echo(f"model    {verdict}" + (f", served from {outcome.serving}" if outcome.pushed else ""))
    typer.echo(f"report   {outcome.report}")
    typer.echo(NOTICE)


@app.command()
def describe(
    config: Annotated[
        str | None, typer.Argument(help="YAML file, or one of demo, small, thesis_resnet3, as for run.")
    ] = None,
    data: DataFolder = None,
    labels: Labels = None,
    manifest: Manifest = None,
    archive: Archive = None,
    files: Annotated[
        Path | None,
        typer.Option(help="Write a line of JSON a file: accepted, or why not. It names files, as the archive does."),
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Print a data set's tables: exams by class, age, system and split, and what is left out; headers only.

    Exit code 1 where nothing would be accepted.
    """
    from rich.console import Console

    from components.dicom_example_gen.spans import find_spans
    from pipeline.config import find_config, load_config
    from pipeline.describe import describe_spans, tables_of, write_files
    from pipeline.sources import source_of

    path = find_config(config) if config else None
    settings = load_config(path, overrides or (), _data_keys(data, labels, manifest, archive))
    if settings.data is None:
        raise ValueError(f"No archive is named: {_GIVE_DATA}")
    ingest = settings.pipeline.ingest
    with typer.progressbar(length=1, label="headers", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

        def on_file(done: int, total: int) -> None:
            bar.length = total
            bar.update(1)

        described = describe_spans(find_spans(source_of(settings.data)), ingest, on_file)
    console = Console(highlight=False)
    console.print(f"Configuration: {config or 'the defaults; name the one that you will run with'}")
    for part in tables_of(described.figures, ingest):
        console.print(part)
    if files is not None:
        write_files(described, files)
        typer.echo(f"What becomes of each file: {files}")
    if not described.figures["accepted"]:
        raise typer.Exit(1)


@app.command()
def demo(
    output: Annotated[Path, typer.Option(help="Folder for all that the demo writes.")] = Path("demo"),
    overrides: Overrides = None,
) -> None:
    """Phantoms through the whole pipeline, then a real exam graded by gRPC."""
    from pipeline.demo import run_demo

    run_demo(output, tuple(overrides or ()), typer.echo)


_ALL: Final = "all"
_EXPERIMENTS_HELP: Final = "\n\n".join(
    (
        "Run one of the thesis's experiments and print its table beside the slides' figures.",
        *(f"{name}: {found.sentence}" for name, found in EXPERIMENTS.items()),
        f"{_ALL}: all of them.",
        "An experiment runs the pipeline once an arm and pushes nothing. What arms have in common is computed once, "
        "and what ran before is not run again. Without data it makes the phantoms of its configuration. Figures, "
        "predictions and a page are in OUTPUT/experiments.",
    )
)


@app.command(help=_EXPERIMENTS_HELP)
def experiment(
    name: Annotated[str, typer.Argument(help="One of the names above.")],
    config: Annotated[
        str, typer.Argument(help="YAML file, or one of experiment (the reduced size), small, thesis_resnet3.")
    ] = "experiment",
    data: DataFolder = None,
    labels: Labels = None,
    manifest: Manifest = None,
    archive: Archive = None,
    output: Annotated[Path | None, typer.Option(help="Folder for all that the experiment writes.")] = None,
    overrides: Overrides = None,
) -> None:
    """See the help above."""
    if name not in (*EXPERIMENTS, _ALL):
        raise ValueError(f"There is no experiment {name}: give one of {', '.join((*EXPERIMENTS, _ALL))}.")
    from rich.console import Console

    from pipeline.config import find_config
    from pipeline.experiments.command import run_named

    values = _data_keys(data, labels, manifest, archive) | ({"output": str(output)} if output else {})
    chosen = list(EXPERIMENTS.values()) if name == _ALL else [EXPERIMENTS[name]]
    run_named(chosen, find_config(config), overrides or (), values, Console(highlight=False))
    typer.echo(NOTICE)


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
    from components.dicom_example_gen.acceptance import AcceptanceConfig, SpecialCase
    from components.dicom_example_gen.rejections import IngestError
    from components.mammogram_preprocessor.config import PreprocessConfig
    from pipeline.preprocess import check_targets, preprocess_file
    from serving.preprocessing import PreprocessingRecipe

    check_targets(files, out)
    recipe = PreprocessingRecipe(
        longest_side=longest_side,
        acceptance=AcceptanceConfig(accept=(SpecialCase.VIEW_CONFLICT,)),  # --view is what a person says of these files
        preprocess=PreprocessConfig(method=method.value, output_size=size),
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
    model_dir: Annotated[
        Path | None,
        typer.Argument(help="Folder of version folders, as the Pusher writes it; needless with --model-config-file."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name the model is served under.")] = "breast_density",
    grpc_port: Annotated[int, typer.Option(help="Port of gRPC; 0 takes a free one.")] = 8500,
    rest_port: Annotated[int, typer.Option(help="Port of REST; 0 takes a free one.")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; tensorflow_model_server listens on all.")
    ] = "127.0.0.1",
    model_config_file: Annotated[
        Path | None,
        typer.Option(
            help="TensorFlow Serving's ModelServerConfig: versions and labels. MODEL_DIR replaces its folder."
        ),
    ] = None,
    model_config_poll: Annotated[
        float, typer.Option(min=0, help="Look at that file again every so many seconds; 0 reads it once.")
    ] = 0.0,
    monitoring_config_file: Annotated[
        Path | None, typer.Option(help="TensorFlow Serving's MonitoringConfig: Prometheus metrics on the REST port.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate of the server: gRPC and REST by TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM key of that certificate, without a passphrase.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="PEM authorities; clients then need a certificate of theirs (mutual TLS).")
    ] = None,
    max_message_mb: Annotated[int, typer.Option(min=1, max=2047, help="Largest request, MiB.")] = 64,
    request_seconds: Annotated[float, typer.Option(help="Longest time to an answer, s.")] = 60.0,
    read_seconds: Annotated[float, typer.Option(help="Longest time for a request to arrive, s.")] = 30.0,
    running: Annotated[int | None, typer.Option(min=1, help="Predictions at once; by default four a CPU.")] = None,
    queued: Annotated[int, typer.Option(min=0, help="Predictions that may wait; any further one is refused.")] = 32,
    connections: Annotated[int, typer.Option(min=1, help="REST connections at once.")] = 64,
) -> None:
    """Serve a model as TensorFlow Serving does; tensorflow_model_server is used where there is one."""
    quiet_tensorflow()
    from pipeline.serve import server_config
    from serving.tf_serving import start_model_server

    limits = {
        "message_bytes": max_message_mb << 20,
        "request_seconds": request_seconds,
        "read_seconds": read_seconds,
        "queued": queued,
        "connections": connections,
    } | ({"running": running} if running else {})
    config = server_config(
        model_dir,
        name,
        (model_config_file, model_config_poll),
        monitoring_config_file,
        (tls_cert, tls_key, tls_client_ca),
        {"host": host, "grpc_port": grpc_port, "rest_port": rest_port, "limits": limits},
    )
    with start_model_server(config) as server:
        typer.echo(
            f"serving {config.model.name} from {config.model.base_path}: gRPC {server.grpc_address}, "
            f"REST {server.rest_address or 'none: tensorflow_model_server has no TLS for it'}"
        )
        typer.echo(f"{NOTICE} Stop with Ctrl-C.")
        server.wait()


@app.command()
def gateway(
    config: Annotated[Path, typer.Argument(help="YAML file, see docs/gateway.md.", exists=True, dir_okay=False)],
) -> None:
    """Take exams by DICOM and DICOMweb, grade them on a model server, send results on to a PACS."""
    from serving.gateway.config import load_gateway_config
    from serving.gateway.logs import configure_logs

    settings = load_gateway_config(config)
    configure_logs()
    quiet_tensorflow()
    from serving.gateway.run import run_gateway

    typer.echo(NOTICE)
    run_gateway(settings, os.environ, typer.echo)


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="CSV: exam_id, view, label, p_A..p_D.", dir_okay=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: slices of exams, breasts and views.")] = False,
    temperature: Annotated[float, typer.Option(help="Of the exam model; calibrates breasts and exams.")] = 1.0,
    draws: Annotated[int, typer.Option(min=100, help="Bootstrap resamples behind an interval.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 1,
) -> None:
    """Judge view probabilities made elsewhere: the Evaluator's figures with their intervals.

    Further columns are sliced by, such as acquisition_system; patient_age becomes age bands; patient_id makes the
    intervals those of patients.
    """
    import json

    from rich.console import Console

    from pipeline.evaluate import describe as tables_of
    from pipeline.evaluate import evaluate_file

    table, figures = evaluate_file(predictions, temperature, draws, seed)
    if as_json:
        typer.echo(json.dumps(figures, indent=1))
        return
    console = Console(highlight=False)
    for part in tables_of(table, figures):
        console.print(part)


@app.command()
def predict(
    folders: Annotated[
        list[Path],
        typer.Argument(metavar="PATH...", help="Folder of one exam, or of archives.", exists=True, file_okay=False),
    ],
    model: Annotated[Path | None, typer.Option(help="SavedModel, or folder of versions, to run here.")] = None,
    server: Annotated[str | None, typer.Option(help="HOST:PORT of a model server's gRPC.")] = None,
    name: Annotated[str, typer.Option(help="Name the model is served under.")] = "breast_density",
    out: Annotated[Path, typer.Option(help="Folder for heat maps, exam.json and tables.")] = Path("predictions"),
    workers: Annotated[int, typer.Option(min=1, max=64, help="Exams that are graded side by side.")] = 2,
    minimum_views: Annotated[int, typer.Option(min=1, max=4, help="Refuse exams with fewer views.")] = 1,
    maximum_doubt: Annotated[
        float, typer.Option(min=0, max=1, help="Refuse exams with a segmentation doubted more.")
    ] = 1.0,
    dicom: Annotated[bool, typer.Option("--dicom", help="Write DICOM results too; they name the patient.")] = False,
    ca: Annotated[Path | None, typer.Option(help="Authorities of the server's certificate, PEM: use TLS.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="Client certificate, PEM: use mutual TLS.")] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, PEM.")] = None,
) -> None:
    """Grade exams: density, probabilities, heat maps.

    One exam is described here. Several give a folder an exam, grades.csv and grades.json, without names, and exams.csv,
    which says which files an exam has: its paths may name patients. Run it again to go on where a run ended.

    Exit code: 0 all exams graded, 3 some of several refused or failed, 1 error.
    """
    if (model is None) == (server is None):
        raise ValueError("Give either --model MODEL_DIR or --server HOST:PORT.")
    secured = any(path is not None for path in (ca, certificate, key))
    if secured and server is None:
        raise ValueError("--ca, --certificate and --key are for --server: leave them out with --model.")
    quiet_tensorflow()
    from components.dicom_example_gen.config import IngestConfig
    from components.dicom_example_gen.identity import find_key
    from pipeline.predict_archive.command import grade_folders
    from pipeline.predict_archive.run import ArchiveOptions
    from serving.client import ExamClient
    from serving.client_tls import ClientTls
    from serving.grading import GradingPolicy
    from serving.local_model import LocalModel

    policy = GradingPolicy(minimum_views=minimum_views, maximum_doubt=maximum_doubt)
    options = ArchiveOptions(workers=workers, policy=policy, dicom=dicom)
    hash_key = find_key(IngestConfig(), os.environ)
    if server is not None:
        tls = ClientTls(ca=ca, certificate=certificate, key=key).credentials() if secured else None
        with ExamClient(server, name, credentials=tls) as client:
            code = grade_folders(folders, client, out, options, hash_key, typer.echo)
    else:
        assert model is not None
        code = grade_folders(folders, LocalModel(model), out, options, hash_key, typer.echo)
    typer.echo(NOTICE)
    raise typer.Exit(code)


def _data_keys(
    folder: str | None, labels: str | None, manifest: str | None, archive: ArchiveKind | None
) -> dict[str, str]:
    """Maps the options that name an archive to their configuration keys."""
    named = {"data.folder": folder, "data.labels": labels, "data.manifest": manifest}
    paths = {key: str(value) for key, value in named.items() if value is not None}
    return paths | ({"data.archive": archive.value} if archive else {})


register_operations(app)
register_kubeflow(app)


def main() -> None:
    """Runs the command line: errors are one sentence, and the traceback only on request."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a sign must not end a run
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
