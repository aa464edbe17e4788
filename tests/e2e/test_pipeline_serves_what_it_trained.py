"""The pushed model: alone in a fresh process, behind gRPC, and fed by the preprocessing that trained it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from components.common.shards import read_shard, shards_of, split_folder
from components.exam_model.preparation import prepare_file
from components.statistics.calibration import calibrate, load_temperature
from pipeline.local.demo import real_exams
from pipeline.predict.exam import predict_exam
from schema import features as f
from schema.features import DENSITY_CLASSES, VIEWS
from serving.client.grpc_client import ExamClient
from serving.client.preprocessing import prepare_exam
from serving.server.run import start_server
from tests.pictures import read_picture
from tests.waiting import HANG

if TYPE_CHECKING:
    from tests.e2e.conftest import FinishedRun

pytestmark = pytest.mark.e2e

# Imports TensorFlow (and numpy with it) and nothing else; prints what each signature answered.
_STRANGER = """
import json, sys
from pathlib import Path
import numpy as np
import tensorflow as tf

model = tf.saved_model.load(sys.argv[1])
folder = Path(sys.argv[2])
views = ["CC_R", "CC_L", "MLO_R", "MLO_L"]
images = [(folder / f"{view}.png").read_bytes() for view in views]
records = [(folder / f"{view}.example").read_bytes() for view in views]
image_bytes, view = tf.constant(images), tf.constant(views)
calls = {
    "serving_default": {"examples": tf.constant(records)},
    "predict_view": {"image_bytes": image_bytes, "view": view},
    "predict_exam": {"image_bytes": image_bytes, "view": view, "exam_id": tf.constant(["one"] * 4)},
    "gradcam": {"image_bytes": image_bytes, "view": view, "target_class": tf.constant(["", "A", "D", ""])},
}
answers = {}
for name, inputs in calls.items():
    outputs = {key: value.numpy() for key, value in model.signatures[name](**inputs).items()}
    if name == "gradcam":
        heat, pictures = outputs.pop("heatmap"), outputs.pop("overlay_png_bytes")
        outputs["heat"] = np.array([heat.min(), heat.max(), *heat.shape])
        outputs["pictures"] = np.array([p[:4] == b"\\x89PNG" for p in pictures])
    decode = lambda value: [decode(v) for v in value] if isinstance(value, list) else (
        value.decode() if isinstance(value, bytes) else value)
    answers[name] = {key: decode(value.tolist()) for key, value in outputs.items()}
ours = {"components", "serving", "schema", "pipeline", "tfx", "tensorflow_transform", "tensorflow_model_analysis"}
answers["foreign"] = sorted({m.split(".")[0] for m in sys.modules} & ours)
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def preprocessed(finished: FinishedRun) -> dict[tuple[str, str], bytes]:
    """Records of the preprocessed examples, all splits, by exam hash and view."""
    import tensorflow as tf

    folder = finished.artifact("MammogramPreprocessor", "preprocessed_examples")
    records = {}
    for split in ("train", "eval", "test"):
        for shard in shards_of(split_folder(str(folder), split)):
            for record in read_shard(shard):
                feature = tf.train.Example.FromString(record).features.feature
                exam, view = (feature[name].bytes_list.value[0].decode() for name in (f.EXAM_ID, f.VIEW))
                records[exam, view] = record
    assert len(records) == 96
    return records


def png_of(record: bytes) -> bytes:
    import tensorflow as tf

    return tf.train.Example.FromString(record).features.feature[f.IMAGE].bytes_list.value[0]


@pytest.fixture(scope="module")
def client(finished: FinishedRun) -> Iterator[ExamClient]:
    """Client of the pushed model behind the local server."""
    with (
        start_server(finished.outcome.serving, grpc_port=0, rest_port=0) as server,
        ExamClient(server.grpc_address) as grader,
    ):
        yield grader


def test_a_stranger_with_tensorflow_alone_calls_every_signature(
    finished: FinishedRun, preprocessed: dict[tuple[str, str], bytes], client: ExamClient, tmp_path: Path
) -> None:
    exam = min(exam for exam, _ in preprocessed)
    for view in VIEWS:
        (tmp_path / f"{view}.example").write_bytes(preprocessed[exam, view])
        (tmp_path / f"{view}.png").write_bytes(png_of(preprocessed[exam, view]))
    version = max(finished.outcome.serving.iterdir(), key=lambda folder: int(folder.name))
    command = [sys.executable, "-I", "-c", _STRANGER, str(version), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answers = json.loads(done.stdout.splitlines()[-1])

    assert answers["foreign"] == []
    for name in ("serving_default", "predict_view", "gradcam"):
        probabilities = np.array(answers[name]["probabilities"])
        assert probabilities.shape == (4, 4)
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)
        assert answers[name]["density"] == [DENSITY_CLASSES[i] for i in probabilities.argmax(axis=1)]
    views = np.array(answers["predict_view"]["probabilities"])
    np.testing.assert_allclose(answers["serving_default"]["probabilities"], views, atol=1e-5)
    np.testing.assert_allclose(answers["gradcam"]["probabilities"], views, atol=1e-5)
    whole = answers["predict_exam"]
    assert whole["exam_id"] == ["one"]
    assert whole["view_count"] == [4]
    assert (whole["missing_views"], whole["reason"]) == ([""], [""])
    temperature = load_temperature(str(version))
    np.testing.assert_allclose(whole["raw_probabilities"][0], views.mean(axis=0), atol=1e-5)
    for name, rows in {"": views, "right_": views[[0, 2]], "left_": views[[1, 3]]}.items():
        calibrated = calibrate(rows.mean(axis=0), temperature)
        np.testing.assert_allclose(whole[f"{name}probabilities"][0], calibrated, atol=1e-4)
    low, high, count, *_ = answers["gradcam"]["heat"]
    assert (low >= 0, high <= 1, count) == (True, True, 4)
    assert answers["gradcam"]["pictures"] == [True] * 4

    graded = client.predict_exam({view: png_of(preprocessed[exam, view]) for view in VIEWS})
    np.testing.assert_allclose(graded.probabilities, whole["probabilities"][0], atol=1e-5)
    assert graded.density == whole["density"][0]


def test_served_preprocessing_is_that_of_training_to_the_byte(
    finished: FinishedRun, phantoms: Path, preprocessed: dict[tuple[str, str], bytes], client: ExamClient
) -> None:
    recipe = client.model_recipe().recipe
    assert recipe == finished.config.pipeline.recipe
    report = finished.artifact("DicomExampleGen", "ingest_report") / "files.jsonl"
    rows = [json.loads(line) for line in report.read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 96
    differing = [
        row["file"]
        for row in rows
        if prepare_file(phantoms / "images" / row["file"], None, recipe).png
        != png_of(preprocessed[row["exam_id"], row["view"]])
    ]
    assert differing == []


def test_a_phantom_exam_folder_is_prepared_as_in_training(
    phantoms: Path, preprocessed: dict[tuple[str, str], bytes], finished: FinishedRun
) -> None:
    folder = min((phantoms / "images").iterdir())
    prepared = prepare_exam(folder, finished.config.pipeline.recipe)
    known = {(view, png_of(record)) for (_, view), record in preprocessed.items()}
    assert {(view, item.png) for view, item in prepared.views.items()} <= known
    assert list(prepared.views) == list(VIEWS)


@pytest.mark.parametrize("name", sorted(real_exams()))
def test_a_real_exam_is_graded_over_grpc(client: ExamClient, tmp_path: Path, name: str) -> None:
    graded = predict_exam(real_exams()[name], client, tmp_path)
    document = json.loads((tmp_path / "exam.json").read_text(encoding="utf-8"))
    assert document["density"] in DENSITY_CLASSES
    assert sum(document["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert (document["missing_views"], document["rejected_files"]) == ([], 0)
    assert set(graded.overlays) == set(VIEWS)
    for view in VIEWS:
        overlay = read_picture(tmp_path / f"{view}.heatmap.png", cv2.IMREAD_COLOR)
        assert overlay.shape == (64, 64, 3)
        assert len(np.unique(overlay.reshape(-1, 3), axis=0)) > 50
    for view in ("MLO_R", "MLO_L"):
        assert document["views"][view]["pectoral_status"] == "removed"
