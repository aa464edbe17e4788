"""Exam identifiers of the labels that programs changed: identifiers written as numbers, and hints for the others.

Only ``1.0`` for ``1`` is corrected. Other differences give a hint for the user, and match nothing, because similar
identifiers may be those of two women.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from decimal import Decimal
from pathlib import PurePosixPath
from typing import Final

from components.dicom.headers.header import ViewHeader
from components.sources.candidates import Label
from components.sources.labels import WITH_FRACTION, whole_id, with_exam_id
from components.sources.tables import RowProblem

_QUOTES: Final = "'\"`´‘’‚“”„ "


def with_whole_ids(
    labels: Mapping[str, Label | RowProblem], known: Callable[[], Collection[str]]
) -> Mapping[str, Label | RowProblem]:
    """Remove ``.0`` from identifiers that a program wrote as numbers.

    Args:
        labels: exam_id -> label or error, from a labels file.
        known: Function that returns the identifiers in the archive: folders and header values. It is called only if
            necessary.

    Returns:
        The labels; they are unchanged if one of them does not end in ``.0``, or if one of them occurs in the archive.
    """
    if not all(map(WITH_FRACTION.fullmatch, labels)) or not labels.keys().isdisjoint(known()):
        return labels
    return {whole_id(exam): with_exam_id(label, whole_id(exam)) for exam, label in labels.items()}


def _whole(text: str) -> str | None:
    """Return the digits of a number such as ``1E+05``; None if the text is not a number."""
    if re.fullmatch(r"[0-9](?:[.,][0-9]+)?E[+]?[0-9]{1,2}", text.upper()):
        return format(Decimal(text.replace(",", ".")), "f")
    return text if text.isdecimal() else None


# Difference -> function that removes it from an identifier, and returns None if it cannot be the cause.
_FORMS: Final[Mapping[str, Callable[[str], str | None]]] = {
    "leading zeros, which spreadsheet programs cut off: format exam_id as text, and fill it in again": (
        lambda text: text.lstrip("0") if text.isdecimal() else None
    ),
    "a .0 behind it, as programs write numbers: write exam_id as text": (
        lambda text: match.group(1) if (match := re.fullmatch(r"([0-9]+(?:\.[0-9]+)*?)(?:[.,]0+)?", text)) else None
    ),
    "an E, as programs shorten long numbers: format exam_id as text, and fill it in again": _whole,
    "quotes and apostrophes, as programs mark text: write exam_id without them": lambda text: text.strip(_QUOTES),
    "accents of another encoding, as macOS names files: write exam_id in composed letters (Unicode NFC), or rename": (
        lambda text: unicodedata.normalize("NFC", text)
    ),
    "upper and lower case: write exam_id as the files have it": lambda text: text.casefold(),
    "blanks, hyphens and underscores: write exam_id as the files have it": (
        lambda text: re.sub(r"[\s_-]+", "", text) or None
    ),
    "the file's name behind the folder's: exam_id is the folder, or give a manifest": (
        lambda text: (
            str(PurePosixPath(text.replace("\\", "/")).parent.name) or None if re.search(r"[\\/]", text) else text
        )
    ),
    "folders before it: exam_id is the folder's name, or its path below the archive": (
        lambda text: PurePosixPath(text.replace("\\", "/")).name
    ),
}


def identifiers_of(file: str, header: ViewHeader | None) -> Iterator[str]:
    """Yield the identifiers of a file that labels may use as ``exam_id``: its folders, and values of its header."""
    yield from PurePosixPath(file).parts[:-1]
    if header is not None:
        yield from (header.study_uid, header.accession_number, header.study_id, header.patient_id)


def label_hints(files: Iterable[tuple[str, ViewHeader | None]], exam_ids: Collection[str]) -> tuple[str, ...]:
    """Find the differences between the identifiers of files without label and those of the labels.

    Args:
        files: Files without a label, and their headers if they are readable.
        exam_ids: Exams of the labels.

    Returns:
        A sentence per difference, with its number of files; it does not identify anyone.
    """
    known = set(exam_ids)
    forms = {cause: {form(exam) for exam in known} - {None, ""} for cause, form in _FORMS.items()}
    counts: Counter[str] = Counter()
    for file, header in files:
        identifiers = {identifier for identifier in identifiers_of(file, header) if identifier} - known
        for cause, form in _FORMS.items():
            if any(form(identifier) in forms[cause] for identifier in identifiers):
                counts[cause] += 1
                break
    return tuple(
        f"{counts[cause]:,} files without label name an exam of the labels but for {cause}."
        for cause in _FORMS
        if counts[cause]
    )
