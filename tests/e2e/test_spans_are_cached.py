"""New studies arrive as a new span: what was ingested before comes from the cache."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from components.common.shards import read_shard
from pipeline.config import RunConfig
from pipeline.console import NodeResult
from pipeline.local.runner import build, run
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.generate import generate_phantoms

pytestmark = pytest.mark.e2e

EXAMS = 12


class EnoughError(Exception):
    """What the test looks at has run."""


class FirstNodes:
    """Watches a run and ends it where the training begins."""

    def __init__(self) -> None:
        self.results: dict[str, NodeResult] = {}

    def start(self, node: str, number: int, count: int, progress_file: Path) -> None:
        del number, count, progress_file
        if node == "StatisticsGen":
            raise EnoughError

    def finish(self, result: NodeResult) -> None:
        if result.node.startswith(("DicomExampleGen", "MammogramPreprocessor")):
            self.results[result.node] = result


def settings(root: Path) -> RunConfig:
    return RunConfig.model_validate(
        {
            "pipeline": {
                "ingest": {"longest_side": 160, "splits": {"train": 0.4, "eval": 0.3, "test": 0.3}},
                "preprocess": {"output_size": 96, "method": "none"},
                "trainer": {"image": {"size": 96}},
            },
            "data": {
                "folder": str(root / "s{SPAN}/v{VERSION}/images"),
                "labels": str(root / "s{SPAN}/v{VERSION}/labels.csv"),
            },
            "output": str(root / "out"),
            "runner": {"workers": 1},
        }
    )


def run_image_nodes(config: RunConfig) -> dict[str, NodeResult]:
    """Runs the pipeline as far as MammogramPreprocessor."""
    observer = FirstNodes()
    with pytest.raises(EnoughError):
        run(build(config), config.output, observer)
    return observer.results


def records(result: NodeResult, key: str) -> int:
    return sum(1 for shard in Path(result.outputs[key]).rglob("*.gz") for _ in read_shard(str(shard)))


def test_a_new_span_or_version_leaves_the_others_cached(tmp_path: Path) -> None:
    for seed, place in ((1, "s1/v1"), (2, "s2/v1"), (3, "later")):
        generate_phantoms(PhantomConfig(exams=EXAMS, seed=seed, reduction=16, workers=1), tmp_path / place)
    config = settings(tmp_path)
    first = run_image_nodes(config)
    assert {name: result.cached for name, result in first.items()} == {
        "DicomExampleGen.span_1": False,
        "DicomExampleGen.span_2": False,
        "MammogramPreprocessor": False,
    }
    assert all(result.cached for result in run_image_nodes(config).values())

    shutil.move(tmp_path / "later", tmp_path / "s30/v1")
    third = run_image_nodes(config)
    assert {name: result.cached for name, result in third.items()} == {
        "DicomExampleGen.span_1": True,
        "DicomExampleGen.span_2": True,
        "DicomExampleGen.span_30": False,
        "MammogramPreprocessor": False,
    }
    ingested = sum(records(result, "examples") for name, result in third.items() if "ExampleGen" in name)
    assert ingested == 3 * 4 * EXAMS
    # Phantom exams have the same names whatever the seed: those of the last span win.
    summary = Path(third["MammogramPreprocessor"].outputs["quality_report"], "summary.json")
    report = json.loads(summary.read_text(encoding="utf-8"))
    assert report["left_out"] == {"newer_view": 2 * 4 * EXAMS, "newer_copy": 0, "split_conflict": 0}
    assert report["views"] == 4 * EXAMS

    shutil.copytree(tmp_path / "s2/v1", tmp_path / "s2/v2")
    fourth = run_image_nodes(config)
    anew = [name for name, result in fourth.items() if not result.cached]
    assert anew == ["DicomExampleGen.span_2", "MammogramPreprocessor"]
