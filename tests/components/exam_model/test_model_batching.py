"""Batches in the graph: the same answers, of the right model, and of no one else's exam."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from components.exam_ensemble.ensemble import view_functions
from components.exam_model.batching import BatchingConfig
from components.exam_model.signatures import ExamModel, ExamSettings, export
from components.transform.config import ImageConfig
from schema.features import VIEWS
from serving.client.grades import ServerBusyError
from serving.client.local_model import LocalModel

IMAGE = ImageConfig(size=64)


def save(networks: dict[str, Any], folder: Path, batching: BatchingConfig | None) -> Path:
    functions = {view: view_functions(network) for view, network in networks.items()}
    export(ExamModel(functions, IMAGE, ExamSettings("{}", batching=batching)), str(folder))
    return folder


@pytest.fixture(scope="module")
def folders(exam_networks: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two batching models that answer differently: the second has the networks of CC and MLO changed about."""
    folder = tmp_path_factory.mktemp("batching")
    other = dict(zip(VIEWS, [exam_networks[view] for view in (*VIEWS[2:], *VIEWS[:2])], strict=True))
    config = BatchingConfig(threads=2, max_batch=6)
    return [save(networks, folder / str(i), config) for i, networks in enumerate((exam_networks, other))]


@pytest.fixture(scope="module")
def pngs(texture_png: Callable[..., bytes]) -> list[bytes]:
    return [texture_png(seed) for seed in range(8)]


def ask(loaded: Any, signature: str, pngs: list[bytes], views: list[str], **rest: list[str]) -> dict[str, np.ndarray]:
    inputs: dict[str, Sequence[bytes | str]] = {"image_bytes": pngs, "view": views, **rest}
    tensors = {name: tf.constant(value, tf.string, (len(value),)) for name, value in inputs.items()}
    return {name: value.numpy() for name, value in loaded.signatures[signature](**tensors).items()}


def graph_ops(folder: Path) -> set[str]:
    saved = saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    return {node.op for node in graph.node} | {n.op for f in graph.library.function for n in f.node_def}


def test_only_stock_operations(folders: list[Path]) -> None:
    ops = graph_ops(folders[0])
    assert "BatchFunction" in ops
    assert [op for op in ops if op_def_registry.get(op) is None] == []
    assert not {op for op in ops if "PyFunc" in op}


def test_answers_are_those_without_batches(folders: list[Path], exported_exam_model: Path, pngs: list[bytes]) -> None:
    batched, plain = (tf.saved_model.load(str(folder)) for folder in (folders[0], exported_exam_model))
    views = [*VIEWS, "MLO_L", "CC_R", "CC_R", "CC_R"]  # more than a batch holds
    rest = {"exam_id": list("aabbabba"), "target_class": ["", "A", "B", "", "D", "", "C", "C"]}
    for signature, given in {"predict_view": (), "predict_exam": ("exam_id",), "explain_exam": tuple(rest)}.items():
        named = {name: rest[name] for name in given}
        found, expected = (ask(model, signature, pngs, views, **named) for model in (batched, plain))
        assert set(found) == set(expected)
        for name, value in expected.items():
            if value.dtype == np.float32:
                np.testing.assert_allclose(found[name], value, atol=1e-5, err_msg=f"{signature} {name}")
            elif name not in ("preprocessing", "training_systems", "overlay_png_bytes"):
                assert found[name].tolist() == value.tolist(), (signature, name)
    empty = ask(batched, "explain_exam", [], [], exam_id=[], target_class=[])
    assert empty["heatmap"].shape == (0, 64, 64)
    assert empty["probabilities"].shape == (0, 4)


def test_one_pass_gives_what_two_signatures_give(folders: list[Path], pngs: list[bytes]) -> None:
    model, views, exams = tf.saved_model.load(str(folders[0])), list(VIEWS), ["e"] * 4
    both = ask(model, "explain_exam", pngs[:4], views, exam_id=exams, target_class=[""])
    graded = ask(model, "predict_exam", pngs[:4], views, exam_id=exams)
    explained = ask(model, "gradcam", pngs[:4], views, target_class=[""])
    parts = {
        **{f"view_{n}": explained.pop(n) for n in ("probabilities", "density", "familiarity")},
        **explained,
        **graded,
    }
    assert set(both) == set(parts)
    for name in ("probabilities", "view_probabilities", "heatmap", "left_probabilities"):
        np.testing.assert_allclose(both[name], parts[name], atol=1e-5)
    assert both["overlay_png_bytes"][0].startswith(b"\x89PNG")


def test_the_target_class_has_a_default_in_the_signature(folders: list[Path]) -> None:
    saved = saved_model_pb2.SavedModel.FromString((folders[0] / "saved_model.pb").read_bytes())
    signatures = saved.meta_graphs[0].signature_def
    defaults = {name: sorted(signature.defaults) for name, signature in signatures.items() if signature.defaults}
    assert defaults == {"gradcam": ["target_class"], "explain_exam": ["target_class"]}
    assert list(signatures["gradcam"].defaults["target_class"].string_val) == [b""]


def test_two_models_in_one_process_answer_each_for_itself(folders: list[Path], pngs: list[bytes]) -> None:
    models = [LocalModel(folder) for folder in folders]
    exams = [{view: png} for view, png in zip(VIEWS, pngs, strict=False)]
    expected = [[model.predict_exam(exam).probabilities for exam in exams] for model in models]
    assert np.abs(np.diff(expected, axis=0)).max() > 0.05, "the models must differ for this to prove anything"

    def answer(turn: int) -> float:
        number, place = turn % 2, turn // 2 % 4
        # Clients use one identifier for different exams: they must not meet.
        if turn % 3:
            found = models[number].predict_exam(exams[place], "same").probabilities
        else:
            found = models[number].explain_exam(exams[place], "same").grade.probabilities
        return float(np.abs(np.subtract(found, expected[number][place])).max())

    with ThreadPoolExecutor(12) as pool:
        assert max(pool.map(answer, range(96))) < 1e-5


def test_a_broken_image_fails_its_own_request_alone(folders: list[Path], pngs: list[bytes]) -> None:
    model = tf.saved_model.load(str(folders[0]))
    expected = ask(model, "predict_view", pngs[:1], ["CC_R"])["probabilities"]

    def answer(turn: int) -> bool:
        if turn % 3 == 0:
            with pytest.raises(tf.errors.InvalidArgumentError):
                ask(model, "predict_view", [b"no picture"], ["CC_R"])
            return True
        found = ask(model, "predict_view", pngs[:1], ["CC_R"])["probabilities"]
        return bool(np.allclose(found, expected, atol=1e-5))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(answer, range(90)))


def test_a_full_queue_is_refused_as_busy(exam_networks: dict[str, Any], pngs: list[bytes], tmp_path: Path) -> None:
    config = BatchingConfig(threads=1, max_batch=1, max_enqueued=4)
    model = LocalModel(save(exam_networks, tmp_path / "model", config))
    exam = dict(zip(VIEWS, pngs[:4], strict=True))
    expected = model.predict_exam(exam).probabilities

    def answer(_: int) -> bool:
        try:
            found = model.predict_exam(exam).probabilities
        except ServerBusyError:
            return False
        np.testing.assert_allclose(found, expected, atol=1e-5)
        return True

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(answer, range(64))) == {True, False}
