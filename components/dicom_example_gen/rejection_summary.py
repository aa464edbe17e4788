"""Summary of rejections, with remedies: for the console, the report, and runs that stop without images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from components.dicom.rejections import SPECIAL_CASES, RejectionReason
from schema.features import SPLITS

_IMAGES: Final = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
_MORE: Final = "Add exams, or change pipeline.ingest.splits or pipeline.ingest.split_seed."
_LOOK: Final = "Look at the list of files, which says what is wrong with each."
_MIN_SHARE: Final = 0.01  # of the images, rejected for one reason
_SPECIAL: Final = frozenset(SPECIAL_CASES)
_EXPORT: Final = "Export or transfer these files again."
_REMEDIES: Final = {
    RejectionReason.MISSING_FILE: "Put the files where the table names them, or correct its column file.",
    RejectionReason.UNREADABLE: "Make the files readable to this user.",
    RejectionReason.UNSAFE_PATH: "Name files inside the manifest's folder.",
    RejectionReason.INVALID_ROW: "Correct the rows of the table.",
    RejectionReason.NOT_DICOM: "Store them as DICOM Part 10 files, or name pictures in a manifest.",
    RejectionReason.TRUNCATED: "Transfer these files again: they are cut short.",
    RejectionReason.MALFORMED_HEADER: _EXPORT,
    RejectionReason.NOT_MAMMOGRAPHY: (
        "Leave them where they are if they are no mammograms; else name them with their views in a manifest."
    ),
    RejectionReason.MULTI_FRAME: "Export single images: a volume has no frame that stands for the view.",
    RejectionReason.NO_PIXEL_DATA: "Leave them where they are if they are reports; else export the images again.",
    RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX: "Export them uncompressed.",
    RejectionReason.TOO_LARGE: "Raise pipeline.ingest.max_pixels if their size is right.",
    RejectionReason.UNKNOWN_VIEW: "Name the views in a manifest.",
    RejectionReason.UNSUPPORTED_VIEW: "Name the views in a manifest: CC_R, CC_L, MLO_R, MLO_L.",
    RejectionReason.UNDECODABLE_PIXELS: _EXPORT,
    RejectionReason.NO_LABEL: (
        "The labels name none of these exams: exam_id must be their Study Instance UID, accession number, folder,"
        " study ID or patient ID."
    ),
    RejectionReason.INVALID_LABEL: "Correct the column density: A to D, or 1 to 4, and one an exam.",
    RejectionReason.SEVERAL_EXAMS: (
        "Label each exam by its Study Instance UID, accession number or folder, or name the images in a manifest."
    ),
    RejectionReason.AMBIGUOUS_LABEL: (
        "Several kinds of key fit the labels: name exams by Study Instance UID or by the folder's path."
    ),
    RejectionReason.SPLIT_CONFLICT: "Give each patient one split.",
    RejectionReason.DUPLICATE: "Remove the copies.",
    RejectionReason.DUPLICATE_VIEW: "One image of a view is kept; a manifest can say which.",
    RejectionReason.LEFT_OUT_BY_DISTRIBUTION: "Change pipeline.ingest.distribution.",
    RejectionReason.MIXED_PATIENTS: "Put each exam in a folder of its own, or name exam and patient in a manifest.",
}


def _remedy_of(reason: str) -> str:
    known = RejectionReason(reason)
    if known in _REMEDIES:
        return _REMEDIES[known]
    if known in _SPECIAL:
        return f"Add {reason} to pipeline.ingest.accept if these images are wanted."
    return _LOOK


def _main_remedy(summary: Mapping[str, Any]) -> str:
    if not summary["found"]:
        if any(kind in _IMAGES for kind in summary["ignored"]):
            return "PNG, JPEG and TIFF files are read where a manifest names them: give --manifest."
        return "Name the folder that holds the DICOM files."
    if 2 * summary["accepted"] >= summary["found"]:
        return _MORE
    return _remedy_of(max(summary["by_reason"], key=lambda name: (summary["by_reason"][name], name)))


def rejection_warnings(found: int, by_reason: Mapping[str, int]) -> list[str]:
    """Return a warning for each reason that rejects more than 1 % of the images, the most frequent first.

    Args:
        found: Number of files or rows found.
        by_reason: Rejected files per reason.

    Returns:
        A sentence per reason: its name, its count, and the remedy.
    """
    frequent = [(reason, count) for reason, count in by_reason.items() if count > _MIN_SHARE * found]
    return [
        f"{count:,} of {found:,} images ({count / found:.1%}) are left out as {reason}: {_remedy_of(reason)}"
        for reason, count in sorted(frequent, key=lambda item: (-item[1], item[0]))
    ]


def empty_splits_message(summary: Mapping[str, Any]) -> str | None:
    """Return why a run would stop without images for a split.

    Args:
        summary: Result of ``report.summary``, for an archive or for all its spans together.

    Returns:
        The empty splits, the reasons, and the remedy; None if every split has an image.
    """
    empty = [split for split in SPLITS if not summary["splits"][split]["views"]]
    if not empty:
        return None
    reasons = ", ".join(f"{count} {reason}" for reason, count in summary["by_reason"].items()) or "none"
    return (
        f"Ingest accepted {summary['accepted']} of {summary['found']} files (rejected: {reasons}) and left no image"
        f" for: {', '.join(empty)}. {_main_remedy(summary)}"
    )
