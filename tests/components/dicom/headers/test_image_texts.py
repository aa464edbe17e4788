"""Synthetic 2D images and tomosynthesis that only a text names, in files; ordinary texts are accepted."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from components.dicom.headers.special_cases import normalised_words, synthetic_name, tomosynthesis_name
from components.dicom.reading import read_header
from components.dicom.rejections import IngestError
from tests.components.dicom.dicom_files import MakeDicom

SYNTHETIC = (
    *("L_CC_C-View", "LCC C_VIEW", "ROUTINE_CVIEW_L_CC", "C-View LMLO", "c view", "LMLOCVIEW", "CVIEW2", "R CC C–View"),
    *("S-View", "R_MLO_S_VIEW", "V-Preview", "VPREVIEW R CC", "Insight 2D", "INSIGHT2D", "L MLO Intelligent 2D"),
    *("Intelligent2D", "i2D", "SYNTHETIC", "Synthetic 2D Mammography", "synthesized", "Synthesised 2D", "SYN2D", "s2D"),
    *("GENERATED_2D", "Sintética 2D", "Synthétique", "synthetische Aufnahme", "RCC_SYNTH", "Tomo HD C-View"),
    *("2D sintetizzata", "sintetizado", "syntetyczny", "syntetisk 2D", "synthétisée", "synthetisiert"),
    *("Image de synthèse", "Volume Preview", "VOLUME_PREVIEW R CC", "imagine di sintesi"),
)
TOMOSYNTHESIS = (
    *(
        "L CC Tomosynthesis Reconstruction",
        "Tomo HD",
        "TOMOHD",
        "L_CC_TOMO",
        "RMLO Tomo Slice",
        "TomosynthesisSlice 12",
    ),
    *(
        "Clarity HD",
        "DBT",
        "R_CC_DBT",
        "HRDBT",
        "BTO",
        "3D",
        "R CC 3D",
        "L MLO Breast 3D",
        "LCCTOMO",
        "Tomosintesi LMLO",
    ),
    *(
        "Tomosynthèse",
        "TOMOSSÍNTESE",
        "tomossíntese LMLO",
        "TOMO2D slab",
        "L CC slab 10 mm",
        "tomo 3D slices",
        "SmartSlices",
        "Slab of tomo",
        "2D slices of tomo",
        "Tomo projection",
        "SenoClaire",
        "INSIGHT 3D",
    ),
)
ORDINARY = (
    *("L MLO", "CC VIEW", "LCC VIEW", "VIEW", "MLO VIEW", "CCVIEW", "L CC  VIEW", "R-CC", "LMLO", "OpView", "SCC"),
    *("Routine 2D", "FFDM 2D", "2D + 3D", "2D/3D combo", "Tomo combo 2D", "Routine no tomo", "without 3D", "ROUTINE"),
    *(
        "PREMIUM_VIEW",
        "SmartCurve",
        "Selenia 3Dimensions",
        "Selenia Dimensions",
        "PREVIEW",
        "Patient's view",
        "Volpara",
    ),
    *("Insight", "intelligent", "Custom", "Automobile", "BTOX", "DBTX", "SYNTHES screw", "MLOCC", "HD", "Clarity", ""),
)


def name_of(text: str) -> str:
    if synthetic_name(text):
        return "synthetic_2d"
    return "tomosynthesis" if tomosynthesis_name(text, True) else ""


@pytest.mark.parametrize("text", SYNTHETIC)
def test_synthetic_images_are_known_by_name(text: str) -> None:
    assert name_of(text) == "synthetic_2d"


@pytest.mark.parametrize("text", TOMOSYNTHESIS)
def test_tomosynthesis_is_known_by_name(text: str) -> None:
    assert name_of(text) == "tomosynthesis"


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_texts_raise_no_alarm(text: str) -> None:
    assert name_of(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        *("Recommend DBT", "synthetic implant removed", "compare tomosynthesis slices of 2019", "no tomo", "I 2D"),
        *("s2d", "C", "C-View not available", "patient declined tomo", "additional 3D next year", "2D + 3D", ""),
    ],
)
def test_a_person_s_comment_decides_nothing(make_dicom: MakeDicom, text: str) -> None:
    assert read_header(make_dicom(ImageComments=text)).special == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        *((text, "synthetic_2d") for text in ("C-View", "L CC S-View", "Synthetic 2D mammogram from tomosynthesis")),
        *((text, "tomosynthesis") for text in ("DBT", "Tomo", "Left MLO tomosynthesis slice 12", "TOMO HD R CC")),
    ],
)
def test_a_comment_that_is_nothing_but_the_name_decides(make_dicom: MakeDicom, text: str, reason: str) -> None:
    with pytest.raises(IngestError) as caught:
        read_header(make_dicom(ImageComments=text))
    assert caught.value.reason.value == reason


@given(st.sampled_from(SYNTHETIC + TOMOSYNTHESIS + ORDINARY), st.sampled_from((" ", "_", "-", "/", " - ")))
def test_separators_and_case_play_no_part(text: str, separator: str) -> None:
    assert (
        normalised_words(text.replace(" ", separator))
        == normalised_words(text.lower().replace(" ", separator))
        == normalised_words(text)
    )


@given(st.text(max_size=64))
def test_any_text_is_taken_apart(text: str) -> None:
    assert normalised_words(normalised_words(text)) == normalised_words(text)
    name_of(text)


FIELDS: list[tuple[str, dict[str, Any]]] = [
    *(
        ("synthetic_2d", {keyword: "L_CC_C-View"})
        for keyword in (
            "SeriesDescription",
            "ProtocolName",
            "AcquisitionDeviceProcessingDescription",
            "AcquisitionDeviceProcessingCode",
            "DerivationDescription",
            "ImageComments",
        )
    ),
    *(
        ("tomosynthesis", {keyword: "Tomosynthesis Reconstruction"})
        for keyword in ("SeriesDescription", "ProtocolName", "DerivationDescription", "ImageComments")
    ),
    ("synthetic_2d", {"ImageType": ["DERIVED", "PRIMARY", "", "C-VIEW"]}),
    ("synthetic_2d", {"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"], "SeriesDescription": "C-View"}),
    ("tomosynthesis", {"ImageType": ["DERIVED", "PRIMARY", "L_CC_TOMO"]}),
    ("spot_compression", {"PaddleDescription": "SPOT COMPRESSION"}),
    ("spot_compression", {"PaddleDescription": "7.5CM SPOT CONTACT"}),
    ("magnification", {"PaddleDescription": "10CM MAG"}),
    ("biopsy", {"PaddleDescription": "LARGE NEEDLE LOC"}),
]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("reason", "changes"), FIELDS)
def test_every_field_of_the_image_is_asked(
    make_dicom: MakeDicom, reason: str, changes: dict[str, Any], syntax: str
) -> None:
    with pytest.raises(IngestError) as caught:
        read_header(make_dicom(TransferSyntaxUID=syntax, **changes))
    assert caught.value.reason.value == reason
    assert caught.value.value not in changes.values()  # only the decisive words, not the text, which can name a person


@pytest.mark.parametrize(
    "changes",
    [
        {"StudyDescription": "2D and 3D screening, C-View, tomosynthesis"},
        {"PerformedProcedureStepDescription": "Screening tomosynthesis with C-View"},
        {"RequestedProcedureDescription": "DBT"},
        {"ManufacturerModelName": "Selenia Dimensions 3D"},
        {"DerivationDescription": "3D wavelet"},
        {"PaddleDescription": "24X29 SMARTCURVE"},
        *({keyword: text} for keyword in ("SeriesDescription", "ProtocolName") for text in ("2D + 3D", "CC VIEW")),
    ],
)
def test_texts_of_the_study_and_ordinary_ones_pass(make_dicom: MakeDicom, changes: dict[str, Any]) -> None:
    assert read_header(make_dicom(**changes)).special == ()
