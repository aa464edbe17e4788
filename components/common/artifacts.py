"""Artifact types that TFX does not have."""

from __future__ import annotations

from tfx.types.artifact import Artifact


class IngestReport(Artifact):
    """Every file found: ``files.jsonl`` and ``summary.json``."""

    TYPE_NAME = "IngestReport"


class QualityReport(Artifact):
    """Segmentation by view: ``views.jsonl``, ``summary.json`` and overlays."""

    TYPE_NAME = "QualityReport"


class Explanations(Artifact):
    """Heat maps: ``explanations.jsonl``, ``summary.json`` and overlays."""

    TYPE_NAME = "Explanations"


class Report(Artifact):
    """The run as one HTML page: ``report.html``."""

    TYPE_NAME = "Report"
