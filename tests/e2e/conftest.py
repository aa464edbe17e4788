"""One run of the whole pipeline on a few phantom exams, which end-to-end tests share."""

from __future__ import annotations

import contextlib
import csv
import io
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.beam_nodes import Nodes, Outputs, make_archive, settings
from tests.sharing import once

PIPELINE: dict[str, Any] = {
    "ingest": {"longest_side": 320, "splits": {"train": 0.5, "eval": 0.25, "test": 0.25}, "split_seed": "e2e 2"},
    "preprocess": {"output_size": 64},
    "trainer": {
        "image": {"size": 64},
        # One block per stage instead of three: the path is tested, and such a network is traced in half the time.
        "network": {"width": 0.0625, "blocks": 1},
        "batch_size": 8,
        "epochs": 2,
        "cache_images": True,
    },
    # A model of two epochs knows nothing; what is tested here is that it goes all the way.
    "evaluator": {"minimum_exam_accuracy": 0.0, "minimum_exam_quadratic_kappa": None, "maximum_kappa_loss": None},
    "explainer": {
        "pictures_a_group": 1,
        "minimum_energy_in_breast": 0.0,
        "feature_map_blocks": 0,  # looking into networks takes seconds, and has its own tests
        "sanity_views": 0,
    },
}


@dataclass(frozen=True)
class FinishedRun:
    """A run that ended well.

    Attributes:
        settings: Its YAML file, which names data and output.
        config: What was run.
        outcome: What ``run_config`` gave.
        terminal: What the user saw.
    """

    settings: Path
    config: Any
    outcome: Any
    terminal: str

    def artifact(self, node: str, key: str) -> Path:
        """Folder of a node's output."""
        [result] = [result for result in self.outcome.nodes if result.node == node]
        return Path(result.outputs[key])


def _make_phantoms(folder: Path) -> Path:
    from pipeline.phantom.config import PhantomConfig
    from pipeline.phantom.generate import generate_phantoms

    generate_phantoms(PhantomConfig(exams=24, seed=5, distribution="uniform", reduction=8, workers=2), folder / "set")
    _add_readers(folder / "set" / "labels.csv")
    return folder / "set"


def _add_readers(labels: Path) -> None:
    """Add two readers, of whom the second one is a class too high for every second exam; the density stays."""
    with labels.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for number, row in enumerate(rows):
        row["density_reader1"] = row["density"]
        row["density_reader2"] = "BCDD"["ABCD".index(row["density"])] if number % 2 == 0 else row["density"]
    with labels.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 four-view exams: ``images/`` and ``labels.csv``."""
    return once(tmp_path_factory, "phantoms", _make_phantoms)


def write_settings(phantoms: Path, folder: Path) -> Path:
    """Writes the settings of a run on the phantoms, with its output in the same folder."""
    document = {
        "pipeline": PIPELINE,
        "data": {"folder": str(phantoms / "images"), "labels": str(phantoms / "labels.csv")},
        "output": str(folder / "out"),
        # Trainings of seconds are quicker one after the other; tests of new spans train them at once.
        "runner": {"trainings": 1},
    }
    path = folder / "settings.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def run_pipeline(settings: Path) -> FinishedRun:
    """Runs the pipeline in this process."""
    from pipeline.config import load_config
    from pipeline.local.run import run_config

    config, terminal = load_config(settings), io.StringIO()
    return FinishedRun(settings, config, run_config(config, terminal), terminal.getvalue())


@pytest.fixture(scope="session")
def settings_file(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_settings(phantoms, tmp_path_factory.mktemp("e2e"))


def _as_it_was(run: FinishedRun, folder: Path) -> FinishedRun:
    """Copies a run's metadata, report and pushed models; the artifacts stay where they are."""
    output = run.config.output
    shutil.copytree(output, folder, ignore=shutil.ignore_patterns("artifacts"))
    places = {name: folder / getattr(run.outcome, name).relative_to(output) for name in ("report", "metrics")}
    serving = folder / run.outcome.serving.relative_to(output.resolve())
    config = run.config.model_copy(update={"output": folder})
    return replace(run, config=config, outcome=replace(run.outcome, serving=serving, **places))


@pytest.fixture(scope="session")
def runs(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FinishedRun, FinishedRun]:
    """The pipeline, run once for all worker processes, and a copy of what it left."""

    def make(folder: Path) -> tuple[FinishedRun, FinishedRun]:
        run = run_pipeline(write_settings(phantoms, folder))
        return run, _as_it_was(run, folder / "kept")

    return once(tmp_path_factory, "run", make)


@pytest.fixture(scope="session")
def finished(runs: tuple[FinishedRun, FinishedRun]) -> FinishedRun:
    """The run as it ended: tests only read its output."""
    return runs[1]


States = Callable[[Path], dict[str, list[str]]]


@pytest.fixture(scope="session")
def execution_states() -> States:
    """Reads from ML Metadata the states of each node's executions, in their order: ``{node: [state, ...]}``."""
    from ml_metadata.proto import metadata_store_pb2

    from pipeline.metadata import open_store

    def read(output: Path) -> dict[str, list[str]]:
        store = open_store(output, {})
        assert store is not None
        states: dict[str, list[str]] = defaultdict(list)
        for context in store.get_contexts_by_type("node"):
            node = context.name.removeprefix("breast_density.")
            for execution in sorted(store.get_executions_by_context(context.id), key=lambda e: e.id):
                states[node].append(metadata_store_pb2.Execution.State.Name(execution.last_known_state))
        return dict(states)

    return read


@pytest.fixture
def start_nodes() -> Iterator[Callable[[Path, Mapping[str, str]], Nodes]]:
    """Starts nodes, which end with the test."""
    with contextlib.ExitStack() as running:

        def started(path: Path, environment: Mapping[str, str]) -> Nodes:
            nodes = Nodes(path, environment)
            running.callback(nodes.stop)
            return nodes

        yield started


@pytest.fixture(scope="session")
def archive_of_nodes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Phantom exams for the nodes that use Beam."""
    return once(tmp_path_factory, "archive", lambda folder: make_archive(folder / "phantoms"))


@pytest.fixture(scope="session")
def direct_outputs(archive_of_nodes: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Outputs]:
    """Gives what the same nodes write on the DirectRunner; they run when it is asked first."""

    def run(folder: Path) -> Outputs:
        nodes = Nodes(settings(folder, archive_of_nodes, {"runner": "direct"}), os.environ)
        try:
            return nodes.outputs()
        finally:
            nodes.stop()

    return lambda: once(tmp_path_factory, "direct", run)
