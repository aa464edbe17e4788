"""What a report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class NodeInfo:
    """A node of the run.

    Attributes:
        node: Id.
        code: Fingerprint of its source; empty for TFX's own nodes.
        data: Fingerprint of the archive, of a node that ingests.
        parents: Ids of the nodes whose outputs it takes.
    """

    node: str
    code: str = ""
    data: str = ""
    parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class RunInfo:
    """The run that is reported.

    Attributes:
        name: Pipeline or run name.
        generated: Date of the report, ISO 8601. The caller gives it, so that equal inputs make equal pages.
        configuration: Effective configuration, YAML text.
        packages: Versions of the packages that matter, by name.
        origin: What the exams are where they are no patients' exams, such as ``computed phantoms``.
        nodes: The nodes before the report.
        artifacts: What the page was made from: ``NODE/OUTPUT/EXECUTION`` by input.
    """

    name: str
    generated: str
    configuration: str = ""
    packages: Mapping[str, str] = field(default_factory=dict)
    origin: str = ""
    nodes: tuple[NodeInfo, ...] = ()
    artifacts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PushInfo:
    """What the Pusher did.

    Attributes:
        pushed: Whether the model is in the serving directory.
        version: Its version there.
    """

    pushed: bool
    version: str | None = None


@dataclass(frozen=True)
class ReportInputs:
    """Artifact folders of the other nodes; the section of an absent one says what is missing.

    Attributes:
        ingest: Each holds ``summary.json`` of DicomExampleGen; one a span.
        quality: Holds ``summary.json``, ``views.jsonl`` and ``overlays/`` of MammogramPreprocessor.
        drift: Holds ``summary.json`` of DriftMonitor.
        training: Folder with ``history.json``, by view.
        evaluation: Holds ``exam_metrics.json``.
        explanations: Holds ``summary.json``, ``explanations.jsonl`` and ``overlays/`` of GradCamExplainer.
        infra: Holds ``infra.json``.
        exam_model: SavedModel of ExamEnsemble, which holds ``assets.extra/calibration.json``.
        push: What was pushed.
        run: Name, date, configuration and package versions.
    """

    ingest: tuple[Path, ...] = ()
    quality: Path | None = None
    drift: Path | None = None
    training: Mapping[str, Path] = field(default_factory=dict)
    evaluation: Path | None = None
    explanations: Path | None = None
    infra: Path | None = None
    exam_model: Path | None = None
    push: PushInfo | None = None
    run: RunInfo | None = None
