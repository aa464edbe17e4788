"""Which files are mammograms, and what a person can vouch for by naming the view; each as a file."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import (
    UID,
    BreastTomosynthesisImageStorage,
    ComputedRadiographyImageStorage,
    CTImageStorage,
    DigitalMammographyXRayImageStorageForPresentation,
    DigitalMammographyXRayImageStorageForProcessing,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MRImageStorage,
    SecondaryCaptureImageStorage,
    UltrasoundImageStorage,
)

from components.dicom.reading import read_header
from components.dicom.rejections import IngestError
from components.dicom.remarks import Remark
from tests.components.dicom.dicom_files import MakeDicom


def verdict(make_dicom: MakeDicom, view: str | None, meta: str | None, changes: dict[str, Any]) -> str:
    """The remark that the file is taken with, ``plain``, or the reason why not; as the bytes say, in both VRs."""
    verdicts = set()
    for syntax in (ExplicitVRLittleEndian, ImplicitVRLittleEndian):
        path = make_dicom(f"{syntax}.dcm", TransferSyntaxUID=syntax, **changes)
        dataset = dcmread(path)
        dataset.file_meta.MediaStorageSOPClassUID = UID(meta or SecondaryCaptureImageStorage)
        dataset.save_as(path, enforce_file_format=True)
        try:
            remarks = read_header(path, view).remarks
            verdicts.add(" ".join(remark.value for remark in remarks) or "plain")
        except IngestError as error:
            verdicts.add(error.reason.value)
    [one] = verdicts
    return one


NOTHING: dict[str, Any] = {"Modality": None, "SOPClassUID": None, "PresentationIntentType": None}
OTHERS: tuple[str, ...] = (CTImageStorage, MRImageStorage, UltrasoundImageStorage)
MAMMOGRAPHY = DigitalMammographyXRayImageStorageForPresentation


@pytest.mark.parametrize(
    ("meta", "changes", "expected"),
    [
        (MAMMOGRAPHY, NOTHING, Remark.CLASS_OF_FILE_META.value),
        (MAMMOGRAPHY, NOTHING | {"Modality": "OT"}, Remark.CLASS_OF_FILE_META.value),
        (MAMMOGRAPHY, NOTHING | {"Modality": "CT"}, "not_mammography"),
        (MAMMOGRAPHY, NOTHING | {"SOPClassUID": SecondaryCaptureImageStorage}, "not_mammography"),
        (DigitalMammographyXRayImageStorageForProcessing, NOTHING, "for_processing"),
        (BreastTomosynthesisImageStorage, NOTHING, "tomosynthesis"),
        (SecondaryCaptureImageStorage, NOTHING, "not_mammography"),
        (SecondaryCaptureImageStorage, NOTHING | {"BodyPartExamined": "BREAST"}, "plain"),
        *((other, NOTHING | {"BodyPartExamined": "BREAST"}, "not_mammography") for other in OTHERS),
        *((other, NOTHING | {"BodyPartExamined": "BREAST", "Modality": "OT"}, "not_mammography") for other in OTHERS),
        (None, NOTHING | {"BodyPartExamined": "BREAST", "SOPClassUID": MRImageStorage}, "not_mammography"),
        (None, NOTHING | {"BodyPartExamined": "BREAST", "SOPClassUID": "1.2.3"}, "plain"),
        (None, {"Modality": None}, "plain"),
        (None, {"SOPClassUID": SecondaryCaptureImageStorage}, "plain"),
    ],
)
def test_the_file_meta_s_class_stands_in_for_that_of_the_data_set(
    make_dicom: MakeDicom, meta: str | None, changes: dict[str, Any], expected: str
) -> None:
    assert verdict(make_dicom, None, meta, changes) == expected


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("changes", [NOTHING, NOTHING | {"BodyPartExamined": "BREAST"}])
def test_nobody_vouches_for_other_images(make_dicom: MakeDicom, other: str, changes: dict[str, Any]) -> None:
    assert verdict(make_dicom, "CC_R", other, changes) == "not_mammography"


@pytest.mark.parametrize("modality", [None, "OT", "CR", "DX", "RG", "RF", "SC"])
@pytest.mark.parametrize(
    "sop_class",
    [None, SecondaryCaptureImageStorage, ComputedRadiographyImageStorage, DigitalXRayImageStorageForPresentation],
)
def test_who_names_the_view_vouches_for_a_file_that_says_nothing(
    make_dicom: MakeDicom, modality: str | None, sop_class: str | None
) -> None:
    changes = NOTHING | {"Modality": modality, "SOPClassUID": sop_class}
    assert verdict(make_dicom, None, None, changes) == "not_mammography"
    assert verdict(make_dicom, "CC_R", None, changes) == "vouched_for"


@pytest.mark.parametrize(
    "changes",
    [
        *({"Modality": modality} for modality in ("CT", "MR", "US", "PT", "NM", "SR", "junk")),
        *({"SOPClassUID": uid} for uid in (CTImageStorage, MRImageStorage, UltrasoundImageStorage, "1.2.3")),
        {"BodyPartExamined": "CHEST"},
        {"Modality": "DX", "BodyPartExamined": "HAND"},
    ],
)
def test_nobody_vouches_against_what_the_file_says(make_dicom: MakeDicom, changes: dict[str, Any]) -> None:
    assert verdict(make_dicom, "CC_R", None, NOTHING | changes) == "not_mammography"


def test_vouching_is_for_the_kind_of_file_not_for_another_view(make_dicom: MakeDicom) -> None:
    assert verdict(make_dicom, "MLO_R", None, NOTHING) == "view_conflict"
    assert verdict(make_dicom, "CC_R", None, NOTHING | {"SeriesDescription": "R CC C-View"}) == "synthetic_2d"
    with pytest.raises(IngestError, match="name its view in a manifest, or with --view, to vouch for it"):
        read_header(make_dicom(Modality="OT", SOPClassUID=SecondaryCaptureImageStorage))
