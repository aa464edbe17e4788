"""Runs executors for real: Beam's DirectRunner, artifacts in folders, no TFX around them."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf
from tfx.types import standard_artifacts

from components.common.artifacts import IngestReport, QualityReport
from components.common.shards import read_shard, shards_of, split_folder
from components.dicom_example_gen import executor as ingest_executor
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.identity import find_key
from components.mammogram_preprocessor import executor as preprocess_executor
from components.preprocessing.config import PreprocessConfig, QualityConfig
from components.review.folder import review_source
from components.sources.source import source_to_json
from components.sources.spans import Span
from schema.features import SPLITS


@dataclass(frozen=True)
class NodeOutput:
    """What an executor wrote: ``examples/`` and ``report/`` in a folder."""

    examples: Any
    root: Path

    @property
    def report(self) -> Path:
        return self.root / "report"

    def rows(self, name: str = "files.jsonl") -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.report / name).read_text(encoding="utf-8").splitlines()]

    def summary(self) -> dict[str, Any]:
        return json.loads((self.report / "summary.json").read_text(encoding="utf-8"))

    def views(self) -> dict[str, list[tf.train.Example]]:
        """Examples of each split, in the order of the shards."""
        return {
            split: [
                tf.train.Example.FromString(record)
                for shard in shards_of(split_folder(self.examples.uri, split))
                for record in read_shard(shard)
            ]
            for split in SPLITS
        }

    def files(self) -> dict[str, bytes]:
        """Every output file's bytes by its relative name."""
        return {
            p.relative_to(self.root).as_posix(): p.read_bytes()
            for folder in ("examples", "report")
            for p in sorted((self.root / folder).rglob("*"))
            if p.is_file()
        }


def text_of(example: tf.train.Example, name: str) -> str:
    return example.features.feature[name].bytes_list.value[0].decode()


def _context(executor: Any, root: Path, workers: int, mode: str = "multi_threading") -> Any:
    args = [f"--direct_running_mode={mode}", f"--direct_num_workers={workers}", "--sdk_container_image=none"]
    return executor.Executor.Context(beam_pipeline_args=args, tmp_dir=str(root / "tmp"), unique_id="1")


def _artifacts(root: Path, report_type: Any) -> tuple[Any, Any]:
    examples, report = standard_artifacts.Examples(), report_type()
    examples.uri, report.uri = str(root / "examples"), str(root / "report")
    return examples, report


def run_ingest(
    source: Any,
    config: IngestConfig,
    root: Path,
    workers: int = 1,
    span: Span | None = None,
    mode: str = "multi_threading",
) -> NodeOutput:
    """Runs DicomExampleGen's executor."""
    examples, report = _artifacts(root, IngestReport)
    ingest_executor.Executor(_context(ingest_executor, root, workers, mode)).Do(
        {},
        {"examples": [examples], "ingest_report": [report]},
        {
            "source": source_to_json(source),
            "config": config.model_dump_json(),
            "key_id": find_key(config, os.environ).key_id,
            "span": json.dumps(asdict(span)) if span else "",
        },
    )
    return NodeOutput(examples, root)


def run_preprocess(
    ingested: NodeOutput | Sequence[NodeOutput],
    config: PreprocessConfig,
    root: Path,
    workers: int = 1,
    quality: QualityConfig | None = None,
    reviews: Path | None = None,
) -> NodeOutput:
    """Runs MammogramPreprocessor's executor on what DicomExampleGen's wrote, for one span or several."""
    spans = [ingested] if isinstance(ingested, NodeOutput) else ingested
    examples, report = _artifacts(root, QualityReport)
    preprocess_executor.Executor(_context(preprocess_executor, root, workers)).Do(
        {"examples": [span.examples for span in spans]},
        {"preprocessed_examples": [examples], "quality_report": [report]},
        {
            "config": config.model_dump_json(),
            "quality": (quality or QualityConfig()).model_dump_json(),
            "reviews": review_source(reviews).to_json() if reviews else "",
        },
    )
    return NodeOutput(examples, root)
