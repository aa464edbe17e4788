"""Shows a lineage on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table

from pipeline.operations.lineage import Lineage, Step

_INGEST: Final = "DicomExampleGen"
_STEP_TIME: Final = "%Y-%m-%d %H:%M"
_DIGITS: Final = 8  # of a digest


def _archive(step: Step) -> Iterable[tuple[str, str]]:
    source = json.loads(step.configuration.get("source") or "{}")
    span = json.loads(step.configuration.get("span") or "{}")
    yield "archive", ", ".join(str(value) for value in source.values() if value)
    if span:
        version = f", version {span['version']}" if span["version"] >= 0 else ""
        yield "", f"span {span['number']}{version}"
    yield "", f"fingerprint {step.configuration.get('fingerprint', '')} of its files and labels"
    yield "", f"identifiers hashed with key {step.configuration.get('key_id', '')}"


def _facts(lineage: Lineage) -> Iterable[tuple[str, str]]:
    yield "model", f"version {lineage.version}, pushed to {lineage.destination}"
    yield "blessed", ", ".join(f"{node} {'yes' if good else 'NO'}" for node, good in lineage.blessings.items())
    started, compared = (lineage.versions_before.get(role, "none") for role in ("started from", "compared to"))
    yield "parents", f"started from version {started}, compared to version {compared}"
    for step in lineage.steps:
        if step.node.startswith(_INGEST):
            yield from _archive(step)
    yield "TFX", ", ".join(sorted({step.tfx for step in lineage.steps if step.tfx}))


def _numbers(names: Iterable[str]) -> str:
    """Gives the numbers of the executions that wrote the inputs: they are the table's own."""
    return ", ".join(sorted({name.split("/")[-1] for name in names}, key=int))


def lineage_tables(lineage: Lineage) -> RenderableType:
    """Draws a lineage: the facts, then a line a step in the order in which they ran; digests are cut, as git cuts."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(lineage):
        facts.add_row(name, value)
    steps = Table(box=None, pad_edge=False)
    for column in ("no.", "node", "finished (UTC)", "s", "code", "config"):
        steps.add_column(column, no_wrap=True)
    steps.add_column("made from")
    for step in lineage.steps:
        steps.add_row(
            str(step.execution),
            step.node,
            step.finished.strftime(_STEP_TIME),
            f"{step.seconds:.0f}",
            step.code[:_DIGITS] or "TFX's",
            step.configuration_digest[:_DIGITS],
            _numbers(step.inputs),
        )
    return Group(facts, "", steps)
