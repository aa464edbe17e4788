"""Grading: late images, refusals, and models that change while exams are graded."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import httpx
import pydicom
import pytest
from pydicom.uid import generate_uid

from components.exam_model.recipe import PreprocessingRecipe
from serving.client.grades import ModelRecipe, ServingError
from serving.client.grading import GradingPolicy, ModelChangedError, grade_exam
from serving.client.grpc_client import ExamClient
from serving.gateway.run import running_gateway
from serving.gateway.worker import ConsistentGrader
from tests.waiting import HANG

if TYPE_CHECKING:
    from tests.serving.gateway.conftest import FreePorts, MakeGatewayConfig, StartGateway

Wait = Callable[..., Any]


@dataclass
class ChangingServer:
    """Serves the next version of a plan at each call; version N has its own recipe."""

    plan: list[int]
    calls: list[str] = field(default_factory=list)

    def _next(self, call: str) -> int:
        version = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        self.calls.append(f"{call} {version}")
        return version

    def model_recipe(self) -> ModelRecipe:
        version = self._next("recipe")
        return ModelRecipe(recipe_of_version(version), version)

    def grade(self, _: Any, recipe: PreprocessingRecipe) -> Any:
        """Like `serving.client.grading.grade_exam`, raise an error if model and images have different recipes."""
        version = self._next("grade")
        if recipe_of_version(version) != recipe:
            raise ModelChangedError
        return SimpleNamespace(model_version=version, recipe=recipe)


def recipe_of_version(version: int) -> PreprocessingRecipe:
    return PreprocessingRecipe(longest_side=100 + version)


@pytest.mark.parametrize("plan", [[3], [3, 4], [3, 3, 4], [3, 4, 3, 4], [3, 3, 4, 5, 6, 7]])
def test_a_grade_is_of_the_version_whose_recipe_was_used(plan: list[int]) -> None:
    server: Any = ChangingServer(plan)
    grader = ConsistentGrader(server)
    for _ in range(3):
        graded = grader.grade(server.grade)
        assert graded.recipe == recipe_of_version(graded.model_version)
    server.calls.clear()
    grader.grade(server.grade)
    assert len(server.calls) == 1  # a known version is not asked for its recipe again


def test_versions_that_never_stay_are_the_servers_fault() -> None:
    server: Any = ChangingServer(list(range(100)))
    with pytest.raises(ServingError, match="changes its model"):
        ConsistentGrader(server).grade(server.grade)


def test_missing_views_are_refused_and_graded_once_they_come(
    start_gateway: StartGateway, token: str, exams: list[list[Path]], wait_for: Wait
) -> None:
    with (
        start_gateway(grouping={"settle_seconds": 0, "timeout_seconds": 0.5}) as gateway,
        httpx.Client(
            base_url=gateway.http_address, headers={"Authorization": f"Bearer {token}"}, timeout=HANG
        ) as client,
    ):

        def send(path: Path) -> None:
            body = b"--cut\r\nContent-Type: application/dicom\r\n\r\n" + path.read_bytes() + b"\r\n--cut--"
            kind = 'multipart/related; type="application/dicom"; boundary=cut'
            assert client.post("/dicom-web/studies", content=body, headers={"Content-Type": kind}).status_code == 200

        def study() -> dict[str, Any]:
            (only,) = client.get("/api/studies").json()["studies"]
            found: dict[str, Any] = client.get(f"/api/studies/{only['key']}").json()
            return found

        for path in exams[0][:3]:
            send(path)
        wait_for(lambda: study()["state"] == "refused")
        assert study()["refusal"]["reason"] == "missing_views"
        assert "add MLO_R" in study()["refusal"]["message"]
        assert study()["exam"] is None
        send(exams[0][3])
        wait_for(lambda: study()["state"] == "graded")
        assert study()["refusal"] is None
        assert study()["exam"]["missing_views"] == []
        assert study()["exam"]["model_version"] == 3


def test_an_exam_for_processing_is_refused_with_the_reason(
    start_gateway: StartGateway, token: str, exams: list[list[Path]], tmp_path: Path, wait_for: Wait
) -> None:
    files = []
    for number, path in enumerate(exams[1]):
        dataset = pydicom.dcmread(path)
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2.1"
        dataset.PresentationIntentType = "FOR PROCESSING"
        dataset.save_as(tmp_path / f"{number}.dcm")
        files.append(("files", (f"{number}.dcm", (tmp_path / f"{number}.dcm").read_bytes())))
    with (
        start_gateway() as gateway,
        httpx.Client(
            base_url=gateway.http_address, headers={"Authorization": f"Bearer {token}"}, timeout=HANG
        ) as client,
    ):
        answer = client.post("/api/studies", files=files).json()
        study = wait_for(
            lambda: (s := client.get(f"/api/studies/{answer['keys'][0]}").json())["state"] == "refused" and s
        )
        assert study["refusal"]["reason"] == "for_processing"
        assert {rejected["file"] for rejected in study["rejected"]} == {file["name"] for file in answer["files"]}
        assert str(gateway.studies.spool.root) not in str(study)
        assert client.get(f"/api/studies/{study['key']}/views/CC_R.png").status_code == 404


@pytest.mark.e2e
def test_studies_wait_for_the_server_and_no_answer_is_wrong_while_its_model_is_swapped(
    gateway_config: MakeGatewayConfig,
    gateway_model: Path,
    export_model: Callable[..., None],
    free_ports: FreePorts,
    token: str,
    exams: list[list[Path]],
    tmp_path: Path,
    wait_for: Wait,
) -> None:
    """Version 4 requires another recipe. Each grade must equal the grade of its version for images with its recipe."""
    from serving.server.run import start_server

    versions = tmp_path / "models"
    shutil.copytree(gateway_model, versions)
    export_model(tmp_path / "4", 96)
    (port,) = free_ports(1)
    with ExitStack() as stack:
        config = gateway_config(f"127.0.0.1:{port}")
        gateway = stack.enter_context(running_gateway(config, {config.http.token_variable: token}))
        headers = {"Authorization": f"Bearer {token}"}
        client = stack.enter_context(
            httpx.Client(base_url=gateway.http_address, headers=headers, trust_env=False, timeout=HANG)
        )
        uploads: dict[str, int] = {}
        answers: dict[str, dict[str, Any]] = {}

        def upload(number: int) -> str:
            files, study = [], generate_uid()
            for path in exams[number]:
                dataset = pydicom.dcmread(path)
                dataset.StudyInstanceUID, dataset.SOPInstanceUID = study, generate_uid()
                dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
                buffer = io.BytesIO()
                dataset.save_as(buffer)
                files.append(("files", ("x.dcm", buffer.getvalue())))
            (key,) = client.post("/api/studies", files=files).json()["keys"]
            uploads[key] = number
            return str(key)

        def answered() -> bool:
            for key in uploads:
                if key not in answers and (exam := client.get(f"/api/studies/{key}").json()["exam"]):
                    answers[key] = exam
            return len(answers) == len(uploads)

        def expected(number: int) -> tuple[int, tuple[float, ...]]:
            with ExamClient(f"127.0.0.1:{port}") as grader:
                graded = grade_exam(exams[number][0].parent, grader, grader.model_recipe().recipe, GradingPolicy())
            return graded.model_version, graded.grade.probabilities

        waiting = upload(0)
        study = wait_for(lambda: (s := client.get(f"/api/studies/{waiting}").json())["failure"] and s)
        assert study["state"] in ("queued", "grading")
        assert "No model server answers" in study["failure"]["message"]
        assert client.get("/readyz").json()["model_server"] is False

        stack.enter_context(start_server(versions, grpc_port=port, rest_port=0, poll_seconds=0.2))
        wait_for(answered)
        truth = {3: [expected(0), expected(1)]}
        (tmp_path / "4").rename(versions / "4")

        def both_versions_answered() -> bool:
            upload(len(uploads) % 2)
            answered()
            return {exam["model_version"] for exam in answers.values()} == {3, 4}

        wait_for(both_versions_answered)
        wait_for(answered)
        truth[4] = [expected(0), expected(1)]
        assert truth[3][0][1] != pytest.approx(truth[4][0][1], abs=1e-3)
        for key, exam in answers.items():
            version, probabilities = truth[exam["model_version"]][uploads[key]]
            assert version == exam["model_version"]
            assert tuple(exam["probabilities"].values()) == pytest.approx(probabilities, abs=2e-6)
