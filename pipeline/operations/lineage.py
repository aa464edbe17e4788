"""The command ``lineage``: what made a pushed model, read from a run's ML Metadata.

The run's report and folder names are not used. The store is walked from the pushed model upwards to the archive,
artifact by artifact. So the result is also correct for cached nodes, and for models of earlier runs in the same folder.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from ml_metadata.metadata_store import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as pb
from rich.console import Group, RenderableType
from rich.table import Table

from components.exam_model.versions import baseline_version
from pipeline import metadata

_CODE: Final = "code"


class LineageError(ValueError):
    """The store, or the model in it, cannot be found."""


@dataclass(frozen=True)
class Step:
    """One execution of a node that the model depends on.

    Attributes:
        node: Node id.
        execution: Number of the execution in the store.
        finished: End of the execution, UTC.
        seconds: Time from its registration to its end, s.
        code: Fingerprint of the source that it ran; empty for TFX's own nodes.
        tfx: Version of TFX that ran it.
        configuration: Parameters by name.
        inputs: Names of the artifacts that it read, ``NODE/OUTPUT/EXECUTION``.
        outputs: Names of the artifacts that it wrote.
    """

    node: str
    execution: int
    finished: datetime
    seconds: float
    code: str
    tfx: str
    configuration: Mapping[str, str]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def configuration_digest(self) -> str:
        """First 16 hex digits of the SHA-256 of the parameters."""
        text = json.dumps(dict(sorted(self.configuration.items())))
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Lineage:
    """What made a model.

    Attributes:
        version: Version that it was pushed as.
        destination: Folder that it was pushed to.
        steps: Executions that it depends on, in the order in which they ran.
        blessings: Verdict by node.
        versions_before: Versions of earlier models that were used: ``compared to``, ``started from``.
    """

    version: str
    destination: str
    steps: tuple[Step, ...]
    blessings: Mapping[str, bool]
    versions_before: Mapping[str, str]

    def step(self, node: str) -> Step | None:
        """Return a node's execution; None if the model does not depend on the node."""
        return next((step for step in self.steps if step.node == node), None)


def require_store(run: Path) -> MetadataStore:
    """Open the ML Metadata store of a run's folder for reading.

    Raises:
        LineageError: The folder has no store.
        MetadataError: The store is in a database that cannot be reached.
    """
    store = metadata.open_store(run, os.environ)
    if store is None:
        raise LineageError(f"{run} holds no {metadata.STORE_FILE}: give the output folder of a run, such as demo.")
    return store


def _value(value: pb.Value) -> str:
    kind = value.WhichOneof("value")
    return "" if kind is None else str(getattr(value, kind))


def _name(artifact: pb.Artifact) -> str:
    return "/".join(Path(artifact.uri).parts[-3:])


def _pushed(store: MetadataStore, version: str | None) -> pb.Artifact:
    """Return the model that was pushed as a version, or the last pushed model."""
    pushed = {
        artifact.custom_properties["pushed_version"].string_value: artifact
        for artifact in sorted(store.get_artifacts_by_type("PushedModel"), key=lambda a: a.id)
        if artifact.custom_properties["pushed"].int_value
    }
    if not pushed:
        raise LineageError("No model of this run was pushed: its report says what refused it.")
    if version is None:
        return list(pushed.values())[-1]
    if version not in pushed:
        raise LineageError(f"Version {version} was not pushed by this run: give one of {', '.join(pushed)}.")
    return pushed[version]


def _steps(graph: pb.LineageGraph) -> Iterable[Step]:
    """Read the executions that wrote something; executions that used the cache are omitted."""
    artifacts = {artifact.id: artifact for artifact in graph.artifacts}
    names = {context.id: context.name for context in graph.contexts if context.type == "node"}
    node_of = {a.execution_id: names[a.context_id] for a in graph.associations if a.context_id in names}
    for execution in sorted(graph.executions, key=lambda e: e.id):
        if execution.last_known_state != pb.Execution.COMPLETE:
            continue
        events = [event for event in graph.events if event.execution_id == execution.id]
        read = [artifacts[e.artifact_id] for e in events if e.type == pb.Event.INPUT and e.artifact_id in artifacts]
        wrote = [artifacts[e.artifact_id] for e in events if e.type == pb.Event.OUTPUT and e.artifact_id in artifacts]
        properties = {**execution.properties, **execution.custom_properties}
        values = {key: _value(value) for key, value in properties.items()}
        custom = json.loads(values.get("custom_config") or "{}")
        yield Step(
            # The name of the context is PIPELINE.NODE, and ids of nodes may contain dots.
            node=node_of[execution.id].partition(".")[2],
            execution=execution.id,
            finished=datetime.fromtimestamp(execution.last_update_time_since_epoch / 1000, timezone.utc),
            seconds=(execution.last_update_time_since_epoch - execution.create_time_since_epoch) / 1000,
            code=values.pop(_CODE, "") or custom.get(_CODE, ""),
            tfx=next((_value(a.custom_properties["tfx_version"]) for a in wrote), ""),
            configuration=values,
            inputs=tuple(sorted(_name(a) for a in read)),
            outputs=tuple(sorted(_name(a) for a in wrote)),
        )


def _upstream(store: MetadataStore, artifact: int) -> pb.LineageGraph:
    """Return all that an artifact was made from, by simple queries: ML Metadata 1.21 has no lineage query."""
    events: list[pb.Event] = []
    artifacts: set[int] = set()
    executions: set[int] = set()
    found = {artifact}
    while found:
        artifacts |= found
        made = [event for event in store.get_events_by_artifact_ids(found) if event.type == pb.Event.OUTPUT]
        new = {event.execution_id for event in made} - executions
        executions |= new
        read = [e for e in store.get_events_by_execution_ids(new) if e.type == pb.Event.INPUT] if new else []
        events += [*made, *read]
        found = {event.artifact_id for event in read} - artifacts
    graph = pb.LineageGraph(events=events)
    graph.artifacts.extend(store.get_artifacts_by_id(sorted(artifacts)))
    graph.executions.extend(store.get_executions_by_id(sorted(executions)))
    for execution in sorted(executions):
        for context in store.get_contexts_by_execution(execution):
            graph.contexts.append(context)
            graph.associations.add(execution_id=execution, context_id=context.id)
    return graph


def _versions_before(artifacts: Iterable[pb.Artifact]) -> dict[str, str]:
    roles = {"baseline_model": "compared to", "base_model": "started from"}
    found = {}
    for artifact in artifacts:
        role = roles.get(Path(artifact.uri).parts[-2])
        version = baseline_version(artifact.uri) if role else None
        if role and version:
            found[role] = version
    return found


def read_lineage(store: MetadataStore, version: str | None = None) -> Lineage:
    """Return all that a pushed model depends on.

    Args:
        store: ML Metadata of the run.
        version: Version that it was pushed as; None for the last one.

    Returns:
        The lineage of the model.

    Raises:
        LineageError: The model does not exist.
    """
    model = _pushed(store, version)
    graph = _upstream(store, model.id)
    blessings = {
        Path(artifact.uri).parts[-3]: bool(artifact.custom_properties["blessed"].int_value)
        for artifact in graph.artifacts
        if artifact.type in ("ModelBlessing", "InfraBlessing")
    }
    return Lineage(
        version=model.custom_properties["pushed_version"].string_value,
        destination=model.custom_properties["pushed_destination"].string_value,
        steps=tuple(_steps(graph)),
        blessings=dict(sorted(blessings.items())),
        versions_before=_versions_before(graph.artifacts),
    )


def lineage_document(lineage: Lineage) -> dict[str, Any]:
    """Return a lineage as JSON types: every step with all of its parameters."""
    return {
        "version": lineage.version,
        "destination": lineage.destination,
        "blessings": dict(lineage.blessings),
        "versions_before": dict(lineage.versions_before),
        "steps": [
            {
                **{key: value for key, value in vars(step).items() if key not in ("finished", "configuration")},
                "finished": step.finished.isoformat(timespec="seconds"),
                "configuration_digest": step.configuration_digest,
                "configuration": dict(step.configuration),
            }
            for step in lineage.steps
        ],
    }


_INGEST: Final = "DicomExampleGen"
_STEP_TIME: Final = "%Y-%m-%d %H:%M"
_DIGITS: Final = 8  # of a digest


def _archive(step: Step) -> Iterable[tuple[str, str]]:
    source = json.loads(step.configuration.get("source") or "{}")
    span = json.loads(step.configuration.get("span") or "{}")
    yield "archive", ", ".join(str(value) for value in source.values() if value)
    if span:
        version = f", version {span['version']}" if span["version"] >= 0 else ""
        yield "", f"span {span['number']}{version}"
    yield "", f"fingerprint {step.configuration.get('fingerprint', '')} of its files and labels"
    yield "", f"identifiers hashed with key {step.configuration.get('key_id', '')}"


def _facts(lineage: Lineage) -> Iterable[tuple[str, str]]:
    yield "model", f"version {lineage.version}, pushed to {lineage.destination}"
    yield "blessed", ", ".join(f"{node} {'yes' if good else 'NO'}" for node, good in lineage.blessings.items())
    started, compared = (lineage.versions_before.get(role, "none") for role in ("started from", "compared to"))
    yield "parents", f"started from version {started}, compared to version {compared}"
    for step in lineage.steps:
        if step.node.startswith(_INGEST):
            yield from _archive(step)
    yield "TFX", ", ".join(sorted({step.tfx for step in lineage.steps if step.tfx}))


def _numbers(names: Iterable[str]) -> str:
    """Return the numbers of the executions that wrote the inputs: the first column of the table."""
    return ", ".join(sorted({name.split("/")[-1] for name in names}, key=int))


def lineage_tables(lineage: Lineage) -> RenderableType:
    """Return a lineage as tables: the facts, then one line per step in the order of execution, with short digests."""
    facts = Table.grid(padding=(0, 2))
    for name, value in _facts(lineage):
        facts.add_row(name, value)
    steps = Table(box=None, pad_edge=False)
    for column in ("no.", "node", "finished (UTC)", "s", "code", "config"):
        steps.add_column(column, no_wrap=True)
    steps.add_column("made from")
    for step in lineage.steps:
        steps.add_row(
            str(step.execution),
            step.node,
            step.finished.strftime(_STEP_TIME),
            f"{step.seconds:.0f}",
            step.code[:_DIGITS] or "TFX's",
            step.configuration_digest[:_DIGITS],
            _numbers(step.inputs),
        )
    return Group(facts, "", steps)
