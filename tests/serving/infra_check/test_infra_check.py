"""InfraCheck: a good exam model passes, and a faulty one fails in the check that is named."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from components.common.views import View
from components.exam_model.contract import CONTRACT_FILE, sha256_of
from components.exam_model.contract_signatures import promised_signatures
from components.exam_model.heat_source import GRAD_CAM
from components.exam_model.saved_model import model_digest
from components.exam_model.warmup import WARMUP_FILE, write_warmup
from schema import features as f
from serving.infra_check.check import build_requests, check_model
from serving.infra_check.probe import run_checks

pytestmark = pytest.mark.slow

SIGNATURES = promised_signatures(4, 4)
BESIDE = {"load the SavedModel", "read the contract", "files of the contract", "operations of TensorFlow only"}


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
        density = "B" if self.fault == "order" else "A"
        return {
            "probabilities": tf.tile([row], [tf.size(rows), 1]),
            "density": tf.fill([tf.size(rows)], density),
            "familiarity": tf.fill([tf.size(rows)], 1.2 if self.fault == "familiarity" else -1.0),
        }

    def serving_default(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return self._answer(examples)

    def predict_view(self, image_bytes: tf.Tensor, view: tf.Tensor) -> dict[str, tf.Tensor]:
        answer = self._answer(view)
        if self.fault == "dtype":
            answer["probabilities"] = tf.cast(answer["probabilities"], tf.float64)
        if self.fault == "python":
            [same] = tf.numpy_function(lambda x: x, [answer["probabilities"]], [tf.float32])
            answer["probabilities"] = tf.ensure_shape(same, [None, 4])
        return answer

    def predict_exam(self, image_bytes: tf.Tensor, view: tf.Tensor, exam_id: tf.Tensor) -> dict[str, tf.Tensor]:
        exams, _ = tf.unique(exam_id)
        answer = self._answer(exams)
        sides = {f"{side}_probabilities": answer["probabilities"] for side in ("right", "left", "raw")}
        counts = tf.ones([tf.size(exams)], tf.int32)
        texts = {
            "missing_views": "CC_L",
            "training_systems": json.dumps({"origin": "", "systems": [{}] if self.fault == "systems" else []}),
            "preprocessing": '{"other": 1}' if self.fault == "recipe" else "{}",
            "reason": "no" if self.fault == "reason" else "",
        }
        filled = {name: tf.fill([tf.size(exams)], text) for name, text in texts.items()}
        if self.fault == "count":
            counts = tf.ones([tf.size(exam_id)], tf.int32)
        return {**answer, **sides, **filled, "exam_id": exams, "view_count": counts}

    def gradcam(self, image_bytes: tf.Tensor, view: tf.Tensor, target_class: tf.Tensor) -> dict[str, tf.Tensor]:
        heat = tf.fill([tf.size(view), 4, 4], 1.5 if self.fault == "heat" else 0.5)
        if self.fault == "default":
            heat *= tf.cast(target_class[0] == "", tf.float32)
        method = tf.fill(tf.shape(view), GRAD_CAM.name)
        return {**self._answer(view), "heatmap": heat, "heatmap_method": method, "overlay_png_bytes": image_bytes}

    def explain_exam(
        self, image_bytes: tf.Tensor, view: tf.Tensor, exam_id: tf.Tensor, target_class: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        views = self.gradcam(image_bytes, view, target_class)
        named = {f"view_{name}": views.pop(name) for name in ("probabilities", "density", "familiarity")}
        return {**self.predict_exam(image_bytes, view, exam_id), **views, **named}

    def signature(self, name: str) -> Any:
        default = tf.constant(["A" if self.fault == "default" else ""])
        method = getattr(self, name)

        def gradcam(image_bytes: Any, view: Any, target_class: Any = default) -> Any:
            return method(image_bytes, view, target_class)

        def explain_exam(image_bytes: Any, view: Any, exam_id: Any, target_class: Any = default) -> Any:
            return method(image_bytes, view, exam_id, target_class)

        with_default = {"gradcam": gradcam, "explain_exam": explain_exam}
        if self.fault == "required":
            del with_default["explain_exam"]
        call = with_default.get(name, method)
        specs = [tf.TensorSpec([None], tf.string, name=given) for given in SIGNATURES[name].inputs]
        return tf.function(call, input_signature=specs, autograph=False)


@pytest.fixture
def save(tmp_path: Path) -> Callable[[str], str]:
    def _save(fault: str) -> str:
        module, folder = Faulty(fault), str(tmp_path / "model")
        signatures = {name: module.signature(name) for name in SIGNATURES if (fault, name) != ("missing", "gradcam")}
        tf.saved_model.save(module, folder, signatures=signatures)
        write_warmup(folder, "breast_density", 4)
        (tmp_path / "model" / "assets.extra" / "calibration.json").write_bytes(b"{}")
        contract = {
            "contract_version": "1.0",
            "signatures": {name: s.model_dump(exclude_none=True) for name, s in SIGNATURES.items()},
            "classes": [{"name": name} for name in f.DENSITY_CLASSES],
            "preprocessing": {"recipe": {}, "recipe_sha256": sha256_of(b"{}")},
            "training_data": {"origin": "", "systems": []},
            "familiarity": {"available": False},
            "calibration": {"file": "assets.extra/calibration.json", "file_sha256": sha256_of(b"{}")},
            "model_sha256": model_digest(folder),
        }
        (tmp_path / "model" / CONTRACT_FILE).write_text(json.dumps(contract))
        return folder

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
    of_signatures = {f"{kind} of {name}" for name in SIGNATURES for kind in ("contract", "answer")}
    others = {"signatures of the contract", "warm-up requests", "no code of this package was loaded"}
    assert set(names) == BESIDE | of_signatures | others
    assert all(check["seconds"] >= 0 for check in result["checks"])


@pytest.mark.parametrize(
    ("fault", "check", "detail"),
    [
        ("missing", "signatures of the contract", "promised ['explain_exam', 'gradcam', 'predict_exam'"),
        (
            "dtype",
            "contract of predict_view",
            "probabilities is ('float64', [None, 4]), promised ('float32', [None, 4])",
        ),
        ("required", "contract of explain_exam", "optional are [], promised ['target_class']"),
        ("python", "operations of TensorFlow only", "['PyFunc']"),
        ("sum", "answer of serving_default", "probabilities does not sum to 1"),
        ("order", "answer of predict_view", "density is b'B', and by the order of the classes it must be b'A'"),
        (
            "count",
            "answer of predict_exam",
            "view_count has shape (4,), promised ['exams'] with {'images': 4, 'exams': 1}",
        ),
        ("heat", "answer of gradcam", "heatmap leaves 0.0 to 1.0"),
        ("default", "answer of gradcam", "the answer without target_class differs"),
        ("reason", "answer of predict_exam", "no grade and no reason, or both"),
        ("recipe", "answer of predict_exam", "another preprocessing recipe"),
        ("systems", "answer of predict_exam", "training_systems is not what training_data says"),
        ("familiarity", "answer of predict_view", "familiarity is a number, against the contract"),
    ],
)
def test_a_fault_fails_the_check_that_is_named(
    save: Callable[[str], str], views: list[View], fault: str, check: str, detail: str
) -> None:
    assert detail in failed(run_checks(save(fault), build_requests(views)))[check]


def test_the_stand_in_without_a_fault_passes(save: Callable[[str], str], views: list[View]) -> None:
    assert failed(run_checks(save(""), build_requests(views))) == {}


def test_a_contract_that_is_missing_of_another_version_or_of_another_model_is_refused(
    save: Callable[[str], str], views: list[View]
) -> None:
    folder = Path(save(""))
    contract = json.loads((folder / CONTRACT_FILE).read_bytes())

    def outcome(**changed: Any) -> dict[str, str]:
        (folder / CONTRACT_FILE).write_text(json.dumps(contract | changed))
        return failed(run_checks(str(folder), build_requests(views[:1])))

    (folder / WARMUP_FILE).unlink()
    other = outcome(model_sha256="0" * 64)
    assert set(other) == {"files of the contract", "warm-up requests"}
    assert "belongs to another model" in other["files of the contract"]
    assert "has no assets.extra/tf_serving_warmup_requests" in other["warm-up requests"]
    newer = outcome(contract_version="2.0")
    assert list(newer) == ["read the contract"]
    assert "contract_version is 2.0, and this check knows 1.x" in newer["read the contract"]
    (folder / CONTRACT_FILE).unlink()
    missing = failed(run_checks(str(folder), build_requests(views[:1])))
    assert list(missing) == ["read the contract"]
    assert "has no assets.extra/contract.json: export it again" in missing["read the contract"]


def test_a_folder_without_a_model_fails_at_loading(tmp_path: Path) -> None:
    checks = run_checks(str(tmp_path), {})
    assert set(failed(checks)) == {"load the SavedModel"}


def test_requests_cover_the_contract(views: list[View]) -> None:
    requests = build_requests(views)
    assert {name: set(inputs) for name, inputs in requests.items()} == {n: set(s.inputs) for n, s in SIGNATURES.items()}
    decoded = [base64.b64decode(value) for value in requests["predict_exam"]["view"]]
    assert decoded == [view.encode() for view in f.VIEWS]
    example = tf.train.Example.FromString(base64.b64decode(requests["serving_default"]["examples"][0]))
    assert set(example.features.feature) == {f.IMAGE, f.VIEW}
