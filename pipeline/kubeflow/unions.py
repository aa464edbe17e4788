"""Inputs of several nodes' outputs, which TFX knows as union channels and its Kubeflow runner does not compile.

An input on Kubeflow Pipelines v2 is the output of one task. So a union is compiled as several inputs beside each other,
``examples``, ``examples-1`` and so on (no Python name has a hyphen), and the entry point puts them together again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from kfp.pipeline_spec import pipeline_spec_pb2 as spec_pb2
from tfx.dsl.components.base.base_component import BaseComponent
from tfx.types.channel import UnionChannel


@dataclass(frozen=True)
class FurtherInput:
    """One more output that belongs to an input.

    Attributes:
        name: The input.
        producer: Id of the node whose output it is.
        output: Name of the output.
    """

    name: str
    producer: str
    output: str


def split_unions(nodes: Iterable[BaseComponent]) -> dict[str, tuple[FurtherInput, ...]]:
    """Leaves each union its first channel, in the nodes themselves.

    Args:
        nodes: Nodes of a pipeline that is for this runner alone.

    Returns:
        By node id, what was taken out.
    """
    further: dict[str, tuple[FurtherInput, ...]] = {}
    for node in nodes:
        for name, channel in node.inputs.items():
            if isinstance(channel, UnionChannel):
                first, *others = channel.channels
                node.spec.inputs[name] = first
                taken = tuple(FurtherInput(name, other.producer_component_id, other.output_key) for other in others)
                further[node.id] = further.get(node.id, ()) + taken
    return further


def _numbered(inputs: Sequence[FurtherInput]) -> Iterable[tuple[str, FurtherInput]]:
    counts: dict[str, int] = {}
    for further in inputs:
        counts[further.name] = counts.get(further.name, 0) + 1
        yield f"{further.name}-{counts[further.name]}", further


def with_further_inputs(
    compiled: spec_pb2.PipelineSpec, further: Mapping[str, Sequence[FurtherInput]]
) -> spec_pb2.PipelineSpec:
    """Adds to a compiled specification what :func:`split_unions` took out of the nodes.

    Args:
        compiled: As TFX's runner makes it: its tasks have the nodes' ids.
        further: By node id.

    Returns:
        A new specification.
    """
    found = spec_pb2.PipelineSpec()
    found.CopyFrom(compiled)
    for node, inputs in further.items():
        task = found.root.dag.tasks[node]
        declared = found.components[task.component_ref.name].input_definitions.artifacts
        for name, one in _numbered(inputs):
            declared[name].CopyFrom(declared[one.name])
            source = task.inputs.artifacts[name].task_output_artifact
            source.producer_task, source.output_artifact_key = one.producer, one.output
    return found
