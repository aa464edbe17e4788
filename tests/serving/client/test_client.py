"""The client by gRPC and in process: same answers, typed errors."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from components.exam_model.recipe import PreprocessingRecipe
from serving.client.grader import Grader
from serving.client.grades import InvalidExamError, ModelNotFoundError, ServerUnreachableError
from serving.client.grpc_client import ExamClient
from serving.client.local_model import LocalModel
from tests.known import known

if TYPE_CHECKING:
    from serving.server.run import RunningServer


def png(grey: int) -> bytes:
    return cv2.imencode(".png", np.full((16, 16), grey, np.uint8))[1].tobytes()


def expected_probabilities(grey: int) -> np.ndarray:
    weights = np.exp(-np.square(4.0 * grey / 255.0 - 0.5 - np.arange(4.0)))
    return weights / weights.sum()


EXAM = {"MLO_L": png(90), "CC_R": png(30), "CC_L": png(60), "MLO_R": png(120)}


@pytest.fixture(scope="module")
def client(running: RunningServer) -> Iterator[ExamClient]:
    with ExamClient(running.grpc_address) as client:
        yield client


@pytest.fixture(scope="module")
def local(saved_models: dict[int, Path]) -> LocalModel:
    return LocalModel(saved_models[0])


@pytest.fixture(params=["grpc", "local"])
def grader(request: pytest.FixtureRequest) -> Grader:
    return request.getfixturevalue("client" if request.param == "grpc" else "local")


def test_exam_grade(grader: Grader) -> None:
    grade = grader.predict_exam(EXAM)
    assert grade.views == ("CC_R", "CC_L", "MLO_R", "MLO_L")
    rows = {view: expected_probabilities(grey) for view, grey in zip(EXAM, (90, 30, 60, 120), strict=True)}
    np.testing.assert_allclose(grade.probabilities, np.mean(list(rows.values()), axis=0), atol=1e-6)
    np.testing.assert_allclose(known(grade.right), (rows["CC_R"] + rows["MLO_R"]) / 2, atol=1e-6)
    np.testing.assert_allclose(known(grade.left), (rows["CC_L"] + rows["MLO_L"]) / 2, atol=1e-6)
    assert grade.density == "ABCD"[int(np.argmax(grade.probabilities))]


def test_a_side_without_view_is_none(grader: Grader) -> None:
    grade = grader.predict_exam({"MLO_L": png(90)})
    assert grade.right is None
    assert grade.left == grade.probabilities
    assert grade.views == ("MLO_L",)
    assert grade.raw == grade.probabilities, "the stand-in is of before calibration"
    assert grade.familiarity is None, "and of before familiarity"


def test_gradcam(grader: Grader) -> None:
    maps = grader.gradcam({"MLO_L": png(200), "CC_R": png(30)})
    assert list(maps) == ["CC_R", "MLO_L"]
    assert (maps["CC_R"].density, maps["MLO_L"].density) == ("A", "D")
    assert maps["CC_R"].heatmap.shape == (8, 8)
    assert maps["CC_R"].heatmap.dtype == np.float32
    assert maps["MLO_L"].overlay_png == png(200)
    np.testing.assert_allclose(maps["MLO_L"].heatmap, 0.75)  # the stand-in draws the explained class's index / 4
    np.testing.assert_allclose(grader.gradcam({"CC_R": png(30)}, "C")["CC_R"].heatmap, 0.5)


def test_one_call_grades_and_explains(grader: Grader) -> None:
    explained = grader.explain_exam(EXAM)
    assert explained.grade == grader.predict_exam(EXAM)
    maps = grader.gradcam(EXAM)
    assert list(explained.views) == list(maps)
    for view, of_view in explained.views.items():
        assert (of_view.density, of_view.overlay_png) == (maps[view].density, maps[view].overlay_png)
        np.testing.assert_array_equal(of_view.heatmap, maps[view].heatmap)
        assert of_view.familiarity is None
    assert explained.model.model_version == (grader.version if isinstance(grader, LocalModel) else 3)
    assert explained.model.recipe == PreprocessingRecipe(longest_side=300)


def test_both_graders_give_identical_answers(client: ExamClient, local: LocalModel) -> None:
    assert client.predict_exam(EXAM) == local.predict_exam(EXAM)
    far, near = client.gradcam(EXAM), local.gradcam(EXAM)
    assert list(far) == list(near)
    for view in far:
        assert far[view].probabilities == near[view].probabilities
        assert far[view].overlay_png == near[view].overlay_png
        np.testing.assert_array_equal(far[view].heatmap, near[view].heatmap)


def test_input_errors_are_found_before_anything_is_sent() -> None:
    client = ExamClient("127.0.0.1:1")
    with pytest.raises(InvalidExamError, match="no image"):
        client.predict_exam({})
    with pytest.raises(InvalidExamError, match="Unknown view 'LCC'"):
        client.predict_exam({"LCC": png(1)})
    with pytest.raises(InvalidExamError, match="view CC_R is not a PNG"):
        client.predict_exam({"CC_R": b"\xff\xd8"})
    with pytest.raises(InvalidExamError, match="Unknown density class 'E'"):
        client.gradcam({"CC_R": png(1)}, "E")


def test_image_the_model_refuses(grader: Grader) -> None:
    with pytest.raises(InvalidExamError, match=r"^The model refused the exam \(.*PNG.*\): send each prepro") as caught:
        grader.predict_exam({"CC_R": png(1)[:20]})
    assert "node" not in str(caught.value)


def test_no_server(free_port: int) -> None:
    with (
        ExamClient(f"127.0.0.1:{free_port}") as client,
        pytest.raises(ServerUnreachableError, match="breast-density serve MODEL_DIR"),
    ):
        client.predict_exam(EXAM)


def test_silent_server_times_out(free_port: int) -> None:
    with (
        socket.create_server(("127.0.0.1", free_port)),
        ExamClient(f"127.0.0.1:{free_port}", timeout_s=0.3) as client,
        pytest.raises(ServerUnreachableError, match=r"within 0\.3 s"),
    ):
        client.predict_exam(EXAM)


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_model_not_found(running: RunningServer, tmp_path: Path) -> None:
    with (
        ExamClient(running.grpc_address, model_name="other") as client,
        pytest.raises(ModelNotFoundError, match="no model named 'other'"),
    ):
        client.predict_exam(EXAM)
    with pytest.raises(ModelNotFoundError, match="holds no model"):
        LocalModel(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"?")
    with pytest.raises(ModelNotFoundError, match="cannot be loaded"):
        LocalModel(tmp_path).predict_exam(EXAM)


def test_import_does_not_load_tensorflow() -> None:
    code = "import sys, serving.client, serving.server.tf_serving; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0
