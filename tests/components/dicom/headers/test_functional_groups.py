"""Enhanced objects: attributes in shared and per-frame functional groups are read as if they were at the root."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    BreastProjectionXRayImageStorageForPresentation,
    BreastProjectionXRayImageStorageForProcessing,
)

from components.dicom.headers.orientation import Turn
from components.dicom.reading import load_view, read_header, read_pixels
from components.dicom.rejections import AcceptanceConfig, IngestError, RejectionReason
from components.dicom.remarks import Remark
from tests.components.dicom.dicom_files import NATIVE, mammogram, names, part10, ramp

SHARED, FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
WINDOW: Final = {"WindowCenter": "2000", "WindowWidth": "3000", "VOILUTFunction": "SIGMOID"}
RESCALE: Final = {"RescaleIntercept": "-30000", "RescaleSlope": "1", "RescaleType": "US"}
OTHER_WINDOW: Final = {"WindowCenter": "700", "WindowWidth": "300", "VOILUTFunction": "LINEAR"}


def item(**values: Any) -> Dataset:
    result = Dataset()
    for keyword, value in values.items():
        setattr(result, keyword, value)
    return result


def group(**macros: dict[str, Any]) -> Dataset:
    return item(**{name: [item(**values)] for name, values in macros.items()})


def lut(signed: bool) -> Dataset:
    result = Dataset()
    values = [int(v) for v in np.linspace(0, 2000, 4096)]
    result.add_new("LUTDescriptor", "SS" if signed else "US", [4096, -2048 if signed else 0, 12])
    result.add_new("LUTData", "US", values)
    return result


def enhanced(**changes: Any) -> Dataset:
    """A breast projection image: detector values of 16 bits around 30,000."""
    pixels = ramp() + np.uint16(30000)
    sop_class = {"SOPClassUID": BreastProjectionXRayImageStorageForPresentation, "NumberOfFrames": 1}
    return mammogram(pixels, **(sop_class | {"BitsStored": 16, "HighBit": 15} | changes))


def written(folder: Path, dataset: Dataset, syntax: UID) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.dcm"
    path.write_bytes(part10(dataset, syntax))
    return path


GROUPS: Final = {
    "shared": {SHARED: [group(FrameVOILUTSequence=WINDOW, PixelValueTransformationSequence=RESCALE)]},
    "frame": {
        SHARED: [Dataset()],
        FRAME: [group(FrameVOILUTSequence=WINDOW, PixelValueTransformationSequence=RESCALE)],
    },
    "one in each": {
        SHARED: [group(PixelValueTransformationSequence=RESCALE)],
        FRAME: [group(FrameVOILUTSequence=WINDOW)],
    },
    "frame over shared": {
        SHARED: [group(FrameVOILUTSequence=OTHER_WINDOW, PixelValueTransformationSequence=RESCALE)],
        FRAME: [group(FrameVOILUTSequence=WINDOW)],
    },
    "empty frame macro": {
        SHARED: [group(FrameVOILUTSequence=WINDOW, PixelValueTransformationSequence=RESCALE)],
        FRAME: [group(FrameVOILUTSequence={"WindowCenter": None})],
    },
    "several equal frames": {
        SHARED: [group(PixelValueTransformationSequence=RESCALE)],
        FRAME: [group(FrameVOILUTSequence=WINDOW)] * 3,
    },
}


@pytest.mark.parametrize("where", GROUPS)
def test_window_and_rescale_of_groups_are_those_of_the_root(where: str, syntax: UID, tmp_path: Path) -> None:
    root = written(tmp_path, enhanced(**WINDOW, **RESCALE), syntax)
    path = written(tmp_path, enhanced(**GROUPS[where]), syntax)
    np.testing.assert_array_equal(read_pixels(path), read_pixels(root))
    assert read_header(path).remarks == ()


@pytest.mark.parametrize("syntax", NATIVE, ids=names(NATIVE))
@pytest.mark.parametrize("signed", [False, True])
def test_a_voi_lut_of_a_group(signed: bool, syntax: UID, tmp_path: Path) -> None:
    kind = np.dtype(np.int16 if signed else np.uint16).newbyteorder(">" if syntax == NATIVE[2] else "<")
    pixels = (ramp().astype(int) - 2048 * signed).astype(kind)
    stored: dict[str, Any] = {"PixelRepresentation": int(signed)}
    root = written(tmp_path, mammogram(pixels, **stored, VOILUTSequence=[lut(signed)]), syntax)
    voi = item(FrameVOILUTSequence=[item(VOILUTSequence=[lut(signed)])])
    path = written(tmp_path, mammogram(pixels, **stored, **{SHARED: [voi]}), syntax)
    np.testing.assert_array_equal(read_pixels(path), read_pixels(root))
    assert read_pixels(path).max() == round(2000 / 4095 * 65535)


@pytest.mark.parametrize(
    "root",
    [OTHER_WINDOW, {"VOILUTSequence": [lut(False)]}, {"RescaleSlope": "2"}, {"ModalityLUTSequence": [lut(False)]}],
)
def test_groups_win_over_a_root_that_says_otherwise_and_that_is_told(
    root: dict[str, Any], syntax: UID, tmp_path: Path
) -> None:
    plain = written(tmp_path, enhanced(**GROUPS["shared"]), syntax)
    path = written(tmp_path, enhanced(**GROUPS["shared"], **root), syntax)
    np.testing.assert_array_equal(read_pixels(path), read_pixels(plain))
    assert read_header(path).remarks == (Remark.FUNCTIONAL_GROUPS_OVER_ROOT,)


def test_a_root_that_says_the_same_is_not_told(syntax: UID, tmp_path: Path) -> None:
    same = enhanced(**GROUPS["shared"], **WINDOW, RescaleSlope="1", RescaleIntercept="-30000")
    assert read_header(written(tmp_path, same, syntax)).remarks == ()


def test_spacing_of_groups(syntax: UID, tmp_path: Path) -> None:
    measures = {SHARED: [group(PixelMeasuresSequence={"PixelSpacing": [0.07, 0.07]})]}
    properties = {FRAME: [group(FramePixelDataPropertiesSequence={"ImagerPixelSpacing": [0.085, 0.085]})]}
    for groups, expected in ((measures, 0.07), (properties, 0.085)):
        path = written(tmp_path, enhanced(ImagerPixelSpacing=None, **groups), syntax)
        assert load_view(path, None, 1024).pixel_spacing_mm == pytest.approx(expected)


def test_sides_of_groups(syntax: UID, tmp_path: Path) -> None:
    left = {FRAME: [group(FrameAnatomySequence={"FrameLaterality": "L"})]}
    assert read_header(written(tmp_path, enhanced(ImageLaterality=None, **left), syntax)).view == "CC_L"
    with pytest.raises(IngestError) as error:
        read_header(written(tmp_path, enhanced(**left), syntax))
    assert error.value.reason is RejectionReason.UNKNOWN_VIEW


def test_orientation_of_groups(syntax: UID, tmp_path: Path) -> None:
    upside_down = {FRAME: [group(PatientOrientationInFrameSequence={"PatientOrientation": ["P", "R"]})]}
    header = read_header(written(tmp_path, enhanced(**upside_down), syntax))
    assert (header.turn, header.remarks) == (Turn(flip_rows=True), (Remark.TURNED,))


def test_special_cases_of_groups(syntax: UID, tmp_path: Path) -> None:
    for macro, reason in (
        ({"XRayGeometrySequence": {"EstimatedRadiographicMagnificationFactor": 1.8}}, RejectionReason.MAGNIFICATION),
        (
            {"FramePixelDataPropertiesSequence": {"FrameType": ["DERIVED", "PRIMARY", "", "SUBTRACTION"]}},
            RejectionReason.CONTRAST_ENHANCED,
        ),
    ):
        with pytest.raises(IngestError) as error:
            read_header(written(tmp_path, enhanced(**{SHARED: [group(**macro)]}), syntax))
        assert error.value.reason is reason


def test_for_processing_values_of_groups(syntax: UID, tmp_path: Path) -> None:
    raw = {"SOPClassUID": BreastProjectionXRayImageStorageForProcessing, "PresentationIntentType": "FOR PROCESSING"}
    relation = {"PixelIntensityRelationship": "LIN", "PixelIntensityRelationshipSign": 1}
    root = written(tmp_path, enhanced(**raw, **relation), syntax)
    properties = group(FramePixelDataPropertiesSequence=relation)
    path = written(tmp_path, enhanced(**raw, **{SHARED: [properties]}), syntax)
    accept = AcceptanceConfig(accept=(RejectionReason.FOR_PROCESSING,))
    of_root, of_groups = (load_view(file, None, 1024, acceptance=accept).pixels for file in (root, path))
    np.testing.assert_array_equal(of_groups, of_root)
    assert of_root[0, 0] > of_root[-1, -1]


def test_a_damaged_scale_of_a_group_is_refused(syntax: UID, tmp_path: Path) -> None:
    zero = group(PixelValueTransformationSequence={"RescaleSlope": "0", "RescaleIntercept": "5"})
    with pytest.raises(IngestError, match="Rescale Slope"):
        read_header(written(tmp_path, enhanced(**{FRAME: [zero]}), syntax))


def test_one_frame_with_the_different_groups_of_several_is_refused(syntax: UID, tmp_path: Path) -> None:
    groups = {FRAME: [group(FrameVOILUTSequence=WINDOW), group(FrameVOILUTSequence=OTHER_WINDOW)]}
    with pytest.raises(IngestError, match="Per-Frame Functional Groups") as error:
        read_header(written(tmp_path, enhanced(**groups), syntax))
    assert error.value.reason is RejectionReason.MALFORMED_HEADER
