"""Shows a lineage on a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table

from pipeline.operations.lineage import Lineage, Step

_INGEST: Final = "DicomExampleGen"
_REPORT_TIME: Final = "%Y-%m-%d %H:%M:%S"


def _archive(step: Step) -> Iterable[tuple[str, str]]:
    source = json.loads(step.configuration.get("source") or "{}")
    span = step.configuration.get("span", "")
    yield "archive" + (f" {span}" if span else ""), ", ".join(str(value) for value in source.values() if value)
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


def _short(names: Iterable[str]) -> str:
    """Names the executions that wrote the inputs: their numbers are the table's own."""
    return ", ".join(sorted({f"{name.split('/')[0]} {name.split('/')[-1]}" for name in names}))


def lineage_tables(lineage: Lineage) -> RenderableType:
    """Draws a lineage: the facts, then a line a step in the order in which they ran."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(lineage):
        facts.add_row(name, value)
    steps = Table()
    for column in ("no.", "node", "finished (UTC)", "s", "code", "configuration", "made from"):
        steps.add_column(column, overflow="fold")
    for step in lineage.steps:
        steps.add_row(
            str(step.execution),
            step.node,
            step.finished.strftime(_REPORT_TIME),
            f"{step.seconds:.1f}",
            step.code or f"TFX {step.tfx}",
            step.configuration_digest,
            _short(step.inputs),
        )
    return Group(facts, steps)
