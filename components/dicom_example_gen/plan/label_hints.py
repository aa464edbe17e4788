"""Why labels match no file: identifiers that differ from the files' by what programs do to them.

Nothing is matched by this, for what looks alike may be two women's: it names the cause, so that a person can mend the
table.
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

_QUOTES: Final = "'\"`´‘’‚“”„ "


def _whole(text: str) -> str | None:
    """Writes out a number such as ``1E+05``; None for what is no number."""
    if re.fullmatch(r"[0-9](?:[.,][0-9]+)?E[+]?[0-9]{1,2}", text.upper()):
        return format(Decimal(text.replace(",", ".")), "f")
    return text if text.isdecimal() else None


# What differs -> the form in which identifiers that differ by it only are equal, None where it cannot be the cause.
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


def keys_of(file: str, header: ViewHeader | None) -> Iterator[str]:
    """Yields what an exam of the labels could name a file by: its folders, and identifiers of its header."""
    yield from PurePosixPath(file).parts[:-1]
    if header is not None:
        yield from (header.study_uid, header.accession_number, header.study_id, header.patient_id)


def label_hints(files: Iterable[tuple[str, ViewHeader | None]], exam_ids: Collection[str]) -> tuple[str, ...]:
    """Finds out by what the identifiers of unlabelled files differ from those of the labels.

    Args:
        files: Files without a label, and their headers where they can be read.
        exam_ids: Exams of the labels.

    Returns:
        A sentence a cause, with its number of files; it identifies nobody.
    """
    known = set(exam_ids)
    forms = {cause: {form(exam) for exam in known} - {None, ""} for cause, form in _FORMS.items()}
    counts: Counter[str] = Counter()
    for file, header in files:
        keys = {key for key in keys_of(file, header) if key} - known
        for cause, form in _FORMS.items():
            if any(form(key) in forms[cause] for key in keys):
                counts[cause] += 1
                break
    return tuple(
        f"{counts[cause]:,} files without label name an exam of the labels but for {cause}."
        for cause in _FORMS
        if counts[cause]
    )
