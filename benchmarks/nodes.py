"""Runs the two image nodes as TFX does, on archives made for a benchmark."""

from __future__ import annotations

import copy
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import generate_uid
from tfx.types import standard_artifacts

from components.common.artifacts import IngestReport, QualityReport
from components.common.shards import read_shard
from components.dicom_example_gen import executor as ingest_executor
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.identity import find_key
from components.mammogram_preprocessor import executor as preprocess_executor
from components.preprocessing.config import PreprocessConfig, QualityConfig
from components.sources.source import FolderSource, source_to_json
from schema.features import SPLITS, VIEWS

CONFIG = IngestConfig(shard_size=4)


def beam_arguments(workers: int) -> list[str]:
    """Return the arguments that the local runner passes to Beam."""
    return ["--direct_running_mode=multi_threading", f"--direct_num_workers={workers}", "--sdk_container_image=none"]


def write_archive(folder: Path, images: Sequence[bytes], files: int) -> FolderSource:
    """Write four-view exams, each image under its own UIDs and its own grey scale.

    The window is what makes the pixels differ, so that none counts as a copy; encoding each anew would take an hour.

    Args:
        folder: Folder to write to.
        images: DICOM files to take the pixel data from, in turn.
        files: Number of files.

    Returns:
        The archive, with labels of all classes.
    """
    templates = [pydicom.dcmread(io.BytesIO(image)) for image in images]
    labels = ["exam_id,density,split"]
    for number in range(files):
        exam, view = divmod(number, 4)
        if view == 0:
            labels.append(f"exam{exam},{'ABCD'[exam % 4]},{SPLITS[exam % 3]}")
        dataset = copy.copy(templates[number % len(templates)])
        projection, side = VIEWS[view].split("_")
        dataset.ViewPosition, dataset.ImageLaterality = projection, side
        dataset.PatientID = f"patient{exam}"
        dataset.StudyInstanceUID = f"1.2.3.{exam}"
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(number)])
        dataset.WindowCenter, dataset.WindowWidth = 2 ** (dataset.BitsStored - 1), 2**dataset.BitsStored + number
        path = folder / "images" / f"exam{exam}" / f"{VIEWS[view]}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        dataset.save_as(path)
    (folder / "labels.csv").write_text("\n".join(labels) + "\n", encoding="utf-8")
    return FolderSource(folder / "images", folder / "labels.csv")


def _artifact(kind: Any, folder: Path) -> Any:
    artifact = kind()
    artifact.uri = str(folder)
    return artifact


def ingest(source: FolderSource, folder: Path, arguments: Sequence[str]) -> Any:
    """Run DicomExampleGen; return its Examples artifact, in ``folder/examples``."""
    examples = _artifact(standard_artifacts.Examples, folder / "examples")
    context = ingest_executor.Executor.Context(beam_pipeline_args=list(arguments), tmp_dir=str(folder), unique_id="1")
    ingest_executor.Executor(context).Do(
        {},
        {"examples": [examples], "ingest_report": [_artifact(IngestReport, folder / "report")]},
        {
            "source": source_to_json(source),
            "config": CONFIG.model_dump_json(),
            "key_id": find_key(CONFIG, os.environ).key_id,
            "span": "",
        },
    )
    return examples


def preprocess(examples: Any, config: PreprocessConfig, folder: Path, arguments: Sequence[str]) -> None:
    """Run MammogramPreprocessor without drawing overlays."""
    output = _artifact(standard_artifacts.Examples, folder / "preprocessed")
    context = preprocess_executor.Executor.Context(
        beam_pipeline_args=list(arguments), tmp_dir=str(folder), unique_id="1"
    )
    quality = QualityConfig(doubtful_overlays=0, typical_overlays=0)
    preprocess_executor.Executor(context).Do(
        {"examples": [examples]},
        {"preprocessed_examples": [output], "quality_report": [_artifact(QualityReport, folder / "quality")]},
        {"config": config.model_dump_json(), "quality": quality.model_dump_json(), "reviews": ""},
    )


def ingested_views(examples: Path) -> int:
    """Count the records of the shards that ingest wrote, one by one."""
    return sum(1 for shard in examples.rglob("*.gz") for _ in read_shard(str(shard)))


def preprocessed_views(folder: Path) -> int:
    """Count the views in the quality report below a folder."""
    result: int = json.loads((folder / "quality" / "summary.json").read_text(encoding="utf-8"))["views"]
    return result
