"""TFX executor of DriftMonitor; ``measure_groups`` and ``compare_groups`` do the work."""

from __future__ import annotations

import os
from typing import Any, Final

from tfx import types
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils

from components.common.progress import expect
from components.common.shards import write_text
from components.common.stages import LostRecordsError
from components.drift_monitor.compare import HELD_OUT, compare_groups, compared_features
from components.drift_monitor.config import DriftConfig
from components.drift_monitor.familiarity import measure_against_pushed
from components.drift_monitor.measure import (
    Group,
    grouped_shards,
    is_measured,
    measure_groups,
    read_exams,
    read_statistics,
)
from components.drift_monitor.summary import SUMMARY_FILE

_SCHEMA_FILE: Final = "schema.pbtxt"


class DriftError(ValueError):
    """Exams have drifted, and the configuration stops the run for that."""


class Executor(base_beam_executor.BaseBeamExecutor):
    """Compares new exams with earlier exams and with those of the pushed model, and held-out with training exams."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write ``drift_report``.

        Raises:
            DriftError: There are alerts, and ``on_drift`` is ``stop``; the message lists them.
            LostRecordsError: Beam wrote no statistics.
        """
        config = DriftConfig.model_validate_json(exec_properties["config"])
        examples = artifact_utils.get_single_instance(input_dict["examples"])
        out = artifact_utils.get_single_uri(output_dict["drift_report"])
        schema_uri = artifact_utils.get_single_uri(input_dict["schema"])
        schema = io_utils.SchemaReader().read(os.path.join(schema_uri, _SCHEMA_FILE))
        splits = artifact_utils.decode_split_names(examples.split_names)
        selected = input_dict.get("selected_examples")
        learnt = artifact_utils.get_single_uri(selected) if selected else None
        shards = grouped_shards(examples.uri, splits, examples.span, learnt)
        expect(len(shards), "shards")
        with self._make_beam_pipeline() as pipeline:
            measure_groups(pipeline, shards, compared_features(schema), out)
        if not is_measured(out):
            raise LostRecordsError("Beam ended without statistics; run again, with another runner.")
        in_spans = any(group in shard.groups for shard in shards for group in (Group.NEWEST, Group.EARLIER))
        span = examples.span if in_spans else None
        summary = compare_groups(read_statistics(out), read_exams(out), schema, span)
        group, subject = (Group.HELD_OUT, HELD_OUT) if span is None else (Group.NEWEST, f"newest span {span}")
        familiarity = measure_against_pushed(
            exec_properties["serving_dir"], shards, group, subject, config.familiarity_exams
        )
        summary = summary.model_copy(update={"familiarity": familiarity})
        write_text(os.path.join(out, SUMMARY_FILE), summary.model_dump_json(indent=1))
        if summary.alerts and config.on_drift == "stop":
            raise DriftError(
                "pipeline.drift.on_drift is stop, and exams have drifted; look at them, then set it to alert to go on: "
                + " ".join(summary.alerts)
            )
