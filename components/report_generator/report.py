"""Build the report: from artifact folders to one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path

from components.common.files import write_whole
from components.report_generator.loading import PushInfo, ReportInputError, ReportInputs, RunInfo, load_artifacts
from components.report_generator.page import render_page
from components.report_generator.pictures import PictureLimits
from components.report_generator.sections.about import (
    experiments_section,
    limits_section,
    lineage_section,
    serving_section,
)
from components.report_generator.sections.calibration import calibration_section
from components.report_generator.sections.data import data_section
from components.report_generator.sections.drift import drift_section
from components.report_generator.sections.evaluation import evaluation_section
from components.report_generator.sections.explanation import explanation_section
from components.report_generator.sections.familiarity import familiarity_section
from components.report_generator.sections.segmentation import segmentation_section
from components.report_generator.sections.training import training_section
from components.report_generator.verdict import verdict

_TITLE = "Breast density classifier: run report"

__all__ = [
    "PictureLimits",
    "PushInfo",
    "ReportInputError",
    "ReportInputs",
    "RunInfo",
    "build_report",
    "write_report",
]


def build_report(inputs: ReportInputs, limits: PictureLimits | None = None) -> str:
    """Build the page.

    Equal inputs give equal bytes. The page loads nothing: style and pictures are inlined, there is no script, and a
    content security policy forbids requests.

    Args:
        inputs: Artifact folders of the other nodes. The page names each one that is missing.
        limits: Number and size of the pictures.

    Returns:
        HTML text, to be written as UTF-8.

    Raises:
        ReportInputError: A folder lacks a file, or a file lacks a key; the message names both.
    """
    limits = limits or PictureLimits()
    artifacts = load_artifacts(inputs)
    sections = (
        data_section(artifacts.ingest),
        segmentation_section(artifacts.quality, limits),
        drift_section(artifacts.drift),
        training_section(artifacts.training),
        evaluation_section(artifacts.evaluation, artifacts.training),
        calibration_section(artifacts.calibration, artifacts.evaluation),
        familiarity_section(artifacts.familiarity),
        explanation_section(artifacts.explanations, limits),
        serving_section(artifacts.infra, inputs.push),
        experiments_section(),
        lineage_section(inputs.run),
        limits_section(artifacts, inputs.run),
    )
    head = verdict(artifacts, inputs.push, inputs.run)
    named = f"{inputs.run.name}, {inputs.run.generated}" if inputs.run else "Run without a name"
    return render_page(_TITLE, tuple(filter(None, (named, head.subject))), sections, head)


def write_report(html: str, path: Path) -> None:
    """Write the page atomically: a reader sees the old page or the new one, never a part.

    Args:
        html: The page.
        path: Target file; missing folders are created.
    """
    write_whole(path, html.encode("utf-8", errors="replace"))
