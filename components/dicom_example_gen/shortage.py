"""Why an archive gives a run too few images, and what to do: the sentence of ``describe`` and of the run that stops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from components.dicom_example_gen.acceptance import SpecialCase
from components.dicom_example_gen.config import SPLITS
from components.dicom_example_gen.rejections import RejectionReason

_IMAGES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_MORE: Final = "Add exams, or change pipeline.ingest.splits or pipeline.ingest.split_seed."
_SPECIAL: Final = frozenset(case.reason for case in SpecialCase)
_REMEDIES: Final = {
    RejectionReason.NO_LABEL: (
        "The labels name none of these exams: exam_id must be their Study Instance UID, accession number, folder,"
        " study ID or patient ID."
    ),
    RejectionReason.INVALID_LABEL: "Correct the column density: A to D, or 1 to 4, and one an exam.",
    RejectionReason.INVALID_ROW: "Correct the rows of the table.",
    RejectionReason.MISSING_FILE: "Put the files where the table names them, or correct its column file.",
    RejectionReason.UNSAFE_PATH: "Name files inside the manifest's folder.",
    RejectionReason.UNKNOWN_VIEW: "Name the views in a manifest.",
    RejectionReason.UNSUPPORTED_VIEW: "Name the views in a manifest: CC_R, CC_L, MLO_R, MLO_L.",
    RejectionReason.MIXED_PATIENTS: "Put each exam in a folder of its own, or name exam and patient in a manifest.",
    RejectionReason.SPLIT_CONFLICT: "Give each patient one split.",
    RejectionReason.LEFT_OUT_BY_DISTRIBUTION: "Change pipeline.ingest.distribution.",
}


def _remedy(summary: Mapping[str, Any]) -> str:
    if not summary["found"]:
        if any(kind in _IMAGES for kind in summary["ignored"]):
            return "PNG, JPEG and TIFF files are read where a manifest names them: give --manifest."
        return "Name the folder that holds the DICOM files."
    if 2 * summary["accepted"] >= summary["found"]:
        return _MORE
    reason = RejectionReason(max(summary["by_reason"], key=lambda name: (summary["by_reason"][name], name)))
    if reason in _REMEDIES:
        return _REMEDIES[reason]
    if reason in _SPECIAL:
        return f"Add {reason.value} to pipeline.ingest.accept if these images are wanted."
    return "Look at the list of files, which says what is wrong with each."


def shortage(summary: Mapping[str, Any]) -> str | None:
    """Says why a run would stop for want of images.

    Args:
        summary: What ``report.summary`` gave, of an archive or of all its spans together.

    Returns:
        What is lacking, by which reasons, and what to do; None where every split has an image.
    """
    empty = [split for split in SPLITS if not summary["splits"][split]["views"]]
    if not empty:
        return None
    reasons = ", ".join(f"{count} {reason}" for reason, count in summary["by_reason"].items()) or "none"
    return (
        f"Ingest accepted {summary['accepted']} of {summary['found']} files (rejected: {reasons}) and left no image"
        f" for: {', '.join(empty)}. {_remedy(summary)}"
    )
