"""Texts of density classes, and columns with an ambiguous meaning."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.dicom.rejections import ManifestError
from components.sources.densities import density_warnings, parse_density, read_density_values
from schema.features import DENSITY_CLASSES

UNDERSTOOD = {
    "A": ("A", " a ", "1", "1.0", "1,0", "01", "ACR A", "almost entirely fatty", "almost entirely fat", "a) fatty"),
    "B": ("b", "2", "Type B", "Density 2", "There are scattered areas of fibroglandular density", "2: scattered"),
    "C": (
        "C",
        "3",
        "ACR C",
        "acr-c",
        "BI-RADS C",
        "BIRADS: C",
        "BI-RADS density 3",
        "ACR BI-RADS C",
        "DENSITY C",
        "density_c",
        "Heterogeneously Dense",
        "C - heterogeneously dense",
        "C – heterogeneously dense",
        "Heterogeneously dense (C)",
        "The breasts are heterogeneously dense, which may obscure small masses.",
        "BI-RADS C: the breasts are heterogeneously dense, which may obscure small masses",
    ),
    "D": ("D", "4", "4.00", "(D) extremely dense", "Extremely dense"),
}
REFUSED = (
    *("", "E", "0", "5", "AB", "2.5", "-1", "BI-RADS", "dense", "not fatty", "C/D", "B-C", "C or D", "c?", "1-2"),
    *("BI-RADS 3", "ACR 2", "BI-RADS 0"),  # the assessment, as likely as not
    *("I", "III", "IV", "ACR III"),  # ACR's type or Tabar's pattern
    *("2 - heterogeneously dense", "B heterogeneously dense"),  # contradictions
)


@pytest.mark.parametrize(
    ("text", "density"), [(text, density) for density in UNDERSTOOD for text in UNDERSTOOD[density]]
)
def test_unambiguous_texts_are_accepted(text: str, density: str) -> None:
    assert parse_density(text) == density


@pytest.mark.parametrize("text", REFUSED)
def test_other_texts_are_not_guessed(text: str) -> None:
    assert parse_density(text) is None


@pytest.mark.slow
@given(st.text(max_size=40))
def test_any_text_gives_a_class_or_none(text: str) -> None:
    assert parse_density(text) in (*DENSITY_CLASSES, None)


def test_a_column_with_a_zero_requires_values() -> None:
    for texts in (["0", "1", "2", "3"], ["0.0", "3"], ["1", "4", "0"], ["A", "0"], ["density 0", "density 1"]):
        with pytest.raises(
            ManifestError, match=r"x contains 0 in 1 rows.*--density-values: 0=A,1=B,2=C,3=D, or 0=,1=A"
        ):
            density_warnings("x", texts)
    assert density_warnings("x", ["0", "1"], {"0": "A", "1": "B"}) == ()


def test_numbers_without_0_and_4_give_a_warning() -> None:
    [warning] = density_warnings("x", ["1", "2.0", "3", "2"])
    assert "numbers 1, 2, 3, neither 0 nor 4: they are read as 1=A" in warning
    assert density_warnings("x", ["1", "2", "4"]) == ()
    assert density_warnings("x", list("ABC")) == ()
    assert density_warnings("x", []) == ()


def test_letters_beside_numbers_give_a_warning() -> None:
    [warning] = density_warnings("x", ["A", "B", "4", "1"])
    assert "x mixes 2 numbers with 2 letters or words" in warning


def test_values_replace_the_built_in_meanings() -> None:
    values = read_density_values({"0": "a", "1.0": "B", " Dense ": "C", "9": ""})
    assert values == {"0": "A", "1": "B", "dense": "C", "9": ""}
    assert [parse_density(text, values) for text in ("0", "1", "1.0", "DENSE", "9", "A", "2")] == [
        *("A", "B", "B", "C"),
        *(None, None, None),
    ]
    for wrong in ({"0": "E"}, {"1": "A", "1.0": "B"}, {}):
        with pytest.raises(ValueError, match="such as 0=A,1=B,2=C,3=D"):
            read_density_values(wrong)
