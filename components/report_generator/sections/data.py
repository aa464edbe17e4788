"""Section "Data": what was found, what was accepted, and who is in it."""

from __future__ import annotations

from collections.abc import Mapping

from components.report_generator.artifacts import IngestSummary
from components.report_generator.charts import age_chart, class_chart
from components.report_generator.page import Block, Cell, Charts, Note, Section, Table, Tables, missing
from components.report_generator.text import number, share
from schema.features import DENSITY_CLASSES


def _class_table(ingest: IngestSummary) -> Table:
    # The form of the dataset table in the thesis.
    ages = [ingest.ages.get(c) for c in DENSITY_CLASSES]
    total = sum(ingest.exams.values())
    rows = (
        ("N. of exams", [f"{ingest.exams.get(c, 0):,}" for c in DENSITY_CLASSES], f"{total:,}"),
        ("Share", [share(ingest.exams.get(c, 0), total) for c in DENSITY_CLASSES], ""),
        ("Average age", [number(a.mean if a else None) for a in ages], ""),
        ("Standard deviation", [number(a.sd if a else None) for a in ages], ""),
        ("Median age", [number(a.median if a else None) for a in ages], ""),
    )
    return Table(
        "Exams and age (years) by BI-RADS density class",
        ("", *DENSITY_CLASSES, "All"),
        tuple((Cell(head), *map(Cell, values), Cell(last)) for head, values, last in rows),
    )


def _system_table(ingest: IngestSummary) -> Table:
    total = sum(size.exams for size in ingest.systems.values())
    ordered = sorted(ingest.systems.items(), key=lambda item: (-item[1].exams, item[0]))
    return Table(
        "Acquisition systems (manufacturer, model, software version)",
        ("System", "Exams", "Share", "Views"),
        tuple(
            (Cell(name), Cell(f"{size.exams:,}"), Cell(share(size.exams, total)), Cell(f"{size.views:,}"))
            for name, size in ordered
        ),
    )


def _split_table(ingest: IngestSummary) -> Table:
    known = [s for s in ("train", "eval", "test") if s in ingest.splits]
    names = [*known, *sorted(set(ingest.splits) - set(known))]
    return Table(
        "Splits",
        ("Split", "Patients", "Exams", "Views"),
        tuple(
            (Cell(name), *(Cell(f"{n:,}") for n in (size.patients, size.exams, size.views)))
            for name, size in ((name, ingest.splits[name]) for name in names)
        ),
    )


def _count_table(caption: str, head: str, counts: Mapping[str, int]) -> Table:
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Table(
        caption,
        (head, "Files"),
        tuple((Cell(name), Cell(f"{n:,}")) for name, n in ordered),
    )


def _balance(ingest: IngestSummary) -> Note:
    sums = f"{ingest.found:,} files found = {ingest.accepted:,} accepted + {ingest.rejected:,} rejected"
    if ingest.found == ingest.accepted + ingest.rejected:
        return Note(f"✓ {sums}.", "pass")
    return Note(f"✗ The count does not add up: {sums}?", "fail")


def data_section(ingest: IngestSummary | None) -> Section:
    """Shows the data set by class, split and acquisition system, and why files were rejected."""
    if ingest is None:
        return Section("data", "Data", (missing("ingest report", "DicomExampleGen"),))
    charts = tuple(c for c in (class_chart(ingest.exams), age_chart(ingest.ages)) if c)
    blocks: list[Block] = [
        _balance(ingest),
        Tables((_class_table(ingest), _split_table(ingest))),
        Charts(charts),
    ]
    tables = [_system_table(ingest)]
    if ingest.by_reason:
        tables.append(_count_table("Rejected files by reason", "Reason", ingest.by_reason))
    if ingest.ignored:
        tables.append(_count_table("Other files, not looked at, by suffix", "Suffix", ingest.ignored))
    blocks.append(Tables(tuple(tables)))
    return Section("data", "Data", tuple(blocks))
