"""TFX executor of DicomExampleGen; ``ingest_pipeline`` does the work."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any, Final

import tensorflow as tf
from absl import logging
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils

from components.common.shards import EmptySplitError, read_bytes, remove_unfinished, write_text
from components.common.stages import LostRecordsError
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.ingest_pipeline import FILES, ArtifactFolders, ingest
from components.dicom_example_gen.plan.identity import find_key, require_same_key
from components.dicom_example_gen.rejection_summary import empty_splits_message, rejection_warnings
from components.dicom_example_gen.report import SUMMARY_FILE
from components.sources.source import source_from_json
from components.sources.spans import Span
from schema.features import SPLITS

# TFX removes the outputs of a failed node; the list of files stays in this folder beside them.
FAILED: Final = "failed"


def _require_every_split(report: Mapping[str, Any], folder: str) -> None:
    problem = empty_splits_message(report)
    if problem is None:
        return
    kept = os.path.join(os.path.dirname(folder.rstrip("/")), FAILED, FILES)
    write_text(kept, read_bytes(os.path.join(folder, FILES)).decode())
    raise EmptySplitError(f"{problem} Result for each file: {kept}.")


class Executor(base_beam_executor.BaseBeamExecutor):
    """Ingest an archive."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write ``examples`` and ``ingest_report``.

        Raises:
            RuntimeError: A worker failed, for example because labels or manifest cannot be used at all, or Beam lost
                files; Beam's message ends with the worker's error.
            HashKeyError: The key of the hashes cannot be used, or is not the key of the pipeline.
            EmptySplitError: A split would have no image; the message names the list of files, which is kept.
            LostRecordsError: Beam lost the report.
        """
        del input_dict
        config = IngestConfig.model_validate_json(exec_properties["config"])
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        folders = ArtifactFolders(examples.uri, artifact_utils.get_single_uri(output_dict["ingest_report"]))
        key = find_key(config, os.environ)
        require_same_key(key, exec_properties["key_id"])
        if key.is_research:
            logging.warning(
                "%s is not set: identifiers are hashed with a public key, which protects nothing.",
                config.hash_key_variable,
            )
        with self._make_beam_pipeline() as pipeline:
            ingest(pipeline, source_from_json(exec_properties["source"]), config, key.key, folders)
        for folder in (folders.examples, folders.report):
            remove_unfinished(folder)
        try:
            report = json.loads(read_bytes(os.path.join(folders.report, SUMMARY_FILE)))
        except tf.errors.NotFoundError as error:
            raise LostRecordsError("Beam lost the ingest report; run again.") from error
        for sentence in (*report["warnings"], *rejection_warnings(report["found"], report["by_reason"])):
            logging.warning("%s", sentence)
        span = Span(**json.loads(exec_properties["span"])) if exec_properties.get("span") else None
        if span is None:
            _require_every_split(report, folders.report)
        else:
            examples.span, examples.version = span.number, max(span.version, 0)
        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples_utils.set_payload_format(examples, example_gen_pb2.FORMAT_TF_EXAMPLE)
        examples_utils.set_file_format(examples, "tfrecords_gzip")
