"""Views, sides and kinds as consoles write them, each as bytes on disk: the right view, or a typed refusal."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import config
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, SecondaryCaptureImageStorage

from components.dicom.reading import read_header
from components.dicom.rejections import IngestError
from tests.components.dicom.dicom_files import MakeDicom


def coded(value: str, scheme: str = "SCT", meaning: str = "x") -> list[Dataset]:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return [item]


def frame_side(side: str) -> list[Dataset]:
    anatomy, group = Dataset(), Dataset()
    anatomy.FrameLaterality = side
    group.FrameAnatomySequence = [anatomy]
    return [group]


def position(text: Any, side: str | None = "L") -> dict[str, Any]:
    return {"ViewPosition": text, "ImageLaterality": side}


VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("CC_L", position("CC ")),
    ("CC_L", position("CC\0")),
    ("MLO_L", position("mlo")),
    ("MLO_L", position("L-MLO", None)),
    ("MLO_L", position("MLOL", None)),
    ("MLO_L", position("L MLO", None)),
    ("MLO_L", position("MEDIO-LATERAL OBLIQUE")),
    ("CC_L", position("CRANIO-CAUDAL")),
    ("CC_R", position("Right Cranio-Caudal", None)),
    ("unsupported_view", position("MEDIO-LATERAL")),
    ("unsupported_view", position("Latero-medial oblique")),
    *(("unsupported_view", position(text)) for text in ("ML", "LMO", "XCCL")),
    ("unsupported_view", position("LML", None)),
    ("unknown_view", position("RMLO")),
    *(("unknown_view", position("CC", side)) for side in ("B", "U", "")),
    *(("unknown_view", position(text)) for text in ("CCM", "CC+", "", ["MLO", "CC"])),
    ("unknown_view", position("RCC2", None)),
    ("implant_displaced", position("CCID")),
    ("spot_compression", position("CC SPOT")),
    ("spot_compression", position("SLMO", None)),
    ("magnification", position("MLO MAG")),
    ("magnification", position("MCC")),
    *(("axillary_tail", position(text)) for text in ("AT", "AX")),
    ("unknown_view", {"ViewPosition": None, "SeriesDescription": "L MLO"}),  # a text is no evidence of a view
    ("CC_R", {"ImageLaterality": None, "Laterality": "R"}),
    ("CC_L", {"ImageLaterality": "L", "Laterality": "R"}),
    ("MLO_R", {"ViewPosition": None, "ViewCodeSequence": coded("R-10226", "SNM3")}),
    ("unknown_view", {"ViewPosition": None, "ViewCodeSequence": coded("99MLO", "99GEMS", "medio-lateral oblique")}),
    ("unknown_view", {"ViewPosition": "MLO", "ViewCodeSequence": coded("399162004")}),
    ("CC_L", {"ImageLaterality": None, "SharedFunctionalGroupsSequence": frame_side("L")}),
    ("CC_R", {"SOPClassUID": SecondaryCaptureImageStorage}),
    ("synthetic_2d", {"SeriesDescription": "L_CC_C-View"}),
    ("tomosynthesis", {"SeriesDescription": "L CC Tomosynthesis Reconstruction"}),
    ("spot_compression", {"PaddleDescription": "SPOT COMPRESSION"}),
    ("magnification", {"EstimatedRadiographicMagnificationFactor": "1.8"}),
    ("implant_present", {"BreastImplantPresent": "YES"}),
    ("CC_R", {"StudyDescription": "MAMMO BILATERAL IMPLANT"}),
]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize(("expected", "changes"), VARIANTS)
def test_variants_of_views(make_dicom: MakeDicom, expected: str, changes: dict[str, Any], syntax: str) -> None:
    before = config.settings.writing_validation_mode
    config.settings.writing_validation_mode = config.IGNORE
    try:
        path = make_dicom(TransferSyntaxUID=syntax, **changes)
    finally:
        config.settings.writing_validation_mode = before
    try:
        found = read_header(path).view
    except IngestError as error:
        found = error.reason.value
    assert found == expected
