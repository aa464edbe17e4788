"""Studies of a system that the model has not seen, or unlike its training exams: refused, or graded with a warning."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pydicom
import pytest
from pydicom.uid import generate_uid

from serving.gateway.config import GatewayConfig
from serving.gateway.run import RunningGateway, running_gateway
from tests.waiting import HANG

if TYPE_CHECKING:
    from tests.serving.gateway.conftest import MakeGatewayConfig, StartGateway


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


def counted(metrics: str, answer: str, flag: str = "unseen_system") -> float:
    found = re.search(rf'breast_density_flags_total\{{answer="{answer}",flag="{flag}"\}} (\S+)', metrics)
    return float(found[1]) if found else 0.0


@pytest.mark.parametrize("views", [1, 4])
def test_a_gateway_refuses_by_default_if_any_view_is_of_an_unseen_system(
    views: int, start_gateway: StartGateway, sent: Any, exams: list[list[Path]], caplog: pytest.LogCaptureFixture
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
    start_gateway: StartGateway, sent: Any, exams: list[list[Path]], caplog: pytest.LogCaptureFixture
) -> None:
    with start_gateway(grading={"policy": {"unseen": "flag"}}) as gateway, caplog.at_level("INFO"):
        study, metrics = sent(gateway, files_of(exams[0], "Never Seen 9000", 4))
    exam = study["exam"]
    assert (study["state"], exam["unseen_system"]) == ("graded", True)
    assert "Never Seen 9000" in exam["warnings"][0]
    assert {view["system_status"] for view in exam["views"].values()} == {"unseen"}
    assert (counted(metrics, "refused"), counted(metrics, "graded")) == (0, 1)
    assert re.search(f"WARNING .*study {study['key']}: graded, unseen_system in", caplog.text)


@pytest.fixture(scope="module")
def far_server(export_model: Callable[..., None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Serve a model whose training views are twice as far away as familiar ones may be."""
    from serving.server.run import start_server

    folder = tmp_path_factory.mktemp("far")
    export_model(folder / "1", 256, distance=2.0)
    with start_server(folder, grpc_port=0, rest_port=0) as server:
        yield server.grpc_address


def test_pictures_unlike_the_training_are_refused_or_graded_with_a_warning(
    far_server: str, gateway_config: MakeGatewayConfig, tmp_path: Path, sent: Any, exams: list[list[Path]], token: str
) -> None:
    environ = {"BREAST_DENSITY_GATEWAY_TOKEN": token}

    def answer(policy: dict[str, Any], name: str = "") -> tuple[dict[str, Any], str]:
        config = gateway_config(far_server, grading={"policy": policy}, spool=tmp_path / f"spool {policy}")
        with running_gateway(config, environ) as gateway:
            found: tuple[dict[str, Any], str] = sent(gateway, files_of(exams[0], name, 4 if name else 0))
            return found

    study, metrics = answer({})
    assert (study["state"], study["refusal"]["reason"]) == ("refused", "unlike_training")
    assert re.search(r"unlike those of the training exams \(familiarity 0\.\d\d;", study["refusal"]["message"])
    assert counted(metrics, "refused", "unlike_training") == 1
    assert "breast_density_familiarity_count 1.0" in metrics

    study, metrics = answer({"unlike_training": "flag"})
    exam = study["exam"]
    assert (exam["unlike_training"], exam["unseen_system"]) == (True, False)
    assert 0.4 < exam["familiarity"] < 0.6
    assert {0.4 < view["familiarity"] < 0.6 for view in exam["views"].values()} == {True}
    assert "unlike those of the training exams" in exam["warnings"][0]
    assert counted(metrics, "graded", "unlike_training") == 1
    for line in ('bucket{le="0.25"} 0.0', 'bucket{le="0.75"} 1.0', "count 1.0"):
        assert f"breast_density_familiarity_{line}" in metrics

    study, metrics = answer({"unseen": "refuse", "unlike_training": "refuse"}, "Never Seen 9000")
    assert study["refusal"]["reason"] == "unseen_system"
    assert [counted(metrics, "refused", flag) for flag in ("unseen_system", "unlike_training")] == [1, 1]

    study, metrics = answer({"unlike_training": "flag", "minimum_confidence": 1.0})
    assert study["refusal"]["reason"] == "low_confidence"
    assert "a grade needs at least 1:" in study["refusal"]["message"]
    assert counted(metrics, "refused", "low_confidence") == 1


def test_the_defaults_stay_strict_where_only_a_part_is_configured(gateway_config: MakeGatewayConfig) -> None:
    config: GatewayConfig = gateway_config(grading={"policy": {"maximum_doubt": 0.5}})
    policy = config.grading.policy
    assert (policy.unseen, policy.unlike_training, policy.minimum_views) == ("refuse", "refuse", 4)
    assert policy.minimum_confidence == 0
    with pytest.raises(ValueError, match="unseen"):
        gateway_config(grading={"policy": {"unseen": "ignore"}})
