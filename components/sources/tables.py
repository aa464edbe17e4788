"""Read tables: CSV of spreadsheets and registries, and Parquet.

CSV is UTF-8, with or without a byte order mark, or UTF-16 with one (Excel's "Unicode text"). A first line ``sep=;``, as
Excel writes it, names the separator. Otherwise it is the one of ``,``, ``;``, tab and ``|`` with which the header
contains most of the required columns. Columns without a name are dropped if their cells are empty, as trailing
separators create them. An unclosed quote must not move cells from one row into another: quotes are read strictly, and a
row is rejected if one of its cells contains the end of one row and the beginning of the next.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from components.common.location import Location
from components.dicom.rejections import ManifestError, Rejection, RejectionReason, printable

_SEPARATORS: Final = ",;\t|"
_SEPARATOR_LINE: Final = re.compile(r'"?sep=(.)"?\s*', re.I)
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
# First bytes of other files that users may pass as a table -> their format.
_OTHER_FORMATS: Final = {
    b"PK\x03\x04": "a workbook of a spreadsheet program, or another ZIP file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"\x1f\x8b": "compressed by gzip",
}
_PARQUET_MAGIC: Final = b"PAR1"


@dataclass(frozen=True)
class RowProblem:
    """An error in a row.

    Attributes:
        reason: Reason of the rejection.
        where: File name, line or row, and column, such as ``labels.csv line 3, column density``.
        value: Value received.
        allowed: Allowed values, as a clause.
    """

    reason: RejectionReason
    where: str
    value: str
    allowed: str

    def rejection(self, file: str) -> Rejection:
        """Return the rejection of a file that depends on the row."""
        return Rejection(self.reason, file, self.where, self.value, self.allowed)


@dataclass(frozen=True)
class Row:
    """One row of a CSV or Parquet file.

    Attributes:
        where: File name, and line (of CSV) or row (of Parquet, from 1), for messages.
        cells: Column name -> stripped text.
        surplus: Cells after the last column; only CSV has them.
        joins_lines: True if a quoted cell seems to contain the end of one row and the beginning of the next.
    """

    where: str
    cells: Mapping[str, str]
    surplus: tuple[str, ...] = field(default=())
    joins_lines: bool = False

    def shape_problem(self) -> RowProblem | None:
        """Return the error of a row with shifted cells: a separator is not in quotes, or a quote is not closed."""
        if self.joins_lines:
            allowed = "each of its lines has as many separators as a row, close the quote of the cell that joins them"
            return RowProblem(RejectionReason.INVALID_ROW, self.where, "a cell over several lines", allowed)
        if not self.surplus:
            return None
        count = f"{len(self.cells) + len(self.surplus)} cells"
        allowed = f"the table has {len(self.cells)} columns, put cells that hold the separator in quotes"
        return RowProblem(RejectionReason.INVALID_ROW, self.where, count, allowed)

    def problem(self, reason: RejectionReason, column: str, allowed: str) -> RowProblem:
        """Return an error in one of the row's columns."""
        return RowProblem(reason, f"{self.where}, column {column}", printable(self.cells.get(column)), allowed)


def canonical_column(name: str) -> str:
    """Return the canonical name of a column: lower case, one underscore for blanks, hyphens and underscores."""
    return re.sub(r"[\s_-]+", "_", name.strip().lower())


READER_COLUMN: Final = "reader"
_OF_READER: Final = re.compile(r"density_reader(?:_|(?!s(?:_|$)))(.*)")  # density_readers is their number
_READER_NAME: Final = re.compile(r"[^\W_][^\n]{0,31}")
# What tables call the density of several readers together, or of one breast. It must not count as one more reader.
_NO_READER: Final = frozenset(
    {"adjudicated", "adjudication", "agreed", "average", "both", "consensus", "count", "final", "left", "majority"}
    | {"mean", "median", "mode", "right"}
)
# Optional columns.
_OPTIONAL: Final = frozenset(
    {"density", "density_right", "density_left", "side", "laterality", READER_COLUMN}
    | {"patient_id", "age", "split", "acquisition_system"}
)
# Column -> columns that may replace it.
_REPLACEMENTS: Final = {"density": {"density_right", "density_left"}}


def columns_of_readers(columns: Iterable[str]) -> dict[str, str]:
    """Return the columns that hold the density of one reader, with the name of the reader.

    Args:
        columns: Canonical names.

    Examples:
        >>> columns_of_readers(["exam_id", "density", "density_reader1", "density_reader_b"])
        {'density_reader1': '1', 'density_reader_b': 'b'}
    """
    found = ((column, _OF_READER.fullmatch(column)) for column in columns)
    return {column: match[1].replace("_", " ").strip() for column, match in found if match}


def is_reader_name(name: str) -> bool:
    """Return True for a letter or digit and up to 31 characters, without a word for several readers or for a breast."""
    words = re.split(r"[\s_.-]+", name.casefold())
    return bool(_READER_NAME.fullmatch(name)) and name.isprintable() and _NO_READER.isdisjoint(words)


def _require_readers(path: Location, readers: dict[str, str], columns: list[str]) -> None:
    names = set(readers.values())
    # The last words of density_reader1_right or density_reader1_date say that it is not the density of one more reader.
    wrong = [
        column
        for column, name in readers.items()
        if not is_reader_name(name) or any(name.startswith(f"{other} ") for other in names)
    ]
    if wrong:
        raise ManifestError(
            f"{path}: rename the columns {', '.join(map(printable, wrong))}: density_reader must begin the density of"
            " one reader, whose name has up to 32 characters and begins with a letter or digit. A consensus is the"
            " column density. Readers of breasts need rows, with reader, density_right and density_left."
        )
    if readers and READER_COLUMN in columns:
        raise ManifestError(
            f"{path}: name the readers in columns or in rows, not both. Received: reader, {', '.join(readers)}."
        )
    same = [name for name, count in Counter(readers.values()).items() if count > 1]
    if same:
        raise ManifestError(f"{path}: several columns are of reader {', '.join(same)}; give each reader one column.")


def _require_columns(path: Location, columns: list[str], required: frozenset[str]) -> None:
    readers = columns_of_readers(columns)
    if "density" in required:
        _require_readers(path, readers, columns)
    lacking = required - set(columns) - ({"density"} if readers else set())
    missing = sorted(name for name in lacking if not _REPLACEMENTS.get(name, {name}) <= set(columns))
    if missing:
        found = ", ".join(printable(c) for c in columns) or "none"
        raise ManifestError(f"{path}: columns {', '.join(missing)} are missing; add them. Received: {found}.")
    repeated = sorted(name for name in {*required, *_OPTIONAL, *readers} if columns.count(name) > 1)
    if repeated:
        raise ManifestError(f"{path}: columns {', '.join(repeated)} repeat; name each once.")


def _distinct(columns: list[str]) -> list[str]:
    """Number columns of the same name, so that each keeps its cells; none of them is read."""
    seen = Counter[str]()
    distinct = []
    for name in columns:
        seen[name] += 1
        distinct.append(f"{name} {seen[name]}" if name and seen[name] > 1 else name)
    return distinct


def decode_text(path: Location, data: bytes) -> str:
    """Decode a text file.

    Raises:
        ManifestError: The file is not text in UTF-8 or UTF-16.
    """
    for first_bytes, what in _OTHER_FORMATS.items():
        if data.startswith(first_bytes):
            raise ManifestError(f"{path}: this is {what}; save the table as CSV UTF-8, or as Parquet.")
    try:
        return data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ManifestError(
            f"{path}: this is not UTF-8 text, first at line {line}: spreadsheet programs write Windows-1252 when they"
            ' save as "CSV"; save it as "CSV UTF-8", or as Parquet.'
        ) from error


def separator_of(text: str, required: frozenset[str]) -> tuple[str, int]:
    """Return the separator of a table.

    Args:
        text: The table.
        required: Canonical names of columns that the table should have.

    Returns:
        The separator, and the number of lines before the header: 1 if there is a line ``sep=;``, else 0.
    """
    lines = io.StringIO(text, newline="")
    first = lines.readline()
    if match := _SEPARATOR_LINE.fullmatch(first):
        return match.group(1), 1
    while first and not first.strip(_SEPARATORS + "\r\n "):
        first = lines.readline()

    def found(separator: str) -> tuple[int, int]:
        try:
            columns = next(csv.reader([first], delimiter=separator), [])
        except csv.Error:
            return 0, 0
        return len(required.intersection(map(canonical_column, columns))), len(columns)

    return max(_SEPARATORS, key=found), 0


def _cell(text: str) -> str:
    """Return a cell's text; users write ``="00123"`` so that a spreadsheet does not turn it into a number."""
    text = text.strip()
    return text[2:-1].strip() if text.startswith('="') and text.endswith('"') and len(text) > 2 else text


def _csv_rows(path: Location, data: bytes, required: frozenset[str]) -> Iterator[Row]:
    text = decode_text(path, data)
    separator, skipped = separator_of(text, required)
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, delimiter=separator, strict=True)
    try:
        for _ in range(skipped):
            next(reader, None)
        rows: list[tuple[list[str], int, int]] = []  # cells, number of the first line (from 0) and of the last (from 1)
        start = reader.line_num
        for cells in reader:
            if any(cell.strip() for cell in cells):
                rows.append((cells, start, reader.line_num))
            start = reader.line_num
    except csv.Error as error:
        raise ManifestError(f"{path}: line {reader.line_num} is not valid CSV ({error}); correct it.") from error
    header, *rows = rows or [([], 0, 0)]
    columns = [canonical_column(name) for name in header[0]]
    # Some programs end every row with separators. At the end of some rows, they are empty last cells of shifted rows.
    width = max(len(columns), min((len(cells) for cells, _, _ in rows), default=0))
    while columns and not columns[-1]:
        columns.pop()
    _require_columns(path, columns, required)
    columns = _distinct(columns)
    for cells, first, last in rows:
        # The last columns of a short row are empty; the checks of these columns report that.
        padded = [_cell(cell) for cell in cells] + [""] * (len(columns) - len(cells))
        named = {name: cell for name, cell in zip(columns, padded, strict=False) if name}
        surplus = padded[len(columns) :]
        joins = last - first > 1 and min(lines[n].count(separator) for n in (first, last - 1)) >= len(columns) - 1
        is_shifted = any(surplus) or len(cells) > width
        yield Row(f"{path.name} line {last}", named, tuple(surplus) if is_shifted else (), joins)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace").strip()
    return "" if value is None or value != value else str(value).strip()  # only NaN differs from itself


def _parquet_rows(path: Location, data: bytes, required: frozenset[str]) -> Iterator[Row]:
    number = 0
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        columns = [canonical_column(name) for name in file.schema_arrow.names]
        _require_columns(path, columns, required)
        columns = _distinct(columns)
        for batch in file.iter_batches():
            for values in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                number += 1
                yield Row(f"{path.name} row {number}", dict(zip(columns, map(_text, values), strict=True)))
    except (pa.ArrowException, OSError) as error:
        raise ManifestError(
            f"{path}: this Parquet file is damaged ({type(error).__name__}); write it again."
        ) from error


def read_rows(path: Location, required: frozenset[str]) -> Iterator[Row]:
    """Read a table with named columns; case, blanks and hyphens in the names do not matter.

    Args:
        path: Parquet file, identified by its first bytes; or else CSV with a header line (see the module).
        required: Columns that the table must have; ``density_right`` and ``density_left``, or columns of readers (see
            ``readers``), may replace ``density``.

    Yields:
        Rows that are not blank.

    Raises:
        ManifestError: The file is missing, is neither CSV nor Parquet, or lacks columns.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read ({type(error).__name__}); correct its path.") from error
    rows = _parquet_rows if data.startswith(_PARQUET_MAGIC) else _csv_rows
    yield from rows(path, data, required)
