"""The walk itself, on small containers: order, what they are handed, records, cache, secrets, failures."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2

from pipeline.kubeflow.driver import DEFAULT_ROOT, Driven, Request
from pipeline.kubeflow.package import Package, check_specification, parse_spec
from pipeline.kubeflow.walk import FinishedTask, WalkError, walk
from pipeline.metadata import open_store

# Writes what it is given to its output, makes an empty folder in it, and tells a parameter.
WRITE = """
import json, os, pathlib, sys
given = json.loads(sys.argv[1])
root = pathlib.Path(os.environ["BREAST_DENSITY_ARTIFACTS_ROOT"])
local = lambda uri: root / uri.replace("minio://", "minio/")
inputs = given.get("inputs", {}).get("artifacts", {})
seen = {
    name: sorted(p.relative_to(local(found["artifacts"][0]["uri"])).as_posix()
                 for p in local(found["artifacts"][0]["uri"]).rglob("*"))
    for name, found in inputs.items()
}
[made] = given["outputs"]["artifacts"]["made"]["artifacts"]
folder = local(made["uri"])
(folder / "empty").mkdir(parents=True)
(folder / "files").mkdir()
(folder / "files" / "seen.json").write_text(json.dumps({
    "inputs": seen, "given": given, "key": os.environ.get("KEY")}))
print("the log of", sys.argv[2], flush=True)
out = pathlib.Path(given["outputs"]["outputFile"])
out.write_text(json.dumps({"artifacts": {"made": {"artifacts": [{"uri": made["uri"],
                           "metadata": {"n": 1, "yes": True, "of": "it", "l": [1]}}]}},
                           "parameterValues": {"found": "by " + sys.argv[2]}}))
"""
TYPE = {"artifactType": {"instanceSchema": "title: tfx.Examples\ntype: object\n"}}


def component(name: str, inputs: dict[str, Any]) -> dict[str, Any]:
    return {
        "executorLabel": f"exec-{name}",
        "inputDefinitions": inputs,
        "outputDefinitions": {"artifacts": {"made": TYPE}, "parameters": {"found": {"parameterType": "STRING"}}},
    }


def package(second: str = WRITE, further: tuple[str, ...] = ()) -> Package:
    """Two tasks: the second takes the first's artifact and its parameter, and a run parameter."""

    def container(code: str, name: str) -> dict[str, Any]:
        return {"container": {"image": "i:1", "command": ["python", "-c", code], "args": ["{{$}}", name, *further]}}

    spec = parse_spec(
        {
            "pipelineInfo": {"name": "two"},
            "schemaVersion": "2.1.0",
            "defaultPipelineRoot": "minio://bucket/root",
            "root": {
                "inputDefinitions": {"parameters": {"epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 2}}},
                "dag": {
                    "tasks": {
                        "a-second": {
                            "taskInfo": {"name": "a-second"},
                            "cachingOptions": {"enableCache": True},
                            "componentRef": {"name": "comp-second"},
                            "dependentTasks": ["b-first"],
                            "inputs": {
                                "artifacts": {
                                    "given": {
                                        "taskOutputArtifact": {"producerTask": "b-first", "outputArtifactKey": "made"}
                                    }
                                },
                                "parameters": {
                                    "epochs": {"componentInputParameter": "epochs"},
                                    "found": {
                                        "taskOutputParameter": {
                                            "producerTask": "b-first",
                                            "outputParameterKey": "found",
                                        }
                                    },
                                },
                            },
                        },
                        "b-first": {
                            "taskInfo": {"name": "b-first"},
                            "cachingOptions": {"enableCache": True},
                            "componentRef": {"name": "comp-first"},
                        },
                    }
                },
            },
            "components": {
                "comp-first": component("first", {}),
                "comp-second": component(
                    "second",
                    {
                        "artifacts": {"given": TYPE},
                        "parameters": {
                            "epochs": {"parameterType": "NUMBER_INTEGER"},
                            "found": {"parameterType": "STRING"},
                        },
                    },
                ),
            },
            "deploymentSpec": {
                "executors": {"exec-first": container(WRITE, "first"), "exec-second": container(second, "second")}
            },
        }
    )
    check_specification(spec)
    secret = {"secretAsEnv": [{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "KEY"}]}]}
    return Package(spec, {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-first": secret}}}}})


def seen(folder: Path, task: str, root: str = "minio://bucket/root") -> dict[str, Any]:
    """What the newest run's task wrote of what it was handed."""
    found = (folder / "store" / root.replace("://", "/") / "two").glob(f"walk-*/{task}/*/made/files/seen.json")
    loaded: dict[str, Any] = json.loads(max(found).read_text())
    return loaded


REQUEST = Request({"epochs": 7}, "minio://bucket/root")


def collect(finished: list[FinishedTask]) -> Callable[[FinishedTask, int, int], None]:
    return lambda task, number, count: finished.append(task)


def test_each_task_gets_what_it_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "of the hashes")
    told: list[str] = []

    def say(finished: FinishedTask, number: int, count: int) -> None:
        told.append(f"{number}/{count} {finished.task}")

    walk(package(), tmp_path, REQUEST, 2, say)

    assert told == ["1/2 b-first", "2/2 a-second"]
    first, second = seen(tmp_path, "b-first"), seen(tmp_path, "a-second")
    assert first["inputs"] == {}
    assert first["key"] == "of the hashes"
    # No empty folder came through the store, and no key.
    assert second["inputs"] == {"given": ["files", "files/seen.json"]}
    assert second["key"] is None
    assert second["given"]["inputs"]["parameterValues"] == {"epochs": 7.0, "found": "by first"}


def test_it_hands_over_what_kubeflow_does(tmp_path: Path) -> None:
    walk(package(), tmp_path, REQUEST, 1, lambda *_: None)
    given = seen(tmp_path, "a-second")["given"]
    [artifact] = given["inputs"]["artifacts"]["given"]["artifacts"]
    # Named by its id in ML Metadata, without a type, whole numbers as floats; Kubeflow adds two to the metadata.
    assert artifact["name"].isdecimal()
    assert artifact["type"] == {"instanceSchema": ""}
    session = {"Provider": "minio", "Params": {"fromEnv": "true"}}
    assert json.loads(artifact["metadata"].pop("store_session_info")) == session
    assert artifact["metadata"] == {"n": 1.0, "yes": 1.0, "of": "it", "l": {"list": [1.0]}, "display_name": "made"}
    outputs = given["outputs"]["artifacts"]
    assert set(outputs) == {"made", "executor-logs"}
    uris = {name: found["artifacts"][0]["uri"] for name, found in outputs.items()}
    place = re.fullmatch(r"(minio://bucket/root/two/walk-1/a-second/[0-9a-f-]{36})/made", uris["made"])
    assert place
    assert uris["executor-logs"] == f"{place[1]}/executor-logs"
    assert outputs["executor-logs"]["artifacts"][0]["type"] == {"schemaTitle": "system.Artifact"}
    local = place[1].replace("minio://", "minio/")
    assert given["outputs"]["outputFile"] == str(tmp_path / "pods/walk-1/a-second" / local / "output_metadata.json")
    # The log is an artifact in the store, and what the user reads.
    assert (tmp_path / "store" / local / "executor-logs").read_text() == "the log of second\n"
    assert (tmp_path / "logs/walk-1/a-second.log").read_text() == "the log of second\n"


class Elsewhere:
    """Pods on other machines: each has a root of its own, and this process sees only what the launcher reports."""

    def __init__(self, run: str):
        self.name = run
        self.given: dict[str, Any] = {}

    def root(self, task: str) -> Path:
        return Path("/")

    def run(self, driven: Driven) -> spec_pb2.ExecutorOutput:
        self.given[driven.task] = json_format.MessageToDict(driven.given)
        found = spec_pb2.ExecutorOutput()
        found.parameter_values["found"].string_value = f"{driven.task} of {self.name}"
        return found


def test_pods_may_run_elsewhere(tmp_path: Path) -> None:
    made: list[Elsewhere] = []

    def pods_of(run: str) -> Elsewhere:
        made.append(Elsewhere(run))
        return made[-1]

    done = walk(package(), tmp_path, REQUEST, 2, lambda *_: None, pods_of)
    [pods] = made
    assert pods.name == "walk-1"
    assert [finished.task for finished in done] == ["b-first", "a-second"]
    second = pods.given["a-second"]
    assert second["inputs"]["parameterValues"]["found"] == "b-first of walk-1"
    [made_by_first] = pods.given["b-first"]["outputs"]["artifacts"]["made"]["artifacts"]
    assert [one["uri"] for one in second["inputs"]["artifacts"]["given"]["artifacts"]] == [made_by_first["uri"]]
    # Paths are those of a pod, and no folder of this machine.
    folder = made_by_first["uri"].replace("minio://", "/minio/").removesuffix("/made")
    outputs = pods.given["b-first"]["outputs"]
    assert outputs["outputFile"] == f"{folder}/output_metadata.json"
    assert outputs["parameters"]["found"]["outputFile"] == "/tmp/kfp/outputs/found"
    assert not (tmp_path / "pods").exists()
    # What ran elsewhere is in the cache too.
    again = walk(package(), tmp_path, REQUEST, 2, lambda *_: None, pods_of)
    assert [finished.cached for finished in again] == [True, True]
    assert made[1].given == {}


def test_a_run_that_names_no_root_gets_the_installations(tmp_path: Path) -> None:
    walk(package(), tmp_path, Request({}), 1, lambda *_: None)
    assert DEFAULT_ROOT == "minio://mlpipeline/v2/artifacts"
    assert seen(tmp_path, "b-first", DEFAULT_ROOT)["inputs"] == {}
    assert not (tmp_path / "store/minio/bucket").exists()  # the specification's root is read by nobody


def test_on_a_volume_only_logs_are_in_the_store(tmp_path: Path) -> None:
    walk(package(further=("--artifacts_root", "/artifacts")), tmp_path, REQUEST, 2, lambda *_: None)
    [made] = (tmp_path / "volume/minio/bucket/root/two/walk-1/a-second").glob("*/made/files/seen.json")
    # Folders stay, empty ones too, since the second task reads what the first has written and no copy of it.
    assert json.loads(made.read_text())["inputs"] == {"given": ["empty", "files", "files/seen.json"]}
    stored = [file for file in (tmp_path / "store").rglob("*") if file.is_file()]
    assert [file.name for file in stored] == ["executor-logs"] * 2
    assert not list((tmp_path / "pods").rglob("seen.json"))


def test_a_task_that_fails_ends_the_walk(tmp_path: Path) -> None:
    failing = package("print('no such archive'); raise SystemExit(3)")
    with pytest.raises(
        WalkError, match=r"Task a-second ended with exit code 3. The log .*a-second\.log ends:\n.*no such archive"
    ):
        walk(failing, tmp_path, REQUEST, 1, lambda *_: None)
    assert (tmp_path / "logs" / "walk-1" / "b-first.log").is_file()
    # What failed is not in the cache; what did not fail is.
    again: list[FinishedTask] = []
    with pytest.raises(WalkError, match="Task a-second"):
        walk(failing, tmp_path, REQUEST, 1, collect(again))
    assert [(task.task, task.cached) for task in again] == [("b-first", True)]


REMOVES = """
given = json.loads(sys.argv[1])
log = local(given["outputs"]["artifacts"]["executor-logs"]["artifacts"][0]["uri"])
log.unlink()
log.mkdir()
"""


def test_a_task_that_removes_its_log_ends_the_walk(tmp_path: Path) -> None:
    with pytest.raises(WalkError, match="Task a-second removed its output executor-logs"):
        walk(package(WRITE + REMOVES), tmp_path, REQUEST, 1, lambda *_: None)


def test_a_second_walk_runs_what_a_second_run_would(tmp_path: Path) -> None:
    def states(*changes: tuple[str, Any]) -> list[tuple[str, bool]]:
        document = json_format.MessageToDict(package().spec)
        for path, value in changes:
            node, *parts = document, *path.split("/")
            for part in parts[:-1]:
                node = node[part]
            node[parts[-1]] = value
        finished: list[FinishedTask] = []
        walk(Package(parse_spec(document), package().platform), tmp_path, REQUEST, 1, collect(finished))
        return [(task.task, task.cached) for task in finished]

    first = ("deploymentSpec/executors/exec-first/container/args", ["{{$}}", "another"])
    assert states() == [("b-first", False), ("a-second", False)]
    assert states() == [("b-first", True), ("a-second", True)]
    made = seen(tmp_path, "a-second")
    # Another image is another key; what comes after takes the same input and is cached.
    assert states(("deploymentSpec/executors/exec-second/container/image", "i:2")) == [
        ("b-first", True),
        ("a-second", False),
    ]
    # Another command makes another artifact, so that what reads it runs too.
    assert states(first) == [("b-first", False), ("a-second", False)]
    assert states(first) == [("b-first", True), ("a-second", True)]
    assert states(("root/dag/tasks/a-second/cachingOptions", {})) == [("b-first", True), ("a-second", False)]
    # It took the first walk's artifact, for that run is named in its place.
    [given] = seen(tmp_path, "a-second")["given"]["inputs"]["artifacts"]["given"]["artifacts"]
    assert given == made["given"]["inputs"]["artifacts"]["given"]["artifacts"][0]
    assert "/walk-1/b-first/" in given["uri"]


def test_ml_metadata_refuses_one_artifact_under_two_names(tmp_path: Path) -> None:
    spec = package().spec
    task, component = spec.root.dag.tasks["a-second"], spec.components["comp-second"]
    task.inputs.artifacts["twin"].CopyFrom(task.inputs.artifacts["given"])
    component.input_definitions.artifacts["twin"].CopyFrom(component.input_definitions.artifacts["given"])
    with pytest.raises(WalkError, match=r"Task a-second: ML Metadata refuses its record.*UNIQUE"):
        walk(Package(spec, package().platform), tmp_path, REQUEST, 1, lambda *_: None)


def test_every_execution_is_recorded(tmp_path: Path) -> None:
    from ml_metadata.proto import metadata_store_pb2 as pb

    for _ in range(2):
        walk(package(), tmp_path, REQUEST, 1, lambda *_: None)
    store = open_store(tmp_path, {})
    assert store
    states = [pb.Execution.State.Name(one.last_known_state) for one in store.get_executions()]
    assert states == ["COMPLETE", "COMPLETE", "CACHED", "CACHED"]
    events = store.get_events_by_execution_ids([execution.id for execution in store.get_executions()])
    kinds = sorted((event.execution_id, pb.Event.Type.Name(event.type), event.path.steps[0].key) for event in events)
    logged = "executor-logs"
    assert kinds == [
        *((1, "OUTPUT", name) for name in (logged, "made")),
        (2, "INPUT", "given"),
        *((2, "OUTPUT", name) for name in (logged, "made")),
        *((3, "OUTPUT", name) for name in (logged, "made")),
        (4, "INPUT", "given"),
        *((4, "OUTPUT", name) for name in (logged, "made")),
    ]
