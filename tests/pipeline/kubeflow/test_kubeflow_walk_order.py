"""The walk itself, on containers that are one line of Python: order, artifacts, parameters, secrets, failures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.kubeflow.package import Package, check_specification, parse_spec
from pipeline.kubeflow.walk import FinishedTask, WalkError, walk

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
    "inputs": seen, "types": [f["artifacts"][0].get("type") for f in inputs.values()],
    "parameters": given.get("inputs", {}).get("parameterValues", {}), "key": os.environ.get("KEY")}))
out = pathlib.Path(given["outputs"]["outputFile"])
out.write_text(json.dumps({"artifacts": {"made": {"artifacts": [{"uri": made["uri"], "metadata": {"n": 1}}]}},
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
                        "b-first": {"taskInfo": {"name": "b-first"}, "componentRef": {"name": "comp-first"}},
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


def test_each_task_gets_what_it_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "of the hashes")
    told: list[str] = []

    def say(finished: FinishedTask, number: int, count: int) -> None:
        told.append(f"{number}/{count} {finished.task}")

    walk(package(), tmp_path, {"epochs": 7}, 2, say)

    assert told == ["1/2 b-first", "2/2 a-second"]

    def seen(task: str) -> dict[str, Any]:
        file = tmp_path / "store/minio/bucket/root/two/walk" / task / "made/files/seen.json"
        return json.loads(file.read_text())

    assert seen("b-first") == {"inputs": {}, "types": [], "parameters": {}, "key": "of the hashes"}
    # No empty folder came through the store, no type, and no key.
    assert seen("a-second") == {
        "inputs": {"given": ["files", "files/seen.json"]},
        "types": [None],
        "parameters": {"epochs": 7.0, "found": "by first"},
        "key": None,
    }


def test_on_a_volume_nothing_is_copied(tmp_path: Path) -> None:
    walk(package(further=("--artifacts_root", "/artifacts")), tmp_path, {}, 2, lambda *_: None)
    made = tmp_path / "volume/minio/bucket/root/two/walk/a-second/made/files/seen.json"
    # Folders stay, empty ones too, since the second task reads what the first has written and no copy of it.
    assert json.loads(made.read_text())["inputs"] == {"given": ["empty", "files", "files/seen.json"]}
    assert not (tmp_path / "store").exists()
    assert not list((tmp_path / "pods").rglob("seen.json"))


def test_a_task_that_fails_ends_the_walk(tmp_path: Path) -> None:
    with pytest.raises(
        WalkError, match=r"Task a-second ended with exit code 3. The log .*a-second\.log ends:\n.*no such archive"
    ):
        walk(package("print('no such archive'); raise SystemExit(3)"), tmp_path, {}, 1, lambda *_: None)
    assert (tmp_path / "logs" / "b-first.log").is_file()
