"""The contract as a file, and against the signatures of SavedModels."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.common.views import View
from components.exam_model.contract import (
    CONTRACT_FILE,
    CONTRACT_VERSION,
    Contract,
    ContractError,
    read_contract,
    sha256_of,
    write_contract,
)
from components.exam_model.contract_signatures import Difference, find_differences, promised_signatures
from components.exam_model.saved_model import check_contract, declared_signatures, load_contract, model_digest
from components.exam_model.warmup import WARMUP_FILE, warmup_image, warmup_inputs, warmup_records
from schema import features as f
from serving.infra_check import probe
from serving.infra_check.check import build_requests
from serving.server.model import LoadedModel, warm_up
from tests.waiting import HANG

# Raise the version (see components/exam_model/contract.py) where this changes.
PROMISED = ("1.2", "b5e289b5725c6699")


@pytest.fixture(scope="module")
def contract(exported_exam_model: Path) -> Contract:
    return load_contract(str(exported_exam_model))


def test_a_change_of_the_signatures_or_of_the_fields_raises_the_version() -> None:
    """Texts for people may change at any time."""
    signatures = {name: signature.model_dump(mode="json") for name, signature in promised_signatures(450, 450).items()}
    for signature in signatures.values():
        del signature["meaning"]
        for tensor in (*signature["inputs"].values(), *signature["outputs"].values()):
            del tensor["meaning"]
    schema = Contract.model_json_schema()
    parts = {"Contract": schema, **schema["$defs"]}
    fields = {name: sorted(part["properties"]) for name, part in parts.items() if "properties" in part}
    described = json.dumps([signatures, fields], sort_keys=True).encode()
    assert (CONTRACT_VERSION, sha256_of(described)[:16]) == PROMISED


def test_the_file_has_the_same_bytes_each_time_and_is_read_as_it_was_written(contract: Contract) -> None:
    data = write_contract(contract)
    assert read_contract(data) == contract
    assert write_contract(read_contract(data)) == data
    assert json.loads(data)["signatures"]["predict_view"]["outputs"]["probabilities"] == {
        "dtype": "float32",
        "shape": ["images", 4],
        "meaning": "probability of each class of the image",
        "minimum": 0.0,
        "maximum": 1.0,
        "row_sum": 1.0,
    }


def changed(contract: Contract, **values: Any) -> bytes:
    return json.dumps(json.loads(write_contract(contract)) | values).encode()


@pytest.mark.parametrize("version", ["2.0", "0.9", "1.3", "1", "1.x", "1.٣", 1.0, None, ["1.0"]])
def test_a_contract_of_another_version_is_refused(contract: Contract, version: Any) -> None:
    with pytest.raises(ContractError, match="a version that this software does not know"):
        read_contract(changed(contract, contract_version=version))


def test_what_is_no_contract_is_refused_with_the_place_of_the_fault(contract: Contract) -> None:
    for data in (b"", b"\xff", b"[" * 100_000):
        with pytest.raises(ContractError, match="is not JSON"):
            read_contract(data)
    with pytest.raises(ContractError, match="does not know"):
        read_contract(b"[]")
    with pytest.raises(ContractError, match=r"wrong at added: Extra inputs"):
        read_contract(changed(contract, added=1))
    with pytest.raises(ContractError, match=r"wrong at exam.minimum_views: Input should be greater"):
        read_contract(changed(contract, exam={"minimum_views": 0}))
    metrics = {"slice": {}, "exams": 1, "ungraded": 0, "small": True, "metrics": {}}
    evaluation = {"model_sha256": "0" * 64, "metrics_sha256": "0" * 64, "slices": [metrics]}
    with pytest.raises(ContractError, match=r"evaluation.model_sha256 is of another model"):
        read_contract(changed(contract, evaluation=evaluation))


def test_differences_between_contract_and_model_are_typed_and_named(
    contract: Contract, exported_exam_model: Path, saved_models: dict[int, Path], tmp_path: Path
) -> None:
    assert find_differences(contract.signatures, declared_signatures(str(exported_exam_model))) == ()
    of_stand_in = set(find_differences(contract.signatures, declared_signatures(str(saved_models[0]))))
    assert of_stand_in >= {
        Difference("missing", "predict_exam.outputs.raw_probabilities"),
        Difference("shape", "gradcam.outputs.heatmap", "[None, 64, 64]", "[None, 8, 8]"),
        Difference("optional", "gradcam.inputs.target_class", "True", "False"),
    }
    more = declared_signatures(str(exported_exam_model)) | {
        "segment": declared_signatures(str(saved_models[0]))["gradcam"]
    }
    [unknown] = find_differences(contract.signatures, more)
    assert (unknown, str(unknown)) == (Difference("unknown", "segment"), "segment is unknown")
    with pytest.raises(ContractError, match=r"not what its contract says: .*, and \d+ more\."):
        check_contract(contract, str(saved_models[0]))
    copy = shutil.copytree(exported_exam_model, tmp_path / "copy")
    (copy / WARMUP_FILE).unlink()
    assert model_digest(str(copy)) == contract.model_sha256
    (copy / "fingerprint.pb").write_bytes(b"other")
    with pytest.raises(ContractError, match="The contract is of another model"):
        check_contract(contract, str(copy))
    (copy / CONTRACT_FILE).unlink()
    with pytest.raises(ContractError, match=r"carries no assets.extra/contract.json"):
        load_contract(str(copy))
    with pytest.raises(ContractError, match=r"saved_model.pb cannot be read"):
        declared_signatures(str(tmp_path))


def test_the_model_keeps_its_contract_where_this_package_keras_and_pydantic_cannot_be_imported(
    exported_exam_model: Path, texture_png: Callable[..., bytes], tmp_path: Path
) -> None:
    views = [View(texture_png(number), view, "exam", "B") for number, view in enumerate(f.VIEWS)]
    request, result = tmp_path / "requests.json", tmp_path / "result.json"
    request.write_text(json.dumps(build_requests(views)))
    blocked = ("components", "serving", "schema", "pipeline", "keras", "tf_keras", "pydantic", "tfx")
    script = (
        f"import runpy, sys; sys.modules.update(dict.fromkeys({blocked}));"
        " runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    arguments = [probe.__file__, exported_exam_model, request, result]
    command = [sys.executable, "-I", "-c", script, *map(str, arguments)]
    subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=True)
    checks = json.loads(result.read_text())
    assert [check for check in checks if not check["passed"]] == []
    assert {"warm-up requests", "answer of explain_exam"} <= {check["name"] for check in checks}


def test_warm_up_asks_every_signature_by_few_bytes_that_are_the_same_each_time(exported_exam_model: Path) -> None:
    assert warmup_records("m", 450) == warmup_records("m", 450)
    assert sum(map(len, warmup_records("m", 450))) < 100_000
    image = tf.io.decode_png(warmup_image(450)).numpy()
    assert (image.shape, image.dtype, image.min(), image.max()) == ((450, 450, 1), np.uint8, 0, 120)
    promised = promised_signatures(450, 450)
    inputs = warmup_inputs(450)
    assert {name: set(given) for name, given in inputs.items()} == {n: set(s.inputs) for n, s in promised.items()}
    recorded = tf.data.TFRecordDataset(str(exported_exam_model / WARMUP_FILE)).as_numpy_iterator()
    assert list(recorded) == warmup_records("breast_density", 64)


def test_the_local_server_replays_every_request_and_each_gets_the_right_answer(exported_exam_model: Path) -> None:
    model = LoadedModel(exported_exam_model, 1)
    assert warm_up(model, exported_exam_model) == 5
    inputs = warmup_inputs(64)
    arrays = {s: {k: np.array(v, object) for k, v in given.items()} for s, given in inputs.items()}
    answers = {signature: model.predict(signature, given) for signature, given in arrays.items()}
    views = answers["predict_view"]["probabilities"]
    np.testing.assert_allclose(answers["serving_default"]["probabilities"], views, atol=1e-6)
    np.testing.assert_allclose(answers["gradcam"]["probabilities"], views, atol=1e-6)
    np.testing.assert_allclose(answers["explain_exam"]["view_probabilities"], views, atol=1e-6)
    np.testing.assert_allclose(answers["predict_exam"]["raw_probabilities"], views.mean(0, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(answers["explain_exam"]["probabilities"], answers["predict_exam"]["probabilities"])
