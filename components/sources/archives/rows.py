"""Make candidates from an archive's rows: exam density, view, age, and a typed rejection for each unusable row.

Archives give a density per breast, image or exam, and this pipeline grades exams. The rule for all archives: the exam
has the density of its denser breast, as BI-RADS grades a woman whose breasts differ (ACR BI-RADS Atlas, 5th edition,
2013, "Breast composition"). Images without a density have that of the exam. An exam is rejected if one breast has two
different values, or if the archive does not define a value.

Tables have half a million rows (EMBED), so the code maps whole columns.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from posixpath import basename, splitext
from typing import Any, Final

import numpy as np
import pandas as pd

from components.dicom.headers.views import parse_view_name
from components.dicom.rejections import Rejection, RejectionReason, printable
from components.sources.archives.listing import Listing, is_image
from components.sources.candidates import Candidate, Candidates, Label
from components.sources.labels import breasts_differ_warning
from schema.features import DENSITY_CLASSES, UNKNOWN_INT

_MAX_AGE: Final = 120
_OPTIONAL: Final = {"patient_id": "", "age": "", "split": "", "acquisition_system": ""}
_AGREE: Final = ("exam_id", "patient_id", "side", "projection", "split")


@dataclass(frozen=True)
class ImageRows:
    """Rows of an archive, as its adapter reads them.

    Attributes:
        table: A row per image, or per finding in an image, with the columns ``key`` (identifies the image), ``named``
            (its file in the archive's tables), ``source`` (label file), ``line``, ``exam_id``, ``side``,
            ``projection``, optionally ``patient_id``, ``age``, ``split``, ``acquisition_system``, and the columns of
            :func:`reject`.
        densities: Result of :func:`exam_densities`.
        files: key -> image files, relative to the root.
        label_files: Label files, relative to the root.
        derived: Image file that is not a mammogram -> its kind, such as a mask.
    """

    table: pd.DataFrame
    densities: pd.DataFrame
    files: Mapping[str, Sequence[str]]
    label_files: tuple[str, ...]
    derived: Mapping[str, str]


def exam_densities(
    exam: pd.Series, side: pd.Series, density: pd.Series, classes: Mapping[str, str], absent: tuple[str, ...] = ("",)
) -> pd.DataFrame:
    """Return the density of each exam, which is that of its denser breast.

    Args:
        exam: Exam of each row.
        side: Breast of each row.
        density: The archive's text for its density.
        classes: The archive's text -> one of ``schema.features.DENSITY_CLASSES``.
        absent: Texts that mean no density.

    Returns:
        Per exam: ``density``, or None with the ``reason``, the ``value`` received and what is ``allowed``; and
        ``breasts_differ``, True if the breasts have different densities.
    """
    rows = pd.DataFrame({"exam": exam, "side": side, "text": density})
    rows = rows[~rows["text"].isin(absent)]
    rows["rank"] = rows["text"].map(classes).map({name: rank for rank, name in enumerate(DENSITY_CLASSES)})
    exams = pd.DataFrame(index=pd.unique(exam))
    densest = rows.groupby("exam")["rank"].max()
    exams["density"] = densest.map(dict(enumerate(DENSITY_CLASSES))).reindex(exams.index)
    exams["reason"] = None
    exams.loc[exams["density"].isna(), "reason"] = RejectionReason.NO_LABEL
    exams["value"], exams["allowed"] = "absent", f"{', '.join(classes)} are allowed"

    by_breast = rows.groupby(["exam", "side"])["rank"]
    breasts = by_breast.max().groupby("exam").nunique()
    exams["breasts_differ"] = (breasts > 1).reindex(exams.index, fill_value=False)
    both = by_breast.agg(["min", "max"]).query("min != max").dropna()
    differing = both.index.get_level_values("exam")
    columns = ["density", "reason", "value", "allowed"]
    exams.loc[differing, columns] = [
        None,
        RejectionReason.INVALID_LABEL,
        "several",
        "the rows of one breast must agree",
    ]
    unknown = rows[rows["rank"].isna()].drop_duplicates("exam").set_index("exam")["text"]
    exams.loc[unknown.index, ["density", "reason"]] = [None, RejectionReason.INVALID_LABEL]
    exams.loc[unknown.index, "value"] = unknown
    return exams


def reject(table: pd.DataFrame, rows: pd.Series, reason: RejectionReason, column: str, allowed: str) -> None:
    """Mark rows as unusable, in place; rows that are already marked keep their reason.

    Args:
        table: The archive's rows.
        rows: True for the rows to reject.
        reason: Reason of the rejection.
        column: Column with the error; its text is shown as the value received.
        allowed: Allowed values, as a clause.
    """
    if "reason" not in table.columns:
        table["reason"], table["column"], table["value"], table["allowed"] = None, "", "", ""
    marked = rows & table["reason"].isna()
    table.loc[marked, "reason"] = reason
    table.loc[marked, "column"] = column
    table.loc[marked, "value"] = table.loc[marked, column]
    table.loc[marked, "allowed"] = allowed


def index_files(listing: Listing, keys: Mapping[str, str]) -> dict[str, list[str]]:
    """Return key -> files, from file -> key."""
    index: dict[str, list[str]] = {}
    for file in listing.files:
        if file in keys:
            index.setdefault(keys[file], []).append(file)
    return index


def _add_views(table: pd.DataFrame) -> None:
    """Add the column ``view``; None if the table does not name the view, so that the file's header does."""
    pairs = table["side"].str.upper() + " " + table["projection"].str.upper()
    table["view"] = pairs.map({pair: parse_view_name(pair) for pair in pairs.unique()})
    named = (table["side"] != "") & (table["projection"] != "")
    reject(
        table, named & table["view"].isna(), RejectionReason.UNSUPPORTED_VIEW, "projection", "CC and MLO are supported"
    )


def _add_ages(table: pd.DataFrame) -> None:
    years = np.floor(pd.to_numeric(table["age"], errors="coerce"))
    table["years"] = years.where(years.between(0, _MAX_AGE), UNKNOWN_INT).fillna(UNKNOWN_INT).astype(int)


def _add_densities(table: pd.DataFrame, densities: pd.DataFrame) -> None:
    exams = densities.reindex(table["exam_id"]).set_index(table.index)
    table["density"] = exams["density"]
    # An exam that the label file does not name has no density.
    unnamed = exams["reason"].isna() & exams["density"].isna()
    exams.loc[unnamed, ["reason", "value"]] = [RejectionReason.NO_LABEL, "absent"]
    exams.loc[unnamed, "allowed"] = "the exam must have a density"
    marked = table["reason"].isna() & exams["reason"].notna()
    table.loc[marked, "column"] = "density"
    columns = ["reason", "value", "allowed"]
    table.loc[marked, columns] = exams.loc[marked, columns]


def _one_row_an_image(table: pd.DataFrame) -> pd.DataFrame:
    """Return the first row of each image; reject images whose rows disagree."""
    different = table.drop_duplicates(["key", *_AGREE])
    torn = table["key"].isin(different.loc[different.duplicated("key"), "key"])
    reject(table, torn, RejectionReason.INVALID_ROW, "named", "the rows of one image must agree")
    return table.drop_duplicates("key")


def _candidates(row: Any, files_of: Mapping[str, Sequence[str]]) -> list[Candidate]:
    files = files_of.get(row.key, ())
    label = None
    if row.density is not None and row.density == row.density:  # NaN differs from itself
        label = Label(row.exam_id, row.density, row.patient_id, row.years, row.split, row.acquisition_system)
    view = row.view if isinstance(row.view, str) else None
    found = []
    for file in files or (row.named,):
        rejection = None
        if row.reason is not None:
            where = f"{basename(row.source)} row {row.line}, column {row.column}"
            rejection = Rejection(row.reason, file, where, printable(row.value), row.allowed)
        elif not files:
            remedy = "download it again, or leave it out knowingly"
            rejection = Rejection(RejectionReason.MISSING_FILE, file, "file", "absent", remedy)
        found.append(Candidate(file, row.line, view, label, rejection, row.exam_id))
    return found


def _warnings(densities: pd.DataFrame) -> tuple[str, ...]:
    differing = int((densities["breasts_differ"] & densities["density"].notna()).sum())
    return (breasts_differ_warning("the archive's tables", differing),) if differing else ()


def make_candidates(listing: Listing, rows: ImageRows) -> Candidates:
    """Make the candidates of an archive's rows.

    Every row becomes a candidate, or shares one with other rows of its image. Every image file without a row is a
    candidate without label. All other files count as ignored.

    Args:
        listing: The archive's files.
        rows: Its rows, as the adapter read them.

    Returns:
        Candidates, sorted by file.
    """
    table = rows.table.assign(**{name: value for name, value in _OPTIONAL.items() if name not in rows.table.columns})
    reject(table, table["exam_id"] == "", RejectionReason.INVALID_ROW, "exam_id", "an exam must be named")
    _add_views(table)
    _add_ages(table)
    _add_densities(table, rows.densities)
    table = _one_row_an_image(table)
    found = [candidate for row in table.itertuples(index=False) for candidate in _candidates(row, rows.files)]
    matched = {file for key in table["key"] for file in rows.files.get(key, ())}
    ignored: dict[str, int] = {}
    for file in listing.files:
        if file in matched:
            continue
        if file in rows.derived or not is_image(file):
            kind = rows.derived.get(file) or splitext(file)[1].lower()
            ignored[kind] = ignored.get(kind, 0) + 1
        else:
            where = ", ".join(basename(name) for name in rows.label_files)
            remedy = "the label files name no such image"
            found.append(Candidate(file, rejection=Rejection(RejectionReason.NO_LABEL, file, where, "no row", remedy)))
    return Candidates(
        listing.root,
        tuple(sorted(found, key=lambda c: (c.file, c.line))),
        ignored=dict(sorted(ignored.items())),
        tables=tuple(listing.root / file for file in rows.label_files),
        warnings=_warnings(rows.densities),
    )
