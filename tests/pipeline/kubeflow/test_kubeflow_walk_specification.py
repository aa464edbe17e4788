"""Kubeflow's driver, on specifications as they are compiled: every task gets a stand-in that writes its outputs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import json_format

from pipeline.config import load_config
from pipeline.kubeflow.driver import Request
from pipeline.kubeflow.package import Package, parse_deployment
from pipeline.kubeflow.walk import FinishedTask, walk

pytestmark = pytest.mark.slow

DATA = ("data.folder=/data/span-{SPAN}/images", "data.labels=/data/span-{SPAN}/labels.csv")
WRITE = """
import json, os, pathlib, sys
given = json.loads(sys.argv[1])
root = pathlib.Path(os.environ["BREAST_DENSITY_ARTIFACTS_ROOT"])
artifacts = {}
for name, found in given["outputs"]["artifacts"].items():
    if name != "executor-logs":
        uri = found["artifacts"][0]["uri"]
        file = root / uri.replace("://", "/") / "file"
        file.parent.mkdir(parents=True)
        file.write_text(name)
        artifacts[name] = {"artifacts": [{"uri": uri, "metadata": {"n": 1}}]}
task = pathlib.Path(given["outputs"]["outputFile"]).parts[-3]  # two spans are never the same
values = {name: f"{name} of {task}" for name in given["outputs"].get("parameters", {})}
pathlib.Path(given["outputs"]["outputFile"]).write_text(json.dumps({"artifacts": artifacts, "parameterValues": values}))
"""


def with_stand_ins(package: Package) -> Package:
    spec = type(package.spec)()
    spec.CopyFrom(package.spec)
    deployment = parse_deployment(spec)
    for executor in deployment.executors.values():
        further = list(executor.container.args)
        del executor.container.command[:], executor.container.args[:]
        executor.container.command.extend(["python", "-c", WRITE])
        executor.container.args.extend(["{{$}}", *further])
    spec.deployment_spec.Clear()
    spec.deployment_spec.update(json_format.MessageToDict(deployment))
    return Package(spec, package.platform)


def collect(finished: list[FinishedTask]) -> Callable[[FinishedTask, int, int], None]:
    return lambda task, number, count: finished.append(task)


@pytest.mark.parametrize("sides", ["separate", "mirrored", "one"])
def test_the_driver_takes_every_task(sides: str, tmp_path: Path) -> None:
    from pipeline.kubeflow.compiling import compile_pipeline

    config = load_config(None, [*DATA, f"pipeline.trainer.sides={sides}", "kubeflow.spans=2"])
    package = with_stand_ins(compile_pipeline(config))
    for run in (1, 2):
        finished: list[FinishedTask] = []
        walk(package, tmp_path, Request({}), 2, collect(finished))
        assert {task.task for task in finished} == set(package.spec.root.dag.tasks)
        # What a second run on the cluster executed: the archive's scans alone.
        ran = {task.task for task in finished if not task.cached}
        assert run == 1 or ran == {"archive-scan", "archive-scan-before-1"}
