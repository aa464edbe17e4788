"""Section "Data": what was found, what was accepted, and who is in it."""

from __future__ import annotations

from components.report_generator.artifacts import IngestSummary
from components.report_generator.charts import age_chart, class_chart
from components.report_generator.page import Block, Charts, Section, Tables, missing
from components.report_generator.sections.data_tables import (
    balances,
    class_table,
    loss_tables,
    split_table,
    system_table,
)


def data_section(ingest: IngestSummary | None) -> Section:
    """Shows the data set by class, split and acquisition system, and why exams and files were left out."""
    if ingest is None:
        return Section("data", "Data", (missing("ingest report", "DicomExampleGen"),))
    charts = tuple(c for c in (class_chart(ingest.exams), age_chart(ingest.ages)) if c)
    blocks: tuple[Block, ...] = (
        *balances(ingest),
        Tables((class_table(ingest), split_table(ingest))),
        Charts(charts),
        Tables((system_table(ingest), *loss_tables(ingest))),
    )
    return Section("data", "Data", blocks)
