"""Artifact types that TFX does not have.

Kubeflow Pipelines v2 requires a title NAMESPACE.Name for each type that is neither its own nor TFX's.
"""

from __future__ import annotations

from tfx.types.artifact import Artifact


class IngestReport(Artifact):
    """Result of ingest for every file found: ``files.jsonl`` and ``summary.json``."""

    TYPE_NAME = "breast_density.IngestReport"


class QualityReport(Artifact):
    """Segmentation per view: ``views.jsonl``, ``summary.json`` and overlays."""

    TYPE_NAME = "breast_density.QualityReport"


class DriftReport(Artifact):
    """Comparison of new exams with earlier ones: ``summary.json``, ``statistics.pb`` and ``exams.json``."""

    TYPE_NAME = "breast_density.DriftReport"


class TextureArraysArtifact(Artifact):
    """The texture model: ``texture_model.npz`` and ``texture_summary.json``."""

    TYPE_NAME = "breast_density.TextureModel"


class Explanations(Artifact):
    """Heat maps: ``explanations.jsonl``, ``summary.json`` and overlays."""

    TYPE_NAME = "breast_density.Explanations"


class Report(Artifact):
    """The run as one HTML page: ``report.html``."""

    TYPE_NAME = "breast_density.Report"
