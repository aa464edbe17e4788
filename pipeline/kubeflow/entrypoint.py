"""The command of every node's container: TFX's own entry point, adapted to open-source Kubeflow.

``python -m pipeline.kubeflow.entrypoint --executor_class_path CLASS --json_serialized_invocation_args {{$}} ...``.
Arguments that it does not know are Beam's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from components.common.files import write_whole
from pipeline.kubeflow.executor_input import for_backend, for_tfx, prepare_folders
from pipeline.kubeflow.specification import (
    ARTIFACTS_ROOT,
    COMMAND,
    RUN_PARAMETER,
    SHARED_INPUT,
    TRAINING_JOB,
    parse_run_parameters,
    parse_shared_inputs,
)
from pipeline.kubeflow.training_job import TrainingJob, is_first_machine, is_machine, run_tf_job

# Folder of the artifacts. Only the walk without a cluster sets another one, because it may not write there.
ROOT_VARIABLE: Final = "BREAST_DENSITY_ARTIFACTS_ROOT"


def _arguments(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(allow_abbrev=False)  # Beam's arguments must not count as abbreviations
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", required=True)
    parser.add_argument(RUN_PARAMETER, action="append", default=[], metavar="NAME=PLACE")
    parser.add_argument(SHARED_INPUT, action="append", default=[], metavar="OTHER=FIRST")
    parser.add_argument(ARTIFACTS_ROOT, default="/", help="a volume instead of the launcher's folders")
    parser.add_argument(TRAINING_JOB, help="JSON of a TrainingJob: the machines that run this node")
    return parser.parse_known_args(argv)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()


def _run_executor(arguments: argparse.Namespace, beam_args: list[str], prepared: spec_pb2.ExecutorInput) -> None:
    """Run TFX's entry point, which writes the executor's output to the file that ``prepared`` names."""
    # The import takes many seconds, so wrong arguments are reported before it.
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor

    arguments.json_serialized_invocation_args = json_format.MessageToJson(prepared)
    kubeflow_v2_run_executor.main((arguments, beam_args))


def _start_machines(argv: Sequence[str], arguments: argparse.Namespace, prepared: spec_pb2.ExecutorInput) -> None:
    """Run this same command in a TFJob, and copy the output that its first machine leaves on the volume."""
    job = TrainingJob.model_validate_json(arguments.training_job)
    given = spec_pb2.ExecutorInput()
    json_format.Parse(arguments.json_serialized_invocation_args, given, ignore_unknown_fields=True)
    artifact = next(iter(prepared.outputs.artifacts.values())).artifacts[0]
    shared = Path(artifact.uri).parent / "training_job" / "output_metadata.json"
    shared.parent.mkdir(parents=True, exist_ok=True)
    given.outputs.output_file = str(shared)
    invocation = json_format.MessageToJson(given, indent=None)
    command = [invocation if argument == arguments.json_serialized_invocation_args else argument for argument in argv]
    # Kubernetes ends a pod by this signal: raised as an exception, it removes the job too.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    run_tf_job(job, [*COMMAND, *command])
    write_whole(Path(prepared.outputs.output_file), shared.read_bytes())


def main(argv: Sequence[str]) -> None:
    """Run a node's executor.

    Args:
        argv: Arguments of the command.

    Raises:
        LocationError: An artifact is in an object store that the launcher does not know, or is missing.
        ParameterError: A run parameter does not match the node.
        TrainingJobError: The machines of a training did not start, or failed.
    """
    arguments, beam_args = _arguments(argv)
    root = Path(os.environ.get(ROOT_VARIABLE, arguments.artifacts_root))
    given, inputs = spec_pb2.ExecutorInput(), spec_pb2.ComponentInputsSpec()
    json_format.Parse(arguments.json_serialized_invocation_args, given, ignore_unknown_fields=True)
    json_format.Parse(arguments.json_serialized_inputs_spec_args, inputs, ignore_unknown_fields=True)
    places, shared = parse_run_parameters(arguments.run_parameter), parse_shared_inputs(arguments.shared_input)
    prepared = for_tfx(given, inputs, places, shared, root)
    on_machine = bool(arguments.training_job) and is_machine(os.environ)
    if on_machine and not is_first_machine(os.environ):
        prepared.outputs.output_file = str(Path(tempfile.mkdtemp()) / "output_metadata.json")
        _run_executor(arguments, beam_args, prepared)
        return
    if not on_machine:
        prepare_folders(prepared, _remove)
    if arguments.training_job and not on_machine:
        _start_machines(argv, arguments, prepared)
        return
    _run_executor(arguments, beam_args, prepared)
    file = Path(given.outputs.output_file)
    output = json_format.Parse(file.read_bytes(), spec_pb2.ExecutorOutput(), ignore_unknown_fields=True)
    write_whole(file, json_format.MessageToJson(for_backend(output, given, root)).encode())


if __name__ == "__main__":
    main(sys.argv[1:])
