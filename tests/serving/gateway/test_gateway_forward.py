"""Sending results to a real PACS, Orthanc."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pydicom
import pytest

from serving.gateway.config import DicomDestination, StowDestination
from serving.gateway.forward import DeliveryError, send_by_dicom, send_by_stow

if TYPE_CHECKING:
    from tests.serving.gateway.conftest import FreePorts, Pacs

pytestmark = pytest.mark.e2e


def test_both_ways_bring_objects_to_the_pacs_and_resending_doubles_none(pacs: Pacs, exams: list[list[Path]]) -> None:
    dicom, stow = pacs.destinations
    by_dicom = [pydicom.dcmread(path) for path in exams[1]]
    by_web = [pydicom.dcmread(path) for path in exams[2]]
    for _ in range(2):
        send_by_dicom(by_dicom, DicomDestination.model_validate(dicom), "BREASTDENSITY")
        send_by_stow(by_web, StowDestination.model_validate(stow), "")
    found = {instance["SOPInstanceUID"] for instance in pacs.instances()}
    assert found == {item.SOPInstanceUID for item in by_dicom + by_web}
    assert len(pacs.get("/instances")) == 8


def test_what_a_destination_does_not_take_is_an_error(
    pacs: Pacs, free_ports: FreePorts, exams: list[list[Path]]
) -> None:
    objects = [pydicom.dcmread(exams[1][0])]
    dicom, stow = pacs.destinations
    other = DicomDestination.model_validate(dicom | {"ae_title": "ANOTHER"})
    with pytest.raises(DeliveryError, match="refuses the call"):
        send_by_dicom(objects, other, "BREASTDENSITY")
    (closed,) = free_ports(1)
    dead = DicomDestination.model_validate(dicom | {"port": closed, "timeout_s": 2})
    with pytest.raises(DeliveryError, match="does not answer"):
        send_by_dicom(objects, dead, "BREASTDENSITY")
    with pytest.raises(DeliveryError, match="HTTP status 404"):
        send_by_stow(objects, StowDestination.model_validate(stow | {"url": stow["url"] + "-not"}), "")
    nothing = StowDestination.model_validate(stow | {"url": f"http://127.0.0.1:{closed}"})
    with pytest.raises(DeliveryError, match="does not answer"):
        send_by_stow(objects, nothing, "")
    objects[0].SOPInstanceUID = ""
    with pytest.raises(DeliveryError):
        send_by_stow(objects, StowDestination.model_validate(stow), "")
