"""What a run was made of, read from the pipeline's definition: nodes, their code, their data, their parents."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from tfx.dsl.components.base.base_node import BaseNode

from components.report_generator.inputs import NodeInfo


def _code(properties: dict[str, Any]) -> str:
    """Our nodes carry their fingerprint as a parameter, TFX's that run our functions in ``custom_config``."""
    custom = json.loads(properties.get("custom_config") or "{}")
    return properties.get("code") or custom.get("code", "")


def _fingerprint(properties: dict[str, Any]) -> str:
    """Empty where the archive is looked up when the pipeline runs."""
    fingerprint = properties.get("fingerprint", "")
    return fingerprint if isinstance(fingerprint, str) else ""


def _parents(node: BaseNode) -> tuple[str, ...]:
    dependencies = (d for channel in node.inputs.values() for d in channel.get_data_dependent_node_ids())
    return tuple(dict.fromkeys(dependencies))


def describe_nodes(nodes: Sequence[BaseNode]) -> str:
    """Writes the lineage of a run as JSON.

    Args:
        nodes: In the order data flows.

    Returns:
        A list of the fields of :class:`NodeInfo`.
    """
    found = [
        NodeInfo(node.id, _code(node.exec_properties), _fingerprint(node.exec_properties), _parents(node))
        for node in nodes
    ]
    return json.dumps([dataclasses.asdict(info) for info in found])


def read_nodes(text: str) -> tuple[NodeInfo, ...]:
    """Reads what :func:`describe_nodes` wrote."""
    return tuple(NodeInfo(**{**entry, "parents": tuple(entry["parents"])}) for entry in json.loads(text))


def artifact_name(uri: str) -> str:
    """Returns ``NODE/OUTPUT/EXECUTION`` of an artifact, without the machine's folders."""
    return "/".join(PurePosixPath(uri).parts[-3:])
