"""Run experiments for ``breast-density experiment``, and show and store their outcomes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.text import Text

from components.common.files import write_whole
from pipeline.config import find_config, load_config
from pipeline.console import duration
from pipeline.experiments.declarations import Experiment
from pipeline.experiments.fold_models import MODELS
from pipeline.logs import chatter_to


def run_named(
    experiments: Sequence[Experiment], path: Path, overrides: Sequence[str], values: Mapping[str, Any], console: Console
) -> None:
    """Run experiments, and show each outcome when it is finished.

    Args:
        experiments: Experiments in the order of execution.
        path: Configuration file.
        overrides: ``KEY=VALUE``, which override the file.
        values: Values by dotted key, which override both: data and output.
        console: Shows the tables; each outcome is also stored in ``OUTPUT/experiments``.

    Raises:
        ConfigError: A value cannot be used.
        ExperimentError: The data do not contain what is compared.
        NodeError: A node failed; the outputs of finished nodes are kept.
    """
    output = load_config(path, overrides, values).output
    log = output / "pipeline.log"
    console.print(f"Details of TensorFlow and TFX go to {log}", soft_wrap=True)
    for experiment in experiments:
        with chatter_to(log) as terminal:
            from pipeline.experiments.page import experiment_page
            from pipeline.experiments.results import outcome_document
            from pipeline.experiments.run import Setting, run_experiment, with_data

            outcome = run_experiment(experiment, with_data(Setting(path, overrides, values), terminal), terminal)
            document = outcome.folder / f"{experiment.name}.json"
            page = outcome.folder / f"{experiment.name}.html"
            write_whole(document, json.dumps(outcome_document(outcome), indent=1).encode())
            write_whole(page, experiment_page(outcome).encode("utf-8", errors="replace"))
        for part in outcome_tables(outcome):
            console.print(part)
        console.print(f"{experiment.name}: {len(outcome.arms)} arms, {duration(outcome.seconds)}", soft_wrap=True)
        console.print(f"metrics  {document}\npage     {page}", soft_wrap=True)


def run_repeated(
    arms: tuple[str, ...],
    numbers: tuple[int, int],
    overrides: Sequence[str],
    values: Mapping[str, Any],
    console: Console,
) -> None:
    """Run ``experiment repeat``; page and JSON are written anew after each fold that all arms finished.

    Args:
        arms: ``CONFIG`` or ``CONFIG+KEY=VALUE+...``, ``texture`` or ``grey``.
        numbers: Number of folds and of seeds.
        overrides: ``KEY=VALUE`` for all arms.
        values: Values by dotted key: data and output.
        console: Shows the tables.

    Raises:
        ValueError: A number is too small, an arm occurs twice, or an arm or the data cannot be used.
        NodeError: A data node failed.
    """
    folds, seeds = numbers
    if folds < 2 or seeds < 1 or len(set(arms)) < len(arms):
        raise ValueError(
            "repeat needs 2 folds or more, 1 seed or more, and arms that differ. Received:"
            f" folds={folds}, seeds={seeds}, arms={', '.join(arms)}"
        )
    configurations = [arm for arm in arms if arm not in MODELS]
    if not configurations:
        raise ValueError(
            f"{' and '.join(MODELS)} use the pictures of a configuration: name one as an arm too. Received:"
            f" {', '.join(arms)}"
        )
    name, *own = configurations[0].split("+")
    output = load_config(find_config(name), [*overrides, *own], values).output
    log = output / "pipeline.log"
    console.print(f"Details of TensorFlow and TFX go to {log}", soft_wrap=True)
    folder = output / "experiments"
    document, page = folder / "repeat.json", folder / "repeat.html"
    with chatter_to(log) as terminal:
        from pipeline.experiments.repeat import RepeatPlan, RepeatRun, repeat
        from pipeline.experiments.repeat_report import repeat_document, repeat_page, terminal_tables
        from pipeline.experiments.repeat_result import RepeatResult, result_of

        results: list[RepeatResult] = []

        def report(run: RepeatRun) -> None:
            results[:] = [result_of(run)]
            write_whole(document, json.dumps(repeat_document(results[0]), indent=1).encode())
            write_whole(page, repeat_page(results[0]).encode("utf-8", errors="replace"))

        given = {"output": str(output), **values}
        repeat(RepeatPlan(arms, folds, tuple(range(1, seeds + 1)), tuple(overrides), given), terminal, log, report)
    for part in terminal_tables(results[0]):
        console.print(part)
    console.print(f"metrics  {document}\npage     {page}", soft_wrap=True)


def outcome_tables(outcome: Any) -> Iterator[RenderableType]:
    """Yield the tables and sentences that a terminal shows of an outcome."""
    from pipeline.experiments.results import conditions, slides_remark
    from pipeline.experiments.table import lay_out, rich_table

    experiment = outcome.experiment
    yield Text("")
    yield rich_table(lay_out(experiment, outcome.figures, experiment.published))
    if outcome.differences:
        yield rich_table(lay_out(experiment, outcome.differences, None, differences=True))
    yield from map(Text, (*conditions(outcome), *slides_remark(experiment), *filter(None, [experiment.note])))
