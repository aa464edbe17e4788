"""Exams a second of the nodes that judge: Evaluator and GradCamExplainer.

    python -m benchmarks.explainer [--exams 20 300]

Prints a section of Markdown. Each node runs as TFX runs it, on two test splits of different size; the difference is
what an exam takes, the rest is what the node takes to start. The networks are not trained, which changes no time.
Processor time of all threads is counted, since the difference of two long runs is lost in what else a machine does.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import tensorflow as tf
from tfx.types import standard_artifacts

from components.common.artifacts import Explanations
from components.common.png import encode_png
from components.common.shards import shard_name, write_shard
from components.common.views import View, batched
from components.evaluator import executor as evaluator
from components.evaluator.config import EvaluatorConfig
from components.exam_ensemble.ensemble import load_exam_model
from components.exam_model.signatures import export
from components.grad_cam_explainer import executor as explainer
from components.grad_cam_explainer.config import ExplainerConfig
from components.grad_cam_explainer.heat_maps import Explainer
from components.grad_cam_explainer.networks import load_networks, maps_of, network_input
from components.trainer import NETWORK_FILE
from components.trainer.config import NetworkConfig
from components.trainer.network import build_network
from components.transform.config import ImageConfig
from schema import features as f

_SCHEMA: Final = Path(__file__).parents[1] / "schema" / "schema.pbtxt"
_SHARD: Final = 32  # views
_BATCH: Final = ExplainerConfig().batch_size
_SIZE, _WIDTH = 128, 0.25  # the networks of the configuration "small"


def _artifact(kind: type, folder: Path) -> Any:
    artifact = kind()
    artifact.uri = str(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return artifact


def _save_models(folder: Path) -> dict[str, list[Any]]:
    """Write four networks and their exam model; return the nodes' inputs."""
    image = ImageConfig(size=_SIZE)
    inputs, files = {}, {}
    for seed, view in enumerate(f.VIEWS):
        inputs[view] = [_artifact(standard_artifacts.Model, folder / view)]
        (folder / view / "Format-Serving").mkdir()
        files[view] = str(folder / view / "Format-Serving" / NETWORK_FILE)
        build_network(image, NetworkConfig(width=_WIDTH), seed).save(files[view])
    inputs["model"] = [_artifact(standard_artifacts.Model, folder / "exam_model")]
    export(load_exam_model(files, image), str(folder / "exam_model" / "Format-Serving"))
    return inputs


def _views(exams: int) -> Iterator[View]:
    """Smooth noise where the breast would be, a muscle in its corner."""
    regions = np.zeros((_SIZE, _SIZE), np.uint8)
    regions[:, : _SIZE * 3 // 4] = f.REGION_BREAST
    regions[: _SIZE // 4, : _SIZE // 4] = f.REGION_PECTORAL
    encoded = encode_png(regions)
    random = np.random.default_rng(1)
    for exam in range(exams):
        for view in f.VIEWS:
            noise = random.integers(1, 256, (_SIZE // 4, _SIZE // 4)).astype(np.uint8)
            image = np.maximum(cv2.resize(noise, (_SIZE, _SIZE)), 1) * (regions > 0)
            yield View(
                encode_png(image.astype(np.uint8)), view, f"{exam:05d}", "ABCD"[exam % 4], "phantom", regions=encoded
            )


def _record(view: View) -> bytes:
    texts = {
        f.IMAGE: view.image,
        f.REGIONS: view.regions,
        f.VIEW: view.view.encode(),
        f.EXAM_ID: view.exam_id.encode(),
        f.PATIENT_ID: view.exam_id.encode(),
        f.DENSITY: view.density.encode(),
        f.ACQUISITION_SYSTEM: view.acquisition_system.encode(),
        f.LATERALITY: f.laterality_of(view.view).encode(),
        **dict.fromkeys((f.MANUFACTURER, f.MODEL_NAME, f.SOFTWARE_VERSION), f.UNKNOWN.encode()),
        f.PECTORAL_STATUS: b"removed" if f.is_mlo(view.view) else b"not_applicable",
    }
    whole = {f.IMAGE_HEIGHT: _SIZE, f.IMAGE_WIDTH: _SIZE, f.PATIENT_AGE: 50, f.ACQUISITION_YEAR: 2020}
    real = {f.PIXEL_SPACING_MM: 0.5, f.PECTORAL_AREA_FRACTION: 0.1, f.BREAST_AREA_FRACTION: 0.4}
    features = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value])) for name, value in texts.items()}
    features |= {name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value])) for name, value in whole.items()}
    features |= {name: tf.train.Feature(float_list=tf.train.FloatList(value=[value])) for name, value in real.items()}
    result: bytes = tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
    return result


def _examples(folder: Path, exams: int) -> Any:
    records = [_record(view) for view in _views(exams)]
    count = -(-len(records) // _SHARD)
    for number in range(count):
        path = folder / "Split-test" / shard_name(number, count)
        write_shard(str(path), records[number * _SHARD : (number + 1) * _SHARD])
    examples = _artifact(standard_artifacts.Examples, folder)
    examples.split_names = '["test"]'
    return examples


def _context(node: Any, folder: Path) -> Any:
    return node.Executor.Context(beam_pipeline_args=[], tmp_dir=str(folder / "tmp"), unique_id="1")


def _evaluate(inputs: dict[str, list[Any]], examples: Any, folder: Path) -> None:
    schema = _artifact(standard_artifacts.Schema, folder / "schema")
    shutil.copy(_SCHEMA, schema.uri)
    outputs = {
        "evaluation": [_artifact(standard_artifacts.ModelEvaluation, folder / "evaluation")],
        "blessing": [_artifact(standard_artifacts.ModelBlessing, folder / "blessing")],
    }
    given = {
        "model": inputs["model"],
        "examples": [examples],
        "schema": [schema],
        "baseline_model": [_artifact(standard_artifacts.Model, folder / "none")],
    }
    properties = {"config": EvaluatorConfig().model_dump_json(), "minimum_views": 1}
    evaluator.Executor(_context(evaluator, folder)).Do(given, outputs, properties)


def _explain(inputs: dict[str, list[Any]], examples: Any, folder: Path) -> None:
    out = _artifact(Explanations, folder / "explanations")
    properties = {
        "config": ExplainerConfig().model_dump_json(),
        "image": ImageConfig(size=_SIZE).model_dump_json(),
        "mirrored": 0,
    }
    given = {**inputs, "examples": [examples]}
    explainer.Executor(_context(explainer, folder)).Do(given, {"explanations": [out]}, properties)
    json.loads((folder / "explanations" / "summary.json").read_text(encoding="utf-8"))


def _seconds_an_exam(call: Callable[[Any], object], batches: Sequence[Any], exams: int) -> float:
    call(batches[0])  # what is made once
    started = time.process_time()
    for batch in batches:
        call(batch)
    return (time.process_time() - started) / exams


def _served_calls(inputs: dict[str, list[Any]], exams: int) -> float:
    """Processor seconds an exam of the served model's calls alone, in batches as the node makes them."""
    model = Explainer(str(Path(inputs["model"][0].uri) / "Format-Serving"))
    batches = list(batched(_views(exams), _BATCH))
    return _seconds_an_exam(lambda batch: model.heat_maps(batch, "predicted"), batches, exams)


def _bare_networks(inputs: dict[str, list[Any]], exams: int) -> float:
    """Processor seconds an exam of Grad-CAM alone, forward and backward, on decoded images: the floor."""
    [parts] = load_networks([str(Path(inputs["CC_R"][0].uri) / "Format-Serving" / NETWORK_FILE)])
    image = ImageConfig(size=_SIZE)
    batches = [network_input(batch, image, mirrored=False) for batch in batched(_views(exams), _BATCH)]
    return _seconds_an_exam(lambda batch: maps_of(parts, batch, np.zeros(len(batch), np.int64)), batches, exams)


def _seconds(
    node: Callable[[dict[str, list[Any]], Any, Path], None], inputs: dict[str, list[Any]], root: Path, exams: int
) -> float:
    folder = root / f"{node.__name__}-{exams}"
    examples = _examples(folder / "examples", exams)
    started = time.process_time()
    node(inputs, examples, folder)
    return time.process_time() - started


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--exams", type=int, nargs=2, default=[20, 300], metavar=("FEW", "MANY"))
    few, many = sorted(parser.parse_args().exams)
    logging.disable(logging.WARNING)
    print(
        f"## Judging\n\nFour networks of a quarter of the filters, {_SIZE} x {_SIZE} pixels, Beam in one process."
        f" Processor time. A further exam: from {few} to {many} exams of four views.\n\n"
        "| node | start, s | a further exam, ms | exams a second and core | times the floor |\n"
        "| --- | ---: | ---: | ---: | ---: |"
    )
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        inputs = _save_models(root / "models")
        floor = _bare_networks(inputs, few)
        for title, node in (("Evaluator", _evaluate), ("GradCamExplainer", _explain)):
            _seconds(node, inputs, root, 1)  # imports, and what is made once a process
            short, long = (_seconds(node, inputs, root, exams) for exams in (few, many))
            exam = (long - short) / (many - few)
            print(_row(title, f"{short - few * exam:.1f}", exam, floor))
        print(_row("the served model's Grad-CAM calls alone", "", _served_calls(inputs, few), floor))
        print(_row("floor: Grad-CAM of one network alone, images decoded", "", floor, floor))


def _row(title: str, start: str, exam: float, floor: float) -> str:
    return f"| {title} | {start} | {1000 * exam:.0f} | {1 / exam:.1f} | {exam / floor:.1f} |"


if __name__ == "__main__":
    main()
