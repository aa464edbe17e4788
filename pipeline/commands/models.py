"""Commands that use a model: ``serve``, ``gateway``, ``predict``, and ``evaluate`` for predictions made elsewhere."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline.commands.options import DensityValues
from pipeline.logs import quiet_grpc, quiet_tensorflow
from schema.software import NOTICE


def serve(
    model_dir: Annotated[
        Path | None,
        typer.Argument(help="Folder of version folders, as the Pusher writes it; by default the reference model."),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the served model.")] = "breast_density",
    grpc_port: Annotated[int, typer.Option(help="Port of gRPC; 0 chooses a free port.")] = 8500,
    rest_port: Annotated[int, typer.Option(help="Port of REST; 0 chooses a free port.")] = 8501,
    host: Annotated[
        str, typer.Option(help="Address to listen on; tensorflow_model_server listens on all addresses.")
    ] = "127.0.0.1",
    model_config_file: Annotated[
        Path | None,
        typer.Option(
            help="TensorFlow Serving's ModelServerConfig: versions and labels. MODEL_DIR replaces its folder."
        ),
    ] = None,
    model_config_poll: Annotated[
        float, typer.Option(min=0, help="Interval between two reads of that file, s; 0 reads it once.")
    ] = 0.0,
    monitoring_config_file: Annotated[
        Path | None, typer.Option(help="TensorFlow Serving's MonitoringConfig: Prometheus metrics on the REST port.")
    ] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate of the server: gRPC and REST use TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM key of that certificate, without a passphrase.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="PEM authorities of client certificates, which are then required (mutual TLS).")
    ] = None,
    max_message_mb: Annotated[int, typer.Option(min=1, max=2047, help="Maximum size of a request, MiB.")] = 64,
    request_seconds: Annotated[float, typer.Option(help="Maximum time to the response, s.")] = 60.0,
    read_seconds: Annotated[float, typer.Option(help="Maximum time to receive a request, s.")] = 30.0,
    running: Annotated[
        int | None, typer.Option(min=1, help="Maximum number of parallel predictions; by default four per CPU.")
    ] = None,
    queued: Annotated[
        int, typer.Option(min=0, help="Maximum number of waiting predictions; further ones are refused.")
    ] = 32,
    connections: Annotated[int, typer.Option(min=1, help="Maximum number of REST connections.")] = 64,
) -> None:
    """Serve a model as TensorFlow Serving does; tensorflow_model_server is used if it is installed."""
    quiet_tensorflow()
    from pipeline.serve import ServeOptions, end_process
    from serving.server.config import Limits
    from serving.server.tf_serving import start_model_server

    default = Limits()
    limits = Limits(
        message_bytes=max_message_mb << 20,
        request_seconds=request_seconds,
        read_seconds=read_seconds,
        running=running or default.running,
        queued=queued,
        connections=connections,
    )
    config = ServeOptions(
        model_dir=model_dir,
        name=name,
        model_config_file=model_config_file,
        model_config_poll=model_config_poll,
        monitoring_config_file=monitoring_config_file,
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        host=host,
        grpc_port=grpc_port,
        rest_port=rest_port,
        limits=limits,
    ).server_config()
    with start_model_server(config) as server:
        typer.echo(
            f"serving {config.model.name} from {config.model.base_path}: gRPC {server.grpc_address}, "
            f"REST {server.rest_address or 'none: tensorflow_model_server has no TLS for it'}"
        )
        typer.echo(f"{NOTICE} Stop with Ctrl-C.")
        if not server.wait():
            end_process()


def gateway(
    config: Annotated[Path, typer.Argument(help="YAML file, see docs/gateway.md.", exists=True, dir_okay=False)],
) -> None:
    """Receive exams by DICOM and DICOMweb, grade them on a model server, and send the results to a PACS."""
    from serving.gateway.config import load_gateway_config
    from serving.gateway.monitoring import configure_logs

    settings = load_gateway_config(config)
    configure_logs()
    quiet_grpc()
    from serving.gateway.run import run_gateway

    typer.echo(NOTICE)
    run_gateway(settings, os.environ, typer.echo)


def evaluate(
    predictions: Annotated[
        Path,
        typer.Argument(
            help="CSV: exam_id, view, label, p_A..p_D; or grades.csv of predict.", exists=True, dir_okay=False
        ),
    ],
    labels: Annotated[
        Path | None,
        typer.Option(help="For grades.csv: CSV or Parquet with exam_id and density, as for a run.", dir_okay=False),
    ] = None,
    density_values: DensityValues = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: slices of exams, breasts and views.")] = False,
    temperature: Annotated[
        float, typer.Option(help="Temperature of the exam model; it calibrates breasts and exams.")
    ] = 1.0,
    draws: Annotated[int, typer.Option(min=100, help="Number of bootstrap resamples per interval.")] = 2000,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 1,
) -> None:
    """Evaluate view probabilities of any model, or the grades of predict: metrics with their intervals.

    The exams of grades.csv are joined with --labels by their names, or by their files in exams.csv, as ingest joins
    them. Exams and labels that do not join are counted; a join that could be meant in two ways is an error.

    For view probabilities, further columns define slices, such as acquisition_system. patient_age is divided into age
    bands. With patient_id, the intervals are by patient.
    """
    import json

    from rich.console import Console

    from pipeline.evaluate.grades import is_grades_table, join_labels
    from pipeline.evaluate.tables import evaluate_file, evaluate_grades, grade_tables, metric_tables

    is_grades = is_grades_table(predictions)
    if is_grades != (labels is not None):
        raise ValueError(
            f"{predictions.name} is a table of grades: give --labels FILE."
            if is_grades
            else f"{predictions.name} is not a table of grades of predict: remove --labels, its rows have labels."
        )
    if labels is not None:
        from components.dicom_example_gen.config import IngestConfig
        from components.dicom_example_gen.plan.identity import find_key
        from components.sources.densities import read_density_values, split_density_values

        meanings = read_density_values(split_density_values(density_values)) if density_values else None
        key = find_key(IngestConfig(), os.environ).key
        result = evaluate_grades(join_labels(predictions, labels, key, meanings), draws, seed)
        parts = grade_tables(result)
    else:
        table, result = evaluate_file(predictions, temperature, draws, seed)
        parts = metric_tables(table, result)
    if as_json:
        typer.echo(json.dumps(result, indent=1))
        return
    console = Console(highlight=False)
    for part in parts:
        console.print(part)


def predict(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]...", help="Folder of one exam, or of archives.", exists=True, file_okay=False),
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Instead of folders: CSV or Parquet with exam_id, view, file.", dir_okay=False),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="SavedModel, or folder of versions, to run here; by default the reference model."),
    ] = None,
    server: Annotated[str | None, typer.Option(help="HOST:PORT of a model server's gRPC.")] = None,
    name: Annotated[str, typer.Option(help="Name of the served model.")] = "breast_density",
    out: Annotated[Path, typer.Option(help="Folder for heat maps, exam.json and tables.")] = Path("predictions"),
    workers: Annotated[int, typer.Option(min=1, max=64, help="Number of exams graded at the same time.")] = 2,
    minimum_views: Annotated[int, typer.Option(min=1, max=4, help="Refuse exams with fewer views.")] = 1,
    maximum_doubt: Annotated[
        float, typer.Option(min=0, max=1, help="Refuse exams with a more uncertain segmentation.")
    ] = 1.0,
    unseen: Annotated[
        Literal["flag", "refuse"],
        typer.Option(help="Exams of an acquisition system that the training data do not have."),
    ] = "flag",
    unlike_training: Annotated[
        Literal["flag", "refuse"], typer.Option(help="Exams whose pictures are unlike those of the training exams.")
    ] = "flag",
    minimum_confidence: Annotated[
        float, typer.Option(min=0, max=1, help="Refuse exams whose most probable class is less probable.")
    ] = 0.0,
    dicom: Annotated[
        bool, typer.Option("--dicom", help="Write DICOM results too; they contain the patient's name.")
    ] = False,
    ca: Annotated[Path | None, typer.Option(help="Certificate authorities of the server, PEM: use TLS.")] = None,
    certificate: Annotated[Path | None, typer.Option(help="Client certificate, PEM: use mutual TLS.")] = None,
    key: Annotated[Path | None, typer.Option(help="Private key of the client certificate, PEM.")] = None,
) -> None:
    """Grade exams: density, probabilities, heat maps.

    A single exam is described on the terminal. For several exams, the results are one folder per exam, grades.csv and
    grades.json without names, and exams.csv with the files of each exam: its paths may name patients. Run the command
    again to continue an interrupted run.

    Exit code: 0 all exams graded, 3 one of several exams refused or failed, or no usable file, 1 error.
    """
    if bool(folders) == (manifest is not None):
        raise ValueError("Give either folders or --manifest FILE.")
    if model is not None and server is not None:
        raise ValueError("Give either --model MODEL_DIR or --server HOST:PORT.")
    secured = any(path is not None for path in (ca, certificate, key))
    if secured and server is None:
        raise ValueError("--ca, --certificate and --key require --server: remove them with --model.")
    if server is None:
        quiet_tensorflow()
    else:  # this process needs no TensorFlow
        quiet_grpc()
    from components.dicom_example_gen.config import IngestConfig
    from components.dicom_example_gen.plan.identity import find_key
    from components.reference_model import card, model_or_reference
    from pipeline.predict.archive import ArchiveOptions
    from pipeline.predict.folders import PredictRun, grade_folders, grade_manifest
    from serving.client.grader import Grader
    from serving.client.grading import GradingPolicy
    from serving.client.grpc_client import ExamClient
    from serving.client.local_model import LocalModel
    from serving.wire.tls import ClientTls

    policy = GradingPolicy(
        minimum_views=minimum_views,
        maximum_doubt=maximum_doubt,
        unseen=unseen,
        unlike_training=unlike_training,
        minimum_confidence=minimum_confidence,
    )
    options = ArchiveOptions(workers=workers, policy=policy, dicom=dicom)
    hash_key = find_key(IngestConfig(), os.environ)

    def grade(grader: Grader) -> int:
        run = PredictRun(grader, out, options, hash_key, typer.echo)
        return grade_folders(folders or [], run) if manifest is None else grade_manifest(manifest, run)

    if server is not None:
        tls = ClientTls(ca=ca, certificate=certificate, key=key).credentials() if secured else None
        with ExamClient(server, name, credentials=tls) as client:
            code = grade(client)
    else:
        local = LocalModel(model_or_reference(model))
        if model is None:
            typer.echo(f"model    the reference model; what it is good for: {card()}")
        if warning := local.evaluation_warning():
            typer.echo(f"warning  {warning}", err=True)
        code = grade(local)
    typer.echo(NOTICE)
    raise typer.Exit(code)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(gateway)
    app.command()(predict)
    app.command()(evaluate)
