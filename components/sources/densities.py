"""Density classes in label tables: accepted texts, and checks of a whole column.

Accepted, in upper or lower case: A to D; 1 to 4, also ``2.0`` and ``2,0``; either after ``density`` (``DENSITY C``,
``BI-RADS density 3``); a letter after ``BI-RADS``, ``ACR`` or both (``ACR C``); the words of the BI-RADS Atlas for a
class, with or without its letter or number before them (``C - heterogeneously dense``).

Rejected, because their meaning is ambiguous: a number directly after ``BI-RADS`` or ``ACR``, which mostly is the
assessment; Roman numerals, which are ACR's types or Tabar's patterns; words that contradict their letter or number.
The argument ``values`` of the functions below defines other texts; then only these texts are accepted.

A column counts from 0 (A = 0) or from 1 (A = 1), and a single row does not show which. So a column that contains a 0
needs ``values``, and for a column of numbers without a 4, a warning states how it was read.

Source of the words: ACR BI-RADS Atlas, Mammography, "Breast composition", 4th edition (2003) and 5th edition (2013).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from components.dicom.rejections import ManifestError, printable
from schema.features import DENSITY_CLASSES

DENSITIES_ALLOWED: Final = f"{', '.join(DENSITY_CLASSES)} or 1 to {len(DENSITY_CLASSES)}"
DensityValues = Mapping[str, str]  # text as ``plain`` returns it -> class, empty = no density

_EMPTY: Final = frozenset({"", "nan", "na", "n/a", "#n/a", "none", "null", "<na>", "-", "--", ".", "?"})
_WORDS: Final = {
    "A": ("almost entirely fatty", "almost entirely fat", "fatty", "entirely fatty"),
    "B": (
        "scattered areas of fibroglandular density",
        "scattered fibroglandular densities",
        "scattered fibroglandular density",
        "scattered fibroglandular",
        "scattered density",
        "scattered",
    ),
    "C": ("heterogeneously dense", "heterogeneous"),
    "D": ("extremely dense",),
}
# Longest first: "almost entirely fatty" ends with "fatty".
_CLASS_OF_WORDS: Final = dict(
    sorted(((words, density) for density, some in _WORDS.items() for words in some), key=lambda pair: -len(pair[0]))
)
_NUMBER: Final = re.compile(r"([0-9]+)(?:[.,]0+)?")
_SYSTEM: Final = r"(?:acr|bi-?rads)(?:[ -](?:acr|bi-?rads))?[ :-]*"
_LETTER: Final = re.compile(rf"(?:{_SYSTEM})?(?:(?:breast )?(?:density|composition|category|type)[ :-]*)?([a-d])")
_NUMBERED: Final = re.compile(rf"(?:{_SYSTEM})?(?:(?:breast )?density[ :-]*)([0-9]+)|([0-9]+)")
# Beginning and end of the Atlas' sentence for a class.
_BEGINNING: Final = re.compile(r"(?:^| )(?:the breasts? (?:is|are)|the breast tissue is|there are)$")
_END: Final = re.compile(r",? (?:which|this) (?:may|could|lowers) [a-z ]+$")
_CODE_BEHIND: Final = re.compile(r"(.+?) ?\((.+)\)")
_BETWEEN: Final = " -:=.,()"


def is_empty(text: str) -> bool:
    """Return True if a cell is empty, or contains a text that programs write for an empty cell."""
    return text.strip().casefold() in _EMPTY


def normalised_text(text: str) -> str:
    """Return a text in the form of the keys of ``DensityValues``: lower case, single blanks, ``2`` for ``2.0``."""
    text = re.sub(r"[\s_]+", " ", text.strip().casefold()).strip(" .")
    text = re.sub(r"[‐-―]", "-", text)
    number = _NUMBER.fullmatch(text)
    return number.group(1) if number else text


def _number(text: str) -> int | None:
    match = _NUMBERED.fullmatch(text)
    return int(match.group(1) or match.group(2)) if match else None


def _of_code(text: str) -> str | None:
    if match := _LETTER.fullmatch(text):
        return match.group(1).upper()
    number = _number(text)
    return DENSITY_CLASSES[number - 1] if number and number <= len(DENSITY_CLASSES) else None


def _of_words(text: str) -> str | None:
    """Read the words for a class, with or without a code before them."""
    text = _END.sub("", text).strip(_BETWEEN)
    words = next((words for words in _CLASS_OF_WORDS if text.endswith(words)), None)
    if words is None:
        return None
    density = _CLASS_OF_WORDS[words]
    code = _BEGINNING.sub("", text.removesuffix(words).strip(_BETWEEN)).strip(_BETWEEN)
    return density if not code or _of_code(code) == density else None


def parse_density(text: str, values: DensityValues | None = None) -> str | None:
    """Read a density class; the module's docstring lists the accepted texts.

    Args:
        text: Cell of a table.
        values: Meanings of texts, instead of the built-in ones.

    Returns:
        One of ``schema.features.DENSITY_CLASSES``, or None for other texts.
    """
    text = normalised_text(text)
    if values:
        return values.get(text) or None
    behind = _CODE_BEHIND.fullmatch(text)
    return _of_code(text) or _of_words(f"{behind.group(2)} {behind.group(1)}" if behind else text) or _of_words(text)


def is_no_density(text: str, values: DensityValues | None = None) -> bool:
    """Return True if a cell means no density: by ``values``, or because it is empty (see :func:`is_empty`)."""
    meaning = (values or {}).get(normalised_text(text))
    return is_empty(text) if meaning is None else meaning == ""


def read_density_values(texts: Mapping[str, str]) -> dict[str, str]:
    """Return the ``DensityValues`` of a configuration.

    Raises:
        ValueError: A class does not exist, or two texts are equal.
    """
    values = {normalised_text(text): density.strip().upper() for text, density in texts.items()}
    if len(values) < len(texts) or not values or not set(values.values()) <= {*DENSITY_CLASSES, ""}:
        classes = ", ".join(DENSITY_CLASSES)
        raise ValueError(
            f"density values map each text to {classes} or nothing, such as 0=A,1=B,2=C,3=D. Received: {texts}"
        )
    return values


def split_density_values(text: str) -> dict[str, str]:
    """Return the texts and densities of a command line's ``0=A,1=B,2=C,3=D``, not yet checked.

    Raises:
        ValueError: A part has no ``=``.
    """
    pairs = [pair.partition("=") for pair in text.split(",")]
    if not all(equals for _, equals, _ in pairs):
        raise ValueError("map each text to a class, such as 0=A,1=B,2=C,3=D")
    return {text: density for text, _, density in pairs}


def density_warnings(place: str, texts: Iterable[str], values: DensityValues | None = None) -> tuple[str, ...]:
    """Check a column of densities as a whole.

    Args:
        place: Table and column, for messages.
        texts: All cells that are not empty.
        values: Meanings of texts, instead of the built-in ones.

    Returns:
        Warnings that a person should check.

    Raises:
        ManifestError: The column contains a 0, and ``values`` does not define it.
    """
    if values:
        return ()
    counts = Counter(map(normalised_text, texts))
    numbers = Counter[int]()
    for text, count in counts.items():
        if (number := _number(text)) is not None:
            numbers[number] += count
    if numbers[0]:
        others = ", ".join(str(number) for number in sorted(numbers) if number)
        raise ManifestError(
            f"{place} contains 0 in {numbers[0]:,} rows (beside {printable(others)}): it may count from 0, or 0 may"
            " mean no density. Define the meaning with data.density_values or --density-values: 0=A,1=B,2=C,3=D, or"
            " 0=,1=A,2=B,3=C,4=D."
        )
    warnings = []
    if numbers and max(numbers) < len(DENSITY_CLASSES):
        found = ", ".join(map(str, sorted(numbers)))
        warnings.append(
            f"{place} has the numbers {found}, neither 0 nor 4: they are read as 1=A, 2=B, 3=C, 4=D. If they count"
            " from 0, every exam gets the class below its own: then say --density-values 0=A,1=B,2=C,3=D."
        )
    texts_beside = sum(count for text, count in counts.items() if _number(text) is None and parse_density(text))
    if numbers and texts_beside:
        warnings.append(
            f"{place} mixes {sum(numbers.values()):,} numbers with {texts_beside:,} letters or words: 1 is read as A, 2"
            " as B, 3 as C, 4 as D. Check that the numbers count from 1."
        )
    return tuple(warnings)
