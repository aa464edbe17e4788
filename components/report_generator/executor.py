"""TFX executor of ReportGenerator: finds the files of the other nodes and writes the page.

:func:`describe_nodes` records the lineage of a run when the pipeline is built; the executor reads it back.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path, PurePosixPath
from typing import Any, Final

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.dsl.components.base.base_node import BaseNode
from tfx.types import artifact_utils
from tfx.utils import path_utils

from components.common.progress import advance, expect
from components.report_generator.loading import NodeInfo
from components.report_generator.report import PushInfo, ReportInputs, RunInfo, build_report, write_report
from schema.features import VIEWS


def _code(properties: dict[str, Any]) -> str:
    """Return the fingerprint of a node's code: a parameter of our nodes, part of ``custom_config`` of TFX's nodes."""
    custom = json.loads(properties.get("custom_config") or "{}")
    result: str = properties.get("code") or custom.get("code", "")
    return result


def _fingerprint(properties: dict[str, Any]) -> str:
    """Return the data fingerprint; empty if it is only known when the pipeline runs."""
    fingerprint = properties.get("fingerprint", "")
    return fingerprint if isinstance(fingerprint, str) else ""


def _parents(node: BaseNode) -> tuple[str, ...]:
    dependencies = (d for channel in node.inputs.values() for d in channel.get_data_dependent_node_ids())
    return tuple(dict.fromkeys(dependencies))


def describe_nodes(nodes: Sequence[BaseNode]) -> str:
    """Return the lineage of a run as JSON.

    Args:
        nodes: The nodes, in the order of the data flow.

    Returns:
        List of objects with the fields of :class:`NodeInfo`.
    """
    found = [
        NodeInfo(node.id, _code(node.exec_properties), _fingerprint(node.exec_properties), _parents(node))
        for node in nodes
    ]
    return json.dumps([dataclasses.asdict(info) for info in found])


def read_nodes(text: str) -> tuple[NodeInfo, ...]:
    """Parse the output of :func:`describe_nodes`."""
    return tuple(NodeInfo(**{**entry, "parents": tuple(entry["parents"])}) for entry in json.loads(text))


def artifact_name(uri: str) -> str:
    """Return ``NODE/OUTPUT/EXECUTION`` of an artifact, without the folders of this machine."""
    return "/".join(PurePosixPath(uri).parts[-3:])


REPORT_FILE: Final = "report.html"
_PACKAGES: Final = ("tfx", "tensorflow", "keras", "apache-beam", "tensorflow-model-analysis", "pydicom", "numpy")


def _folder(input_dict: dict[str, list[types.Artifact]], key: str) -> Path:
    return Path(artifact_utils.get_single_uri(input_dict[key]))


def _push_info(pushed: types.Artifact) -> PushInfo:
    version = pushed.get_string_custom_property("pushed_version")
    return PushInfo(pushed=pushed.get_int_custom_property("pushed") == 1, version=version or None)


def _artifacts(input_dict: dict[str, list[types.Artifact]]) -> dict[str, str]:
    return {key: ", ".join(artifact_name(a.uri) for a in artifacts) for key, artifacts in sorted(input_dict.items())}


class Executor(base_executor.BaseExecutor):
    """Writes the report of a run."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Write the artifact ``report``, which holds ``report.html``."""
        expect(1, "pages")
        inputs = ReportInputs(
            ingest=tuple(Path(artifact.uri) for artifact in input_dict["ingest_report"]),
            quality=_folder(input_dict, "quality_report"),
            drift=_folder(input_dict, "drift_report") if input_dict.get("drift_report") else None,
            training={view: Path(path_utils.serving_model_path(str(_folder(input_dict, view)))) for view in VIEWS},
            evaluation=_folder(input_dict, "evaluation"),
            explanations=_folder(input_dict, "explanations"),
            infra=_folder(input_dict, "infra_blessing"),
            exam_model=Path(path_utils.serving_model_path(str(_folder(input_dict, "exam_model")))),
            push=_push_info(artifact_utils.get_single_instance(input_dict["pushed_model"])),
            run=RunInfo(
                name=exec_properties["name"],
                generated=datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
                configuration=exec_properties["configuration"],
                packages={name: metadata.version(name) for name in _PACKAGES},
                origin=exec_properties["origin"],
                nodes=read_nodes(exec_properties["nodes"]),
                artifacts=_artifacts(input_dict),
            ),
        )
        page = build_report(inputs)
        write_report(page, Path(artifact_utils.get_single_uri(output_dict["report"])) / REPORT_FILE)
        advance()
