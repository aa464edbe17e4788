"""InfraCheck: a good exam model passes, and a faulty one fails in the check that is named."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from components.common.views import View
from components.infra_check.check import build_requests, check_model
from components.infra_check.probe import CONTRACT, run
from schema import features as f


@pytest.fixture(scope="module")
def views(texture_png: Callable[..., bytes]) -> list[View]:
    return [View(texture_png(number), view, "exam", "B") for number, view in enumerate(f.VIEWS)]


class Faulty(tf.Module):
    """Answers by contract, but for the fault asked for; images are not looked at."""

    def __init__(self, fault: str = "") -> None:
        super().__init__()
        self.fault = fault

    def _answer(self, rows: tf.Tensor) -> dict[str, tf.Tensor]:
        row = [0.4, 0.3, 0.2, 0.3 if self.fault == "sum" else 0.1]
        return {"probabilities": tf.tile([row], [tf.size(rows), 1]), "density": tf.fill([tf.size(rows)], "A")}

    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(examples)

    def predict_view(self, image_bytes: tf.Tensor, view: tf.Tensor) -> dict[str, tf.Tensor]:
        answer = self._answer(view)
        if self.fault == "dtype":
            answer["probabilities"] = tf.cast(answer["probabilities"], tf.float64)
        return answer

    def predict_exam(self, image_bytes: tf.Tensor, view: tf.Tensor, exam_id: tf.Tensor) -> dict[str, tf.Tensor]:
        exams, _ = tf.unique(exam_id)
        answer = self._answer(exams)
        sides = {f"{side}_probabilities": answer["probabilities"] for side in ("right", "left", "raw")}
        counts = tf.ones([tf.size(exams)], tf.int32)
        texts = {"missing_views": "CC_L", "preprocessing": "{}", "reason": "no" if self.fault == "reason" else ""}
        filled = {name: tf.fill([tf.size(exams)], text) for name, text in texts.items()}
        return {**answer, **sides, **filled, "exam_id": exams, "view_count": counts}

    def gradcam(self, image_bytes: tf.Tensor, view: tf.Tensor, target_class: tf.Tensor) -> dict[str, tf.Tensor]:
        heat = tf.fill([tf.size(view), 4, 4], 1.5 if self.fault == "heat" else 0.5)
        return {**self._answer(view), "heatmap": heat, "overlay_png_bytes": image_bytes}

    def explain_exam(
        self, image_bytes: tf.Tensor, view: tf.Tensor, exam_id: tf.Tensor, target_class: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        views = self.gradcam(image_bytes, view, target_class)
        named = {f"view_{name}": views.pop(name) for name in ("probabilities", "density")}
        return {**self.predict_exam(image_bytes, view, exam_id), **views, **named}


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str], str]:
    def _save(fault: str) -> str:
        module = Faulty(fault)
        signatures = {
            name: tf.function(
                getattr(module, name),
                input_signature=[
                    tf.TensorSpec([None], tf.string, name=n)
                    for n in sorted(inputs, key=["examples", "image_bytes", "view", "exam_id", "target_class"].index)
                ],
            )
            for name, (inputs, _) in CONTRACT.items()
            if (fault, name) != ("missing", "gradcam")
        }
        tf.saved_model.save(module, str(tmp_path), signatures=signatures)
        return str(tmp_path)

    return _save


def failed(checks: list[dict[str, Any]]) -> dict[str, str]:
    """Name and detail of what failed, but for the check of foreign code: this process has it loaded."""
    return {
        check["name"]: check["detail"]
        for check in checks
        if not check["passed"] and check["name"] != "no code of this package was loaded"
    }


def test_the_real_export_passes_in_a_fresh_process(exported_exam_model: Path, views: list[View]) -> None:
    result = check_model(str(exported_exam_model), views)
    assert failed(result["checks"]) == {}
    assert result["passed"] is True
    names = [check["name"] for check in result["checks"] if "tensorflow_model_server" not in check["name"]]
    assert names == [
        "load the SavedModel",
        *(f"contract of {name}" for name in CONTRACT),
        *(f"answer of {name}" for name in CONTRACT),
        "no code of this package was loaded",
    ]
    assert all(check["seconds"] >= 0 for check in result["checks"])


@pytest.mark.parametrize(
    ("fault", "check", "detail"),
    [
        ("missing", "contract of gradcam", "signature gradcam is missing"),
        ("dtype", "contract of predict_view", "('float64', 2)"),
        ("sum", "answer of serving_default", "probabilities do not sum to 1"),
        ("heat", "answer of gradcam", "heat map goes over 1"),
        ("reason", "answer of predict_exam", "no grade and no reason, or both"),
    ],
)
def test_a_fault_fails_the_check_that_is_named(
    save: Callable[[str], str], views: list[View], fault: str, check: str, detail: str
) -> None:
    found = failed(run(save(fault), build_requests(views)))
    assert detail in found[check]
    if fault == "dtype":
        assert set(found) == {check}


def test_the_stand_in_without_a_fault_passes(save: Callable[[str], str], views: list[View]) -> None:
    assert failed(run(save(""), build_requests(views))) == {}


def test_a_folder_without_a_model_fails_at_loading(tmp_path: Path) -> None:
    checks = run(str(tmp_path), {})
    assert set(failed(checks)) == {"load the SavedModel"}


def test_requests_cover_the_contract(views: list[View]) -> None:
    requests = build_requests(views)
    assert {name: set(inputs) for name, inputs in requests.items()} == {n: i for n, (i, _) in CONTRACT.items()}
    decoded = [base64.b64decode(value) for value in requests["predict_exam"]["view"]]
    assert decoded == [view.encode() for view in f.VIEWS]
    example = tf.train.Example.FromString(base64.b64decode(requests["serving_default"]["examples"][0]))
    assert set(example.features.feature) == {f.IMAGE, f.VIEW}
