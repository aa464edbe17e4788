"""TFX executor of ExamSelector."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from absl import logging
from tfx import types
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.common.progress import advance, expect
from components.common.shards import read_shard, shards_of, split_folder, write_shard
from components.common.soft_labels import with_shares
from components.common.views import parse_view, read_views
from components.exam_selector.selection import LEARNT, Exam, SelectionConfig, excluded_exams


def _exams(uri: str) -> dict[str, Exam]:
    exams: dict[str, Exam] = {}
    for split in LEARNT:
        for view in read_views(split_folder(uri, split)):
            seen = exams.get(view.exam_id)
            systems = frozenset({view.acquisition_system}) | (seen.systems if seen else frozenset())
            exams[view.exam_id] = Exam(split, view.density, systems, len(view.readings), view.is_agreed)
    return exams


def _say_labels(exams: Mapping[str, Exam], config: SelectionConfig) -> None:
    """Log how many exams the readers' differences concern."""
    for split in LEARNT:
        of_split = [exam for exam in exams.values() if exam.split == split]
        differ = sum(not exam.is_agreed for exam in of_split)
        what = "are left out" if config.labels == "consensus" else "have soft labels"
        logging.warning(
            "The readers of %d of %d exams of the split %s differ: they %s.", differ, len(of_split), split, what
        )


class Executor(base_executor.BaseExecutor):
    """Copies the records of the selected exams, shard by shard; soft labels are added to them."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the artifact ``selected_examples`` with the splits train and eval.

        Raises:
            SelectionError: The configured exams do not exist.
        """
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        selected = artifact_utils.get_single_instance(output_dict["selected_examples"])
        config = SelectionConfig.model_validate_json(exec_properties["config"])
        exams = _exams(examples.uri)
        out = excluded_exams(exams, config)
        if config.labels != "majority":
            _say_labels(exams, config)
        change = with_shares if config.labels == "soft" else bytes
        shards = [(split, shard) for split in LEARNT for shard in shards_of(split_folder(examples.uri, split))]
        expect(len(shards), "shards")
        for split, shard in shards:
            target = os.path.join(split_folder(selected.uri, split), os.path.basename(shard))
            write_shard(
                target, (change(record) for record in read_shard(shard) if parse_view(record).exam_id not in out)
            )
            advance()
        selected.split_names = artifact_utils.encode_split_names(list(LEARNT))
        selected.span = examples.span
        examples_utils.set_payload_format(selected, examples_utils.get_payload_format(examples))
        examples_utils.set_file_format(selected, "tfrecords_gzip")
