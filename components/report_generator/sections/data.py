"""Section "Data": exams by class, age, acquisition system and split, and the reasons for rejected files and exams.

The page and the command ``breast-density describe`` use the same tables, so that both show the same numbers. The first
two tables have the form of the slides of the thesis ("Data", "Preprocessing: results").
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from components.dicom_example_gen import rejection_warnings
from components.report_generator.artifacts import IngestSummary
from components.report_generator.figures import class_bars
from components.report_generator.page import Block, Cell, Note, Section, Table, Tables, missing_note
from components.report_generator.sections.readers import reader_tables
from components.report_generator.text import number, share
from schema.features import DENSITY_CLASSES, UNKNOWN

MISSING: Final = (
    "missing_file"  # a row of the labels names a file that is absent: then rows were counted, not only files
)


def class_table(ingest: IngestSummary) -> Table:
    """Return exams found and kept, and the age of the kept exams, by density class."""
    ages = [ingest.ages.get(c) for c in DENSITY_CLASSES]
    found, unknown = ingest.exams_found_by_class, ingest.exams_found_by_class.get(UNKNOWN, 0)
    rows = (
        ("Exams found", [f"{found.get(c, 0):,}" for c in DENSITY_CLASSES], f"{unknown:,}", f"{ingest.exams_found:,}"),
        ("Exams kept", [f"{ingest.exams.get(c, 0):,}" for c in DENSITY_CLASSES], "0", f"{ingest.exams_kept:,}"),
        ("Share of kept exams", [share(ingest.exams.get(c, 0), ingest.exams_kept) for c in DENSITY_CLASSES], "", ""),
        ("Average age", [number(a.mean if a else None) for a in ages], "", ""),
        ("Standard deviation", [number(a.sd if a else None) for a in ages], "", ""),
        ("Median age", [number(a.median if a else None) for a in ages], "", ""),
    )
    middle = ("No class",) if unknown else ()
    return Table(
        "Exams and age (years) by BI-RADS density class",
        ("", *DENSITY_CLASSES, *middle, "All"),
        tuple(
            (Cell(name), *map(Cell, cells), *(Cell(none) for _ in middle), Cell(all_))
            for name, cells, none, all_ in rows
        ),
    )


def system_table(ingest: IngestSummary) -> Table:
    """Return original and kept exams by acquisition system, the largest first."""
    ordered = sorted(ingest.systems.items(), key=lambda item: (-item[1].original, item[0]))
    return Table(
        "Acquisition systems (manufacturer, model, software version)",
        ("System", "Original exams", "Kept exams", "Share of kept exams", "Views"),
        tuple(
            (
                Cell(name),
                Cell(f"{size.original:,}"),
                Cell(f"{size.exams:,}"),
                Cell(share(size.exams, ingest.exams_kept)),
                Cell(f"{size.views:,}"),
            )
            for name, size in ordered
        ),
    )


def ordered_splits(ingest: IngestSummary) -> list[str]:
    """Return the splits in the order train, eval, test, then all others."""
    known = [s for s in ("train", "eval", "test") if s in ingest.splits]
    return [*known, *sorted(set(ingest.splits) - set(known))]


def split_table(ingest: IngestSummary) -> Table:
    """Return patients, exams and views by split."""
    return Table(
        "Splits",
        ("Split", "Patients", "Exams", *DENSITY_CLASSES, "Views"),
        tuple(
            (
                Cell(name),
                Cell(f"{size.patients:,}"),
                Cell(f"{size.exams:,}"),
                *(Cell(f"{size.by_class.get(c, 0):,}") for c in DENSITY_CLASSES),
                Cell(f"{size.views:,}"),
            )
            for name, size in ((name, ingest.splits[name]) for name in ordered_splits(ingest))
        ),
    )


def count_table(caption: str, head: str, unit: str, counts: Mapping[str, int]) -> Table:
    """Return a table of counts by name, the largest first."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Table(caption, (head, unit), tuple((Cell(name), Cell(f"{n:,}")) for name, n in ordered))


def loss_tables(ingest: IngestSummary) -> tuple[Table, ...]:
    """Return tables of excluded exams and files by reason, and of the rules by which files were read; none is empty."""
    tables = (
        count_table("Exams left out, by reason", "Reason", "Exams", ingest.exams_left_out),
        count_table(
            "Kept exams with a missing view, by reason (each rejected file of an exam counts)",
            "Reason",
            "Exams",
            ingest.incomplete_by_reason,
        ),
        count_table("Rejected files, by reason", "Reason", "Files", ingest.by_reason),
        count_table("Accepted files that deviate from the standard, by remark", "Remark", "Files", ingest.remarks),
        count_table("Accepted files, by what identified their exam", "Exam from", "Files", ingest.exam_by),
        count_table("Accepted files, by the source of their label", "Label from", "Files", ingest.label_by),
        count_table("Other files (not read), by suffix", "Suffix", "Files", ingest.ignored),
    )
    return tuple(table for table in tables if table.rows)


def _balanced(unit: str, found: int, kept: str, taken: int, lost: str, left: int, more: str) -> Note:
    sums = f"{found:,} {unit} found = {taken:,} {kept} + {left:,} {lost}"
    if found != taken + left:
        return Note(f"✗ The counts do not add up: {sums}.", "fail")
    return Note(f"✓ {sums}{more}.", "pass") if taken else Note(f"✗ Nothing is {kept}: {sums}.", "fail")


def balances(ingest: IngestSummary) -> tuple[Note, ...]:
    """Return notes on the data: whether counts add up, warnings, frequent reasons of rejection, gaps in the labels."""
    lacking = f"; {ingest.incomplete_exams:,} of the kept lack a view" if ingest.incomplete_exams else ""
    left_out = sum(ingest.exams_left_out.values())
    offered = "rows and files" if MISSING in ingest.by_reason else "files"
    notes = [
        _balanced(offered, ingest.found, "accepted", ingest.accepted, "rejected", ingest.rejected, ""),
        _balanced("exams", ingest.exams_found, "kept", ingest.exams_kept, "left out", left_out, lacking),
    ]
    notes += [
        Note(warning, "warn") for warning in (*ingest.warnings, *rejection_warnings(ingest.found, ingest.by_reason))
    ]
    if ingest.files_without_exam:
        notes.append(Note(f"Rejected files that belong to no known exam: {ingest.files_without_exam:,}.", "muted"))
    if ingest.labels_without_files:
        of_spans = f" in their span, summed over {ingest.spans} spans" if ingest.spans > 1 else ""
        notes.append(Note(f"Exams in the labels without a file{of_spans}: {ingest.labels_without_files:,}.", "warn"))
    if ingest.bad_labels:
        notes.append(Note(f"Exams in the labels with an unusable row: {ingest.bad_labels:,}.", "warn"))
    if ingest.exams_kept and sum(split.patients for split in ingest.splits.values()) == ingest.exams_kept:
        notes.append(Note("As many patients as exams: each exam without a patient ID counts as one patient.", "muted"))
    return tuple(notes)


def data_section(ingest: IngestSummary | None) -> Section:
    """Show the data by class, split and acquisition system, and the reasons for excluded exams and files."""
    if ingest is None:
        return Section("data", "Data", (missing_note("ingest report", "DicomExampleGen"),))
    splits = {f"{name} split": ingest.splits[name].by_class for name in ordered_splits(ingest)}
    blocks: tuple[Block, ...] = (
        *balances(ingest),
        Tables((class_table(ingest), split_table(ingest))),
        class_bars("Kept exams by density class; splits are by patient", {"all": ingest.exams, **splits}),
        *reader_tables(ingest),
        Tables((system_table(ingest), *loss_tables(ingest))),
    )
    return Section("data", "Data", blocks)
