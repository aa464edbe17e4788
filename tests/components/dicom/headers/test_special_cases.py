"""Special images: each has its own reason and can be accepted by the configuration; and the rank among images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    BreastProjectionXRayImageStorageForProcessing,
    BreastTomosynthesisImageStorage,
    DigitalMammographyXRayImageStorageForProcessing,
)

from components.dicom.headers.header import ViewHeader, header_of, view_rank
from components.dicom.headers.special_cases import find_special_cases
from components.dicom.reading import load_view, read_header
from components.dicom.rejections import ANY_IMAGE, SPECIAL_CASES, AcceptanceConfig, IngestError, RejectionReason
from components.dicom_example_gen.config import IngestConfig
from components.exam_model.preparation import prepare_file
from components.exam_model.recipe import PreprocessingRecipe
from serving.client.preprocessing import prepare_exam
from tests.components.dicom.dicom_files import MakeDicom, as_written, mammogram, reread

LIMIT = 40.0


def view_code(value: str, *modifiers: str) -> list[Dataset]:
    item = Dataset()
    item.CodeValue = value
    item.ViewModifierCodeSequence = []
    for modifier in modifiers:
        code = Dataset()
        code.CodeValue = modifier
        item.ViewModifierCodeSequence.append(code)
    return [item]


SPECIAL: list[tuple[RejectionReason, dict[str, Any]]] = [
    (RejectionReason.FOR_PROCESSING, {"PresentationIntentType": "FOR PROCESSING"}),
    (RejectionReason.FOR_PROCESSING, {"SOPClassUID": DigitalMammographyXRayImageStorageForProcessing}),
    (RejectionReason.FOR_PROCESSING, {"SOPClassUID": BreastProjectionXRayImageStorageForProcessing}),
    (RejectionReason.QUALITY_CONTROL, {"QualityControlImage": "YES"}),
    (RejectionReason.BIOPSY, {"ImageType": ["ORIGINAL", "PRIMARY", "STEREO_SCOUT"]}),
    (RejectionReason.BIOPSY, {"ImageType": ["ORIGINAL", "PRIMARY", "POSTFIRE_PLUS"]}),
    (RejectionReason.BIOPSY, {"ImageType": ["ORIGINAL", "PRIMARY", "POSTMARKER"]}),
    (RejectionReason.BIOPSY, {"BiopsyTargetSequence": [Dataset()]}),
    (RejectionReason.TOMOSYNTHESIS, {"SOPClassUID": BreastTomosynthesisImageStorage}),
    (RejectionReason.TOMOSYNTHESIS, {"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "NONE"]}),
    (RejectionReason.TOMOSYNTHESIS, {"ImageType": ["ORIGINAL", "PRIMARY", "TOMO_PROJ"], "SOPClassUID": "1.2.3"}),
    (RejectionReason.SYNTHETIC_2D, {"ImageType": ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]}),
    (RejectionReason.SYNTHETIC_2D, {"SeriesDescription": "R CC C-View", "ImageType": ["DERIVED", "PRIMARY"]}),
    (RejectionReason.SYNTHETIC_2D, {"SeriesDescription": "L MLO Intelligent 2D"}),
    (RejectionReason.CONTRAST_ENHANCED, {"ImageType": ["DERIVED", "PRIMARY", "POST_CONTRAST", "SUBTRACTION"]}),
    (RejectionReason.SPOT_COMPRESSION, {"ViewCodeSequence": view_code("R-10242", "R-102D7")}),
    (RejectionReason.SPOT_COMPRESSION, {"ViewPosition": "SCC"}),
    (RejectionReason.MAGNIFICATION, {"ViewCodeSequence": view_code("399162004", "399163009")}),
    (RejectionReason.MAGNIFICATION, {"EstimatedRadiographicMagnificationFactor": "1.8"}),
    (RejectionReason.IMPLANT_DISPLACED, {"ViewPosition": "CCID"}),
    (RejectionReason.IMPLANT_PRESENT, {"BreastImplantPresent": "YES"}),
    (RejectionReason.CLEAVAGE, {"ViewPosition": "CV"}),
    (RejectionReason.AXILLARY_TAIL, {"ViewCodeSequence": view_code("399162004", "442580003")}),
    (RejectionReason.ROLLED, {"ViewPosition": "RCCRL"}),
    (RejectionReason.TANGENTIAL, {"ViewCodeSequence": view_code("399162004", "399110001")}),
    (RejectionReason.ANTERIOR_COMPRESSION, {"ViewPosition": "CCAC"}),
    (RejectionReason.PARTIAL_VIEW, {"PartialView": "YES"}),
    (RejectionReason.LOSSY_COMPRESSION, {"LossyImageCompression": "01", "LossyImageCompressionRatio": [2, 60]}),
    (RejectionReason.BURNED_IN_ANNOTATION, {"BurnedInAnnotation": "YES"}),
]


@pytest.mark.parametrize(("case", "changes"), SPECIAL)
def test_each_special_image_has_its_reason_and_can_be_accepted(
    case: RejectionReason, changes: dict[str, Any], syntax: UID
) -> None:
    dataset = reread(mammogram(**{"ViewPosition": "CC"} | changes), syntax)
    with pytest.raises(IngestError) as caught:
        header_of(dataset, "f", None)
    assert caught.value.reason is RejectionReason(case.value)
    assert caught.value.value not in ("", "absent")
    assert f"add {case.value} to pipeline.ingest.accept" in caught.value.remedy
    assert caught.value.tag.endswith(")")
    with pytest.raises(IngestError, match=case.value):
        header_of(dataset, "f", "CC_R")  # a manifest that names the view does not make the image ordinary
    everything_else = AcceptanceConfig(accept=tuple(c for c in SPECIAL_CASES if c is not case))
    with pytest.raises(IngestError, match=case.value):
        header_of(dataset, "f", None, everything_else)
    header = header_of(dataset, "f", None, AcceptanceConfig(accept=(case,)))
    assert (header.view, header.special) == ("CC_R", (case,))


@pytest.mark.parametrize(
    "changes",
    [
        {"ImageType": ["DERIVED", "PRIMARY"], "SeriesDescription": "R CC"},  # Hologic's ordinary mammograms
        {"ImageType": ["ORIGINAL", "PRIMARY", ""]},
        {"ImageType": ["ORIGINAL", "PRIMARY", "POST_CONTRAST", "", "LOW_ENERGY"]},
        {"EstimatedRadiographicMagnificationFactor": "1.07"},
        {"BreastImplantPresent": "NO", "PartialView": "NO", "BurnedInAnnotation": "NO", "QualityControlImage": "NO"},
        {"LossyImageCompression": "01", "LossyImageCompressionRatio": 10},
        {"LossyImageCompression": "01"},
        {"LossyImageCompression": "00", "LossyImageCompressionRatio": 99},
        {"ViewCodeSequence": view_code("R-10242", "R-40AB3", "442593008"), "ViewPosition": "CCNP"},
    ],
)
def test_ordinary_images_pass(changes: dict[str, Any], syntax: UID) -> None:
    assert header_of(reread(mammogram(**changes), syntax), "f", None).special == ()


def test_a_magnification_with_a_decimal_comma_is_one(syntax: UID) -> None:
    dataset = as_written(mammogram(), EstimatedRadiographicMagnificationFactor="1,8", ImagerPixelSpacing="0,07\\0,07")
    header = header_of(reread(dataset, syntax), "f", None, ANY_IMAGE)
    assert (header.special, header.pixel_spacing_mm) == ((RejectionReason.MAGNIFICATION,), 0.07)


NAMES = [
    "for_processing",
    "quality_control",
    "specimen",
    "biopsy",
    "tomosynthesis",
    "synthetic_2d",
    "contrast_enhanced",
    "spot_compression",
    "magnification",
    "implant_displaced",
    "implant_present",
    "cleavage",
    "axillary_tail",
    "rolled",
    "tangential",
    "anterior_compression",
    "partial_view",
    "lossy_compression",
    "burned_in_annotation",
    "collimated",
    "cropped",
    "breast_cut_off",
    "low_resolution",
    "view_conflict",
    "mixed_patients",
]


def test_the_closed_list_is_as_documented_and_tested() -> None:
    assert [case.value for case in SPECIAL_CASES] == NAMES
    untested = set(SPECIAL_CASES) - {case for case, _ in SPECIAL}
    # Only the picture shows the last four (test_pictures.py).
    assert untested == {
        RejectionReason.SPECIMEN,
        RejectionReason.VIEW_CONFLICT,
        RejectionReason.MIXED_PATIENTS,
        RejectionReason.COLLIMATED,
        RejectionReason.CROPPED,
        RejectionReason.BREAST_CUT_OFF,
        RejectionReason.LOW_RESOLUTION,
    }


def test_a_specimen_needs_acceptance_and_a_view(syntax: UID) -> None:
    dataset = reread(mammogram(ViewCodeSequence=view_code("127457009"), ViewPosition=None), syntax)
    for acceptance, view, reason in (
        (AcceptanceConfig(), "CC_R", RejectionReason.SPECIMEN),
        (ANY_IMAGE, None, RejectionReason.UNSUPPORTED_VIEW),
    ):
        with pytest.raises(IngestError) as caught:
            header_of(dataset, "f", view, acceptance)
        assert caught.value.reason is reason
    assert header_of(dataset, "f", "CC_R", ANY_IMAGE).special == (RejectionReason.SPECIMEN,)


def test_volumes_are_left_out_whatever_is_accepted(syntax: UID) -> None:
    dataset = reread(mammogram(SOPClassUID=BreastTomosynthesisImageStorage, NumberOfFrames=50), syntax)
    for acceptance, reason in ((AcceptanceConfig(), "tomosynthesis"), (ANY_IMAGE, "multi_frame")):
        with pytest.raises(IngestError, match=f"{reason}, "):
            header_of(dataset, "f", None, acceptance)


@given(st.lists(st.sampled_from(SPECIAL), max_size=6), st.sets(st.sampled_from(list(SPECIAL_CASES))))
def test_an_image_is_taken_when_each_of_its_cases_is_accepted(
    syntax: UID, chosen: list[tuple[RejectionReason, dict[str, Any]]], accepted: set[RejectionReason]
) -> None:
    tags: dict[str, Any] = {}
    for _, changes in chosen:
        tags |= changes
    dataset = reread(mammogram(**tags), syntax)
    found = [case for case, _, _ in find_special_cases(dataset, LIMIT)]
    assert found == sorted(set(found), key=list(SPECIAL_CASES).index)
    acceptance = AcceptanceConfig(accept=tuple(accepted))
    refused = [case for case in found if case not in accepted]
    if refused:
        with pytest.raises(IngestError) as caught:
            header_of(dataset, "f", "CC_R", acceptance)
        assert caught.value.reason is refused[0]
    else:
        assert header_of(dataset, "f", "CC_R", acceptance).special == tuple(found)


def test_the_configuration_is_a_closed_list() -> None:
    config = IngestConfig.model_validate({"accept": ["implant_present", "magnification"], "max_lossy_ratio": 5})
    assert config.acceptance == AcceptanceConfig(
        accept=(RejectionReason.IMPLANT_PRESENT, RejectionReason.MAGNIFICATION), max_lossy_ratio=5
    )
    assert IngestConfig.model_validate_json(config.model_dump_json()) == config
    for wrong in ({"accept": ["duplicate"]}, {"max_lossy_ratio": 0.5}):
        with pytest.raises(ValidationError):
            IngestConfig.model_validate(wrong)


def test_of_images_of_one_view_the_best_is_kept() -> None:
    best = ViewHeader("CC_R", 100, 80, acquired_at="20200102")
    worse = [
        ViewHeader("CC_R", 100, 80, acquired_at="20200101"),
        ViewHeader("CC_R", 100, 79, acquired_at="20210101"),
        ViewHeader("CC_R", 999, 999, acquired_at="20210101", derived=True),
        ViewHeader("CC_R", 999, 999, special=(RejectionReason.PARTIAL_VIEW,)),
        ViewHeader("CC_R", 999, 999, special=(RejectionReason.FOR_PROCESSING,)),
        ViewHeader("CC_R", 999, 999, special=(RejectionReason.IMPLANT_PRESENT,)),
        ViewHeader("CC_R", 999, 999, special=(RejectionReason.IMPLANT_DISPLACED, RejectionReason.IMPLANT_PRESENT)),
    ]
    ranks = [view_rank(header) for header in (best, *worse)]
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == len(ranks)


def breast(value: int) -> np.ndarray:
    """A right CC breast of 12 bits: a half disc at the right edge, dense inside."""
    y, x = np.mgrid[:160, :120]
    radius = np.hypot(y - 80, x - 119)
    return np.where(radius < 60, value, np.where(radius < 75, value // 2, 20)).astype(np.uint16)


def test_the_client_accepts_what_ingest_accepted(make_dicom: MakeDicom) -> None:
    path = make_dicom("exam/a.dcm", breast(3000), BreastImplantPresent="YES")
    make_dicom("exam/b.dcm", breast(3200), BreastImplantPresent="YES", ViewPosition="CCID")
    strict = PreprocessingRecipe()
    accepting = PreprocessingRecipe(
        acceptance=AcceptanceConfig(accept=(RejectionReason.IMPLANT_PRESENT, RejectionReason.IMPLANT_DISPLACED))
    )
    assert PreprocessingRecipe.model_validate_json(accepting.model_dump_json()) == accepting
    with pytest.raises(IngestError, match="implant_present"):
        prepare_file(path, None, strict)
    refused, taken = prepare_exam(path.parent, strict), prepare_exam(path.parent, accepting)
    assert {r.file: r.reason.value for r in refused.rejected} == {
        "a.dcm": "implant_present",
        "b.dcm": "implant_displaced",
    }
    assert {view: v.loaded.header.special for view, v in taken.views.items()} == {
        "CC_R": (RejectionReason.IMPLANT_PRESENT,)
    }
    assert [(r.file, r.reason.value) for r in taken.rejected] == [("b.dcm", "duplicate_view")]


def test_conflicting_views_by_file(make_dicom: MakeDicom) -> None:
    path = make_dicom()
    with pytest.raises(IngestError, match=r"view_conflict.*CC_R, against MLO_R of the manifest"):
        read_header(path, "MLO_R")
    accepting = AcceptanceConfig(accept=(RejectionReason.VIEW_CONFLICT,))
    loaded = load_view(path, "MLO_R", 512, acceptance=accepting)
    assert (loaded.header.view, loaded.header.special) == ("MLO_R", (RejectionReason.VIEW_CONFLICT,))


@pytest.mark.parametrize(
    ("photometric", "sign", "inverts"),
    [("MONOCHROME1", 1, True), ("MONOCHROME2", 1, True), ("MONOCHROME1", -1, False), ("MONOCHROME1", None, True)],
)
def test_raw_values_become_dense_is_bright(
    make_dicom: MakeDicom, photometric: str, sign: int | None, inverts: bool
) -> None:
    """Raw values fall exponentially with the tissue passed, so their logarithm is the tissue again."""
    tissue = breast(3000).astype(np.float64) / 4095
    intensity = 12000 * np.exp(-4 * tissue)
    raw = (intensity if inverts else 12000 - intensity).astype(np.uint16)
    tags: dict[str, Any] = {
        "PresentationIntentType": "FOR PROCESSING",
        "PhotometricInterpretation": photometric,
        "PixelIntensityRelationship": "LIN" if inverts else None,
        "PixelIntensityRelationshipSign": sign,
        "BitsStored": 14,
        "HighBit": 13,
    }
    # The even bright disc of this breast, in raw values that are not inverted, looks like an implant or a crop.
    accepting = AcceptanceConfig(
        accept=(RejectionReason.FOR_PROCESSING, RejectionReason.IMPLANT_PRESENT, RejectionReason.CROPPED)
    )
    grey = load_view(make_dicom("raw.dcm", raw, **tags), None, 512, acceptance=accepting).pixels / 65535
    if inverts:
        expected = 1 - np.log1p(raw.astype(float)) / np.log1p(16383)
        assert np.abs(grey - expected).max() < 1e-4
        assert np.corrcoef(grey.ravel(), tissue.ravel())[0, 1] > 0.9999
    else:
        assert np.abs(grey - raw / 16383).max() < 1e-4
    assert grey[80, 110] > grey[80, 50] > grey[10, 10]  # dense, fat, air
