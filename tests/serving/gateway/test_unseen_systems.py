"""Studies of an acquisition system that the model has not seen: refused, or graded with a warning."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.uid import generate_uid

from serving.gateway.config import GatewayConfig
from serving.gateway.run import RunningGateway
from tests.waiting import HANG


def files_of(exam: list[Path], model_name: str, views: int) -> list[tuple[str, tuple[str, bytes]]]:
    """The exam of another study; the first views are of another machine."""
    files, study = [], generate_uid()
    for number, path in enumerate(exam):
        image = pydicom.dcmread(path)
        image.StudyInstanceUID, image.SOPInstanceUID = study, generate_uid()
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        if number < views:
            image.ManufacturerModelName = model_name
        buffer = io.BytesIO()
        image.save_as(buffer)
        files.append(("files", (f"{number}.dcm", buffer.getvalue())))
    return files


@pytest.fixture
def sent(token: str, wait_for: Callable[..., Any]) -> Callable[..., tuple[dict[str, Any], str]]:
    """Sends an exam to a gateway; returns the finished study and the metrics."""

    def send(gateway: RunningGateway, files: Any) -> tuple[dict[str, Any], str]:
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=gateway.http_address, headers=headers, trust_env=False, timeout=HANG) as client:
            [key] = client.post("/api/studies", files=files).json()["keys"]

            def finished() -> Any:
                study = client.get(f"/api/studies/{key}").json()
                return study if study["state"] in ("graded", "refused", "failed") else None

            return wait_for(finished), client.get("/metrics").text

    return send


def counted(metrics: str, answer: str) -> float:
    found = re.search(rf'breast_density_unseen_systems_total\{{answer="{answer}"\}} (\S+)', metrics)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize("views", [1, 4])
def test_a_gateway_refuses_by_default_if_any_view_is_of_an_unseen_system(
    views: int, start_gateway: Any, sent: Any, exams: list[list[Path]], caplog: pytest.LogCaptureFixture
) -> None:
    with start_gateway(grading={"policy": {"maximum_doubt": 1.0}}) as gateway, caplog.at_level("INFO"):
        study, metrics = sent(gateway, files_of(exams[0], "Never Seen 9000", views))
        known, _ = sent(gateway, files_of(exams[1], "", 0))
    assert (study["state"], study["refusal"]["reason"], study["exam"]) == ("refused", "unseen_system", None)
    assert "Never Seen 9000" in study["refusal"]["message"]
    assert "Hologic Selenia Dimensions" in study["refusal"]["message"], "it says what the model knows"
    assert (counted(metrics, "refused"), counted(metrics, "graded")) == (1, 0)
    assert f"study {study['key']}: refused, unseen_system" in caplog.text
    assert (known["state"], known["exam"]["unseen_system"], known["exam"]["warnings"]) == ("graded", False, [])
    assert {view["system_status"] for view in known["exam"]["views"].values()} == {"seen"}


def test_it_grades_with_a_warning_where_the_policy_says_so(
    start_gateway: Any, sent: Any, exams: list[list[Path]], caplog: pytest.LogCaptureFixture
) -> None:
    with start_gateway(grading={"policy": {"unseen": "flag"}}) as gateway, caplog.at_level("INFO"):
        study, metrics = sent(gateway, files_of(exams[0], "Never Seen 9000", 4))
    exam = study["exam"]
    assert (study["state"], exam["unseen_system"]) == ("graded", True)
    assert "Never Seen 9000" in exam["warnings"][0]
    assert {view["system_status"] for view in exam["views"].values()} == {"unseen"}
    assert (counted(metrics, "refused"), counted(metrics, "graded")) == (0, 1)
    assert re.search(f"WARNING .*study {study['key']}: graded, unseen_system in", caplog.text)


def test_the_defaults_stay_strict_where_only_a_part_is_configured(gateway_config: Any) -> None:
    config: GatewayConfig = gateway_config(grading={"policy": {"maximum_doubt": 0.5}})
    assert (config.grading.policy.unseen, config.grading.policy.minimum_views) == ("refuse", 4)
    with pytest.raises(ValueError, match="unseen"):
        gateway_config(grading={"policy": {"unseen": "ignore"}})
