"""Scores of heat maps, their means and gates, and a split explained by the executor with a small real SavedModel."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import pytest
import tensorflow as tf
from tfx.types import standard_artifacts

from components.common.artifacts import Explanations
from components.common.shards import write_shard
from components.common.views import View, parse_view, read_views
from components.exam_model.heat_source import GRAD_CAM
from components.grad_cam_explainer import executor
from components.grad_cam_explainer.config import ExplainerConfig
from components.grad_cam_explainer.heat_maps import SCORES, rank_correlation, score_heat_map, score_view
from components.grad_cam_explainer.mean_scores import ExplainedView, judge_mean_scores, mean_over_exams, scores_by_slice
from components.grad_cam_explainer.view_selection import PICTURES, choose_pictures, choose_samples, choose_specimens
from components.trainer import NETWORK_FILE
from components.trainer.config import NetworkConfig
from components.trainer.network import build_head
from components.transform.config import ImageConfig
from schema import features as f
from tests.pictures import decode_picture, read_picture

pytestmark = pytest.mark.slow

SIZE = 32
BREAST, MUSCLE, LABEL = f.REGION_BREAST, f.REGION_PECTORAL, f.REGION_LABEL


class LeftHot(tf.Module):
    """Return a model with heat 1 on the left ``columns`` columns, or on the others for class C; it predicts D."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.columns = columns

    @tf.function(
        input_signature=[tf.TensorSpec([None], tf.string, name=n) for n in ("image_bytes", "view", "target_class")]
    )
    def gradcam(self, image_bytes: tf.Tensor, view: tf.Tensor, target_class: tf.Tensor) -> dict[str, tf.Tensor]:
        row = tf.concat([tf.ones([self.columns]), tf.zeros([SIZE - self.columns])], 0)
        count = tf.shape(image_bytes)[0]
        of_class_c = tf.equal(target_class, "C")[:, tf.newaxis, tf.newaxis]
        return {
            "probabilities": tf.repeat([[0.1, 0.2, 0.3, 0.4]], count, axis=0),
            "density": tf.repeat("D", count),
            "heatmap": tf.broadcast_to(tf.where(of_class_c, 1.0 - row, row), (count, SIZE, SIZE)),
            "overlay_png_bytes": tf.strings.join([view, image_bytes]),
        }


def png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture)[1].tobytes()


def half_breast(size: int = SIZE) -> np.ndarray:
    """Return an image with the breast on the left half, brighter from top to bottom."""
    image = np.zeros((size, size), np.uint8)
    image[:, : size // 2] = np.arange(1, size + 1)[:, None]
    return image


def some_views(count: int, system: Callable[[int], str] = lambda number: "GE") -> list[View]:
    regions = np.where(half_breast() > 0, BREAST, 0).astype(np.uint8)
    regions[:4, :4] = MUSCLE
    regions[-4:, -4:] = LABEL
    return [
        View(
            png(half_breast()),
            f.VIEWS[n % 4],
            f"exam{n // 4:02d}",
            f.DENSITY_CLASSES[n // 4 % 4],
            system(n),
            regions=png(regions),
        )
        for n in range(count)
    ]


def record(view: View) -> bytes:
    values = {
        f.IMAGE: view.image,
        f.VIEW: view.view.encode(),
        f.EXAM_ID: view.exam_id.encode(),
        f.DENSITY: view.density.encode(),
        f.ACQUISITION_SYSTEM: view.acquisition_system.encode(),
        f.REGIONS: view.regions,
    }
    features = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for name, v in values.items()}
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def row(number: int, **changes: Any) -> ExplainedView:
    values: dict[str, Any] = {
        "shard": 0,
        "index": number,
        "exam_id": f"{number:03d}",
        "view": "CC_R",
        "density": "A",
        "acquisition_system": "GE",
        "predicted": "A",
        "probabilities": (0.7, 0.1, 0.1, 0.1),
        "scores": dict.fromkeys(SCORES, 0.5),
    }
    return ExplainedView(**(values | changes))


@pytest.fixture(scope="module")
def left_hot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model artifact whose heat is on the left 20 of 32 columns."""
    folder = tmp_path_factory.mktemp("left_hot")
    module = LeftHot(20)
    tf.saved_model.save(module, str(folder / "Format-Serving"), signatures={"gradcam": module.gradcam})
    return folder


def explain(
    model: Path,
    shards: Sequence[Sequence[View]],
    config: ExplainerConfig,
    folder: Path,
    *beam: str,
    networks: dict[str, Path] | None = None,
) -> dict[str, Any]:
    """Run the executor; return the summary."""
    for number, shard in enumerate(shards):
        write_shard(str(folder / "examples" / "Split-test" / f"views-{number}.gz"), map(record, shard))
    examples, saved, out = standard_artifacts.Examples(), standard_artifacts.Model(), Explanations()
    examples.uri, saved.uri, out.uri = str(folder / "examples"), str(model), str(folder / "out")
    examples.split_names = '["test"]'
    context = executor.Executor.Context(beam_pipeline_args=list(beam), tmp_dir=str(folder / "tmp"), unique_id="1")
    properties = {
        "config": config.model_dump_json(),
        "heat_map": GRAD_CAM.model_dump_json(),
        "image": ImageConfig(size=SIZE).model_dump_json(),
        "mirrored": 0,
    }
    inputs = {"examples": [examples], "model": [saved]}
    for view, network in (networks or {}).items():
        inputs[view] = [standard_artifacts.Model()]
        inputs[view][0].uri = str(network)
    executor.Executor(context).Do(inputs, {"explanations": [out]}, properties)
    return json.loads((folder / "out" / "summary.json").read_text())


def files_in(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_heat_is_shared_out_among_breast_muscle_and_labels() -> None:
    heat = np.array([[4, 1, 2, 0], [3, 0, 5, 5]], np.float32)
    image = np.array([[9, 9, 0, 0], [7, 5, 0, 0]], np.uint8)
    regions = np.array([[MUSCLE, BREAST, LABEL, 0], [BREAST, BREAST, 0, 0]], np.uint8)
    scores = score_heat_map(heat, image, regions)
    assert scores.energy_in_breast == pytest.approx(8 / 20)
    assert scores.energy_in_pectoral == pytest.approx(4 / 20)
    assert scores.energy_in_labels == pytest.approx(2 / 20)
    assert (scores.area_in_breast, scores.area_in_pectoral) == (0.5, 0.125)
    assert scores.spearman == pytest.approx(0.5), "heat 1 3 0 with grey levels 9 7 5, the muscle left out"


def test_what_cannot_be_measured_is_undefined() -> None:
    image = half_breast()
    cold = score_heat_map(np.zeros((SIZE, SIZE), np.float32), image, None)
    assert (cold.energy_in_breast, cold.spearman, cold.area_in_breast) == (None, None, 0.5)
    warm = score_heat_map(image.astype(np.float32), image, None)
    assert warm.energy_in_breast == 1.0
    assert warm.spearman == pytest.approx(1.0)
    assert (warm.energy_in_pectoral, warm.energy_in_labels, warm.area_in_pectoral) == (None, None, None)
    assert rank_correlation(np.array([1.0]), np.array([2.0])) is None


def test_pictures_of_another_size_are_scored_at_the_maps_size() -> None:
    view = some_views(1)[0]
    large = View(png(cv2.resize(half_breast(), (96, 96))), "CC_R", "e", "A", "GE", regions=view.regions)
    heat = np.zeros((SIZE, SIZE), np.float32)
    heat[:, :20] = 1
    assert score_view(heat, large).energy_in_breast == pytest.approx(0.8)


def test_intervals_draw_exams_not_views() -> None:
    values = list(np.random.default_rng(3).normal(0.5, 0.1, 100))
    alone = mean_over_exams(values, [str(n) for n in range(100)])
    assert alone.value == pytest.approx(np.mean(values))
    assert (alone.n, alone.exams) == (100, 100)
    assert alone.ci95 is not None
    half = 1.96 * np.std(values) / 10
    assert (alone.ci95[1] - alone.ci95[0]) / 2 == pytest.approx(half, rel=0.15)
    repeated = mean_over_exams(values * 4, [str(n) for n in range(100)] * 4)
    assert repeated.ci95 == pytest.approx(alone.ci95), "four views of an exam that say the same add nothing"
    assert mean_over_exams([None, 0.5, 0.7], ["a", "b", "b"]).to_dict() == {
        "mean": 0.6,
        "ci95": None,
        "n": 2,
        "exams": 1,
    }
    assert mean_over_exams([None], ["a"]).n == 0


def test_a_system_with_enough_exams_can_fail_a_gate_that_the_whole_passes() -> None:
    rows = [row(n, scores=dict.fromkeys(SCORES, 0.9)) for n in range(80)]
    rows += [row(n, acquisition_system="IMS", scores=dict.fromkeys(SCORES, 0.2)) for n in range(80, 100)]
    config = ExplainerConfig(minimum_spearman=0.5, minimum_energy_in_breast=0.1)
    gates = {(gate["name"], gate["slice"]): gate for gate in judge_mean_scores(scores_by_slice(rows), config)}
    assert gates["spearman", "all"]["passed"]
    assert gates["spearman", "acquisition_system=IMS"] == {
        "name": "spearman",
        "slice": "acquisition_system=IMS",
        "threshold": ">= 0.500",
        "value": 0.2,
        "ci95": [0.2, 0.2],
        "n": 20,
        "passed": False,
    }
    assert {name for name, _ in gates} == {"spearman", "energy_in_breast"}, "gates that are off are not listed"
    fewer = judge_mean_scores(scores_by_slice(rows[:-1]), config)  # 19 exams of IMS
    assert all(gate["passed"] for gate in fewer)
    assert "acquisition_system=IMS" not in {gate["slice"] for gate in fewer}


def test_one_network_that_looks_away_fails_though_the_mean_of_all_passes() -> None:
    def scores(view: str) -> dict[str, float]:
        away = view == "MLO_L"
        return dict.fromkeys(SCORES, 0.9) | {"energy_in_breast": 0.2 if away else 0.9, "energy_in_pectoral": 0.1}

    rows = [row(n, exam_id=str(n // 4), view=f.VIEWS[n % 4], scores=scores(f.VIEWS[n % 4])) for n in range(40)]
    config = ExplainerConfig(minimum_energy_in_breast=0.5, maximum_energy_in_pectoral=0.3)
    gates = {(gate["name"], gate["slice"]): gate for gate in judge_mean_scores(scores_by_slice(rows), config)}
    assert gates["energy_in_breast", "all"]["passed"]
    looks_away = gates["energy_in_breast", "view=MLO_L"]
    assert (looks_away["passed"], looks_away["value"], looks_away["n"]) == (False, 0.2, 10)
    assert looks_away["ci95"] == pytest.approx([0.2, 0.2])
    assert [gates["energy_in_breast", f"view={view}"]["passed"] for view in f.VIEWS] == [v != "MLO_L" for v in f.VIEWS]
    judged = {where for name, where in gates if name == "energy_in_pectoral"}
    assert judged == {"all", "view=MLO_R", "view=MLO_L"}, "a CC view shows no muscle"
    without = {"energy_in_pectoral": None}
    none_on_the_left = [
        row(n, exam_id=str(n // 4), view=view, scores=scores("CC_R") | (without if view == "MLO_L" else {}))
        for n, view in enumerate([*f.VIEWS] * 10)
    ]
    of_muscle = [g for g in judge_mean_scores(scores_by_slice(none_on_the_left), config) if "pectoral" in g["name"]]
    assert {gate["slice"]: gate["passed"] for gate in of_muscle} == {"all": True, "view=MLO_R": True}
    cold = [row(n, view=f.VIEWS[n % 4], scores=dict.fromkeys(SCORES, 0.9 if n % 4 else None)) for n in range(40)]
    only = ExplainerConfig(minimum_energy_in_breast=0.5)
    without_heat = [gate for gate in judge_mean_scores(scores_by_slice(cold), only) if not gate["passed"]]
    assert {gate["slice"] for gate in without_heat} == {f"view={f.VIEWS[0]}"}, "a network without any heat"


def test_the_muscle_gate_is_an_upper_limit_and_needs_a_muscle() -> None:
    config = ExplainerConfig(maximum_energy_in_pectoral=0.3, minimum_energy_in_breast=0.0)

    def verdicts(share: float | None) -> list[bool]:
        scores = dict.fromkeys(SCORES, 0.5) | {"energy_in_pectoral": share}
        return [
            g["passed"]
            for g in judge_mean_scores(scores_by_slice([row(0, scores=scores)]), config)
            if "pectoral" in g["name"]
        ]

    assert (verdicts(0.2), verdicts(0.4), verdicts(None)) == ([True], [False], [False])


def test_right_and_wrong_examples_of_each_class_and_system_are_drawn() -> None:
    rows = [
        row(n, acquisition_system=system, predicted=predicted, scores=dict.fromkeys(SCORES, n / 100))
        for n, (system, predicted) in enumerate((s, p) for s in ("GE", "IMS") for p in "AABBB" for _ in range(5))
    ]
    chosen = choose_pictures(rows, 1)
    drawn = [r for r in rows if (r.shard, r.index) in chosen]
    for system in ("GE", "IMS"):
        assert {r.right for r in drawn if r.acquisition_system == system} == {True, False}
    assert list(chosen.values()) == [f"overlays/A_CC_R_{n + 1}.png" for n in range(len(chosen))]
    assert {(0, n) for n in range(4)} <= chosen.keys(), "the least heat in the breast"
    assert len(chosen) <= 1 + 2 * 2 + 4 + 4
    assert choose_pictures(rows, 0) == {}
    assert choose_pictures(list(reversed(rows)), 1) == chosen
    assert [r.right for r in choose_specimens(rows, "CC_R")] == [True]
    assert [r.exam_id for r in choose_samples(rows, "CC_R", 2)] == ["000", "001"]
    assert choose_samples(rows, "CC_L", 2) == []


def test_a_split_is_explained_shard_by_shard(left_hot: Path, tmp_path: Path) -> None:
    views = some_views(22, lambda n: "GE" if n < 12 else "IMS")
    config = ExplainerConfig(pictures_a_group=1, batch_size=4, maximum_views=20)
    summary = explain(left_hot, (views[:7], views[7:14], views[14:]), config, tmp_path)
    assert (summary["views"], summary["exams"], summary["passed"]) == (20, 5, True)
    rows = [json.loads(line) for line in (tmp_path / "out" / "explanations.jsonl").read_text().splitlines()]
    assert [(r["exam_id"], r["view"], r["density"]) for r in rows] == [
        (v.exam_id, v.view, v.density) for v in views[:20]
    ]
    assert rows[0]["predicted"] == "D"
    assert rows[0]["probabilities"] == pytest.approx([0.1, 0.2, 0.3, 0.4], abs=1e-6)
    groups = {tuple(group["slice"].items()): group["scores"] for group in summary["groups"]}
    assert len(groups) == 1 + 4 + 2 + 4 + 5 + 16 + 8
    whole = groups[()]
    assert whole["energy_in_breast"]["mean"] == pytest.approx(16 / 20, abs=1e-6)
    assert whole["energy_in_pectoral"] == {"mean": 0.025, "ci95": [0.025, 0.025], "n": 20, "exams": 5}
    assert (whole["energy_in_labels"]["mean"], whole["spearman"]["n"]) == (0.0, 0), "even heat has no ranks"
    assert groups[(("acquisition_system", "IMS"),)]["energy_in_breast"]["n"] == 8
    assert groups[(("acquisition_system", "GE"), ("density", "B"))]["area_in_breast"]["n"] == 4
    named = {r[key] for r in rows for key in PICTURES if r[key]}
    assert [r["overlay"] is None for r in rows] == [r["muscle"] is None for r in rows], "every view has a muscle here"
    assert {r[kind] for r in rows for kind in ("texture", "sum")} == {None}, "the model has no texture part"
    outlined = read_picture(tmp_path / "out" / "muscle" / "A_CC_L_1.png", cv2.IMREAD_COLOR)
    assert outlined.shape == (384, 384, 3)
    line = np.argwhere(outlined[..., 2].astype(int) - outlined[..., 0] > 100)
    assert line.max() == pytest.approx(4 / SIZE * 384, abs=2), "around the muscle in the corner"
    assert named == {name for name in files_in(tmp_path / "out") if name.endswith(".png")}
    assert {(r["density"], r["view"]) for r in rows if r["overlay"]} == {(r["density"], r["view"]) for r in rows}
    picture = (tmp_path / "out" / "overlays" / "A_CC_L_1.png").read_bytes()
    blended = decode_picture(picture, cv2.IMREAD_COLOR)
    assert (blended[:, :16, 2] > blended[:, :16, 0]).all(), "red where the heat is"
    assert not blended[:, 16:].any(), "and black where the picture is"
    assert (tmp_path / "out" / "images" / "A_CC_L_1.png").read_bytes() == views[1].image


@pytest.fixture(scope="module")
def tiny_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a model artifact of a Trainer, with one convolution."""
    folder = tmp_path_factory.mktemp("tiny_network")
    inputs = keras.Input((SIZE, SIZE, 1))
    x = keras.layers.LeakyReLU(name="conv1_relu")(keras.layers.Conv2D(4, 3, 8, name="conv1_conv")(inputs))
    features = keras.Model(inputs, x, name="features")
    head = build_head(features, NetworkConfig(), seed=1)
    (folder / "Format-Serving").mkdir()
    keras.Model(inputs, head(features(inputs))).save(folder / "Format-Serving" / NETWORK_FILE)
    return folder


def test_networks_are_looked_into_where_they_are_given(left_hot: Path, tiny_network: Path, tmp_path: Path) -> None:
    config = ExplainerConfig(pictures_a_group=0, feature_map_blocks=3, sanity_views=3)
    views = [view for view in some_views(16) if view.view != "MLO_L"]
    networks = dict.fromkeys(("CC_R", "CC_L", "MLO_L"), tiny_network)
    summary = explain(left_hot, (views[:5], views[5:]), config, tmp_path, networks=networks)
    assert [picture["view"] for picture in summary["feature_maps"]] == ["CC_R", "CC_L"], "MLO_L has no view to show"
    assert summary["feature_maps"][0] == {
        "view": "CC_R",
        "block": "conv1_relu",
        "picture": "feature_maps/CC_R_conv1_relu.png",
        "filters": [0, 1, 2, 3],
        "of": 4,
    }
    drawn = files_in(tmp_path / "out")["feature_maps/CC_L_conv1_relu.png"]
    sheet = decode_picture(drawn, cv2.IMREAD_COLOR)
    assert sheet.shape == (26 + 4 * 116, 26 + 5 * 116, 3), "a row a class"
    assert [(stage["stage"], stage["n"], stage["exams"]) for stage in summary["sanity"]] == [
        ("logits", 6, 3),
        ("conv1", 6, 3),
    ]


def test_workers_do_not_change_a_byte(left_hot: Path, tmp_path: Path) -> None:
    views = some_views(12)
    config = ExplainerConfig(batch_size=4, target_class="C", minimum_energy_in_breast=0.4)
    outputs = []
    for name, beam in (
        ("one", ()),
        ("two", ("--direct_running_mode=multi_threading", "--direct_num_workers=2", "--sdk_container_image=none")),
    ):
        explain(left_hot, (views[:6], views[6:]), config, tmp_path / name, *beam)
        outputs.append(files_in(tmp_path / name / "out"))
    assert outputs[0] == outputs[1]
    gate = json.loads(outputs[0]["summary.json"])["gates"][0]
    assert (gate["value"], gate["passed"]) == (0.0, False), "the heat of class C is beside the breast"


def test_a_split_without_views_is_refused_and_reported(left_hot: Path, tmp_path: Path) -> None:
    summary = explain(left_hot, (), ExplainerConfig(), tmp_path)
    assert (summary["views"], summary["passed"]) == (0, False)
    assert summary["gates"][0]["value"] is None


def test_views_are_read_shard_by_shard(tmp_path: Path) -> None:
    wanted = some_views(5)
    write_shard(str(tmp_path / "Split-test" / "a.gz"), map(record, wanted[:3]))
    write_shard(str(tmp_path / "Split-test" / "b.gz"), map(record, wanted[3:]))
    assert list(read_views(str(tmp_path / "Split-test"))) == wanted
    older = tf.train.Example.FromString(record(wanted[0]))
    del older.features.feature[f.REGIONS]
    del older.features.feature[f.ACQUISITION_SYSTEM]
    parsed = parse_view(older.SerializeToString())
    assert (parsed.regions, parsed.acquisition_system) == (b"", f.UNKNOWN)
