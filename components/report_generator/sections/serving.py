"""Section "Serving checks": proof that the model answers, and whether it is served."""

from __future__ import annotations

from components.report_generator.inputs import PushInfo
from components.report_generator.model_artifacts import Infra
from components.report_generator.page import Block, Cell, Note, Section, Table, missing
from components.report_generator.text import passed_cell


def push_note(push: PushInfo | None) -> Note:
    """Says whether the model is in the serving directory."""
    if push is None:
        return missing("push result", "Pusher")
    if push.pushed:
        return Note(f"✓ Pushed to the serving directory as version {push.version or 'unknown'}.", "pass")
    return Note("✗ Not pushed: the serving directory keeps what it had.", "warn")


def serving_section(infra: Infra | None, push: PushInfo | None) -> Section:
    """Shows the checks of InfraCheck, and what was pushed."""
    blocks: list[Block] = [push_note(push)]
    if infra is None:
        blocks.append(missing("serving check", "InfraCheck"))
    else:
        rows = tuple(
            (Cell(c.name), passed_cell(c.passed), Cell(f"{c.seconds:.1f}"), Cell(c.detail)) for c in infra.checks
        )
        blocks.append(Table("Checks of the exported model", ("Check", "Result", "Seconds", "Detail"), rows))
    return Section("serving", "Serving checks", tuple(blocks))
