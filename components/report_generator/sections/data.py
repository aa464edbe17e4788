"""Section "Data": what was found, what was accepted, and who is in it."""

from __future__ import annotations

from components.report_generator.artifacts import IngestSummary
from components.report_generator.class_bars import class_bars
from components.report_generator.page import Block, Section, Tables, missing
from components.report_generator.sections.data_tables import (
    balances,
    class_table,
    loss_tables,
    ordered_splits,
    split_table,
    system_table,
)


def data_section(ingest: IngestSummary | None) -> Section:
    """Shows the data set by class, split and acquisition system, and why exams and files were left out."""
    if ingest is None:
        return Section("data", "Data", (missing("ingest report", "DicomExampleGen"),))
    splits = {f"{name} split": ingest.splits[name].by_class for name in ordered_splits(ingest)}
    blocks: tuple[Block, ...] = (
        *balances(ingest),
        Tables((class_table(ingest), split_table(ingest))),
        class_bars("Kept exams by density class; splits are by patient", {"all": ingest.exams, **splits}),
        Tables((system_table(ingest), *loss_tables(ingest))),
    )
    return Section("data", "Data", blocks)
