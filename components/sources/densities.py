"""Density classes as label tables write them: which texts are understood, and what a whole column must not leave open.

Understood, whatever the case: A to D; 1 to 4, also ``2.0`` and ``2,0``; either after ``density`` (``DENSITY C``,
``BI-RADS density 3``); a letter after ``BI-RADS``, ``ACR`` or both (``ACR C``); the words of the BI-RADS Atlas for a
class, alone or after its letter or number (``C - heterogeneously dense``).

Refused, since nobody can tell what is meant: a number after ``BI-RADS`` or ``ACR`` alone, which is mostly the
assessment; Roman numerals, which are ACR's types or Tabar's patterns; words that contradict their letter or number.
``values`` of the functions below says what other texts mean, and then nothing else is understood.

A column counts from 0 (A = 0) or from 1 (A = 1), and one row does not tell which. So a column that holds a 0 needs
``values``, and of a column of numbers without a 4 a warning says what it was taken for.

Source of the words: ACR BI-RADS Atlas, Mammography, "Breast composition", 4th edition (2003) and 5th edition (2013).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from components.dicom.rejections import ManifestError, shown
from schema.features import DENSITY_CLASSES

DENSITIES_ALLOWED: Final = f"{', '.join(DENSITY_CLASSES)} or 1 to {len(DENSITY_CLASSES)}"
DensityValues = Mapping[str, str]  # text as ``plain`` gives it -> class, empty = no density

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
# How the Atlas begins and ends the sentence of a class.
_BEGINNING: Final = re.compile(r"(?:^| )(?:the breasts? (?:is|are)|the breast tissue is|there are)$")
_END: Final = re.compile(r",? (?:which|this) (?:may|could|lowers) [a-z ]+$")
_CODE_BEHIND: Final = re.compile(r"(.+?) ?\((.+)\)")
_BETWEEN: Final = " -:=.,()"


def is_empty(text: str) -> bool:
    """Tells whether a cell is empty, or has what programs write for an empty one."""
    return text.strip().casefold() in _EMPTY


def plain(text: str) -> str:
    """Returns a text as keys of ``DensityValues`` are written: lower case, single blanks, ``2`` for ``2.0``."""
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
    """Reads words of a class, alone or behind their code."""
    text = _END.sub("", text).strip(_BETWEEN)
    words = next((words for words in _CLASS_OF_WORDS if text.endswith(words)), None)
    if words is None:
        return None
    density = _CLASS_OF_WORDS[words]
    code = _BEGINNING.sub("", text.removesuffix(words).strip(_BETWEEN)).strip(_BETWEEN)
    return density if not code or _of_code(code) == density else None


def parse_density(text: str, values: DensityValues | None = None) -> str | None:
    """Reads a density class, see the module.

    Args:
        text: Cell of a table.
        values: What texts mean, where the built-in meanings do not hold.

    Returns:
        One of ``schema.features.DENSITY_CLASSES``, or None for other texts.
    """
    text = plain(text)
    if values:
        return values.get(text) or None
    behind = _CODE_BEHIND.fullmatch(text)
    return _of_code(text) or _of_words(f"{behind.group(2)} {behind.group(1)}" if behind else text) or _of_words(text)


def is_no_density(text: str, values: DensityValues | None = None) -> bool:
    """Tells whether a cell says that there is no density: ``values`` says so, or it is empty or as good as that."""
    said = (values or {}).get(plain(text))
    return is_empty(text) if said is None else said == ""


def read_density_values(texts: Mapping[str, str]) -> dict[str, str]:
    """Makes ``DensityValues`` of what a configuration names.

    Raises:
        ValueError: A class is none, or two texts are one.
    """
    values = {plain(text): density.strip().upper() for text, density in texts.items()}
    if len(values) < len(texts) or not values or not set(values.values()) <= {*DENSITY_CLASSES, ""}:
        classes = ", ".join(DENSITY_CLASSES)
        raise ValueError(
            f"density values map each text to {classes} or nothing, such as 0=A,1=B,2=C,3=D. Received: {texts}"
        )
    return values


def density_warnings(place: str, texts: Iterable[str], values: DensityValues | None = None) -> tuple[str, ...]:
    """Judges a column of densities as a whole.

    Args:
        place: Table and column, for messages.
        texts: All cells that are not empty.
        values: What texts mean, where the built-in meanings do not hold.

    Returns:
        What a person should check.

    Raises:
        ManifestError: The column holds a 0, and nothing says what it means.
    """
    if values:
        return ()
    counts = Counter(map(plain, texts))
    numbers = Counter[int]()
    for text, count in counts.items():
        if (number := _number(text)) is not None:
            numbers[number] += count
    if numbers[0]:
        others = ", ".join(str(number) for number in sorted(numbers) if number)
        raise ManifestError(
            f"{place} holds 0 in {numbers[0]:,} rows (beside {shown(others)}): it may count from 0, or 0 may stand for"
            " no density. Say what is meant with data.density_values or --density-values: 0=A,1=B,2=C,3=D, or"
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
