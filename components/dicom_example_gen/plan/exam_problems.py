"""Errors of an exam as a whole, which reject all its images."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Final

from components.dicom.headers.header import ViewHeader
from components.dicom.rejections import RejectionReason
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.copies import LabelledFile
from components.dicom_example_gen.plan.label_keys import ROW, STUDY
from components.exams.evidence import DAY_TAG, STUDY_TAG, Census, contradictions
from components.sources.tables import RowProblem
from schema.features import VIEWS

_FEWEST_DIVIDED: Final = 4  # exams
_MOST_DIVIDED: Final = 0.75
_ONE_PATIENT: Final = (
    "an exam is of one patient, move the images that are another's, or name each image's exam and patient in a "
    "manifest, or add mixed_patients to pipeline.ingest.accept"
)
_ONE_EXAM: Final = (
    "an exam is of one study and one day, label each by its Study Instance UID, accession number or folder, or name "
    "each image's exam in a manifest"
)


def exam_problem(views: Sequence[LabelledFile], config: IngestConfig, census: Census) -> RowProblem | None:
    """Return the contradiction between the rows or headers of one exam.

    Args:
        views: Its images.
        config: Configuration of ingest.
        census: Unreliable identifiers of the archive.

    Returns:
        The error that rejects all its images, or None.
    """
    densities = sorted({v.label.density for v in views})
    if len(densities) > 1:
        allowed = "the rows of one exam must name one density"
        return RowProblem(RejectionReason.INVALID_LABEL, "column density", " and ".join(densities), allowed)
    patients = {v.label.patient_id for v in views if v.label.patient_id}
    if len(patients) > 1:
        allowed = "the rows of one exam must name one patient"
        return RowProblem(RejectionReason.INVALID_ROW, "column patient_id", f"{len(patients)} patients", allowed)
    by_rows = all(v.label_by == ROW for v in views)
    # Accepted if the anonymiser wrote a separate patient and study for each image.
    unnamed = RejectionReason.MIXED_PATIENTS in config.accept
    named = unnamed or (by_rows and all(v.label.patient_id for v in views))
    for found in contradictions([v.header for v in views], census):
        if found.reason == RejectionReason.MIXED_PATIENTS and not named:
            return RowProblem(found.reason, found.tag, found.value, _ONE_PATIENT)
        if found.reason == RejectionReason.SEVERAL_EXAMS and not by_rows and not (unnamed and found.tag != DAY_TAG):
            return RowProblem(found.reason, found.tag, found.value, _ONE_EXAM)
    return None


def studies_are_series(exams: Mapping[str, Sequence[LabelledFile]], census: Census) -> bool:
    """Return True if the anonymiser wrote a study for each series, so that studies do not identify exams.

    This is so if most exams that folders name, and at least four, have the four views in several studies. These
    studies must not share a view or reach into another exam, and there must be no other contradiction.

    Args:
        exams: exam_id -> its images.
        census: Unreliable identifiers of the archive.

    Returns:
        True or False.
    """
    groups = [views for views in exams.values() if len(views) > 1 and all("folder" in v.label_by for v in views)]
    reach = Counter(study for views in exams.values() for study in {census.study(v.header) for v in views})
    divided = sum(_is_divided([v.header for v in views], census, reach) for views in groups)
    return divided >= _FEWEST_DIVIDED and divided > _MOST_DIVIDED * len(groups)


def _is_divided(headers: Sequence[ViewHeader], census: Census, reach: Mapping[str, int]) -> bool:
    studies = [census.study(header) for header in headers]
    shown = {(header.view, study) for header, study in zip(headers, studies, strict=True)}
    apart = len(set(studies)) > 1 and len(shown) == len({view for view, _ in shown}) == len(VIEWS)
    own = all(study and reach[study] == 1 for study in studies)
    return apart and own and all(found.tag == STUDY_TAG for found in contradictions(headers, census))


def divided_studies(exams: Mapping[str, Sequence[LabelledFile]], census: Census) -> dict[str, RowProblem]:
    """Find the exams that share a study although the labels give them different densities.

    Args:
        exams: exam_id -> its images.
        census: Unreliable identifiers of the archive.

    Returns:
        exam_id -> error that rejects all its images.
    """
    of_study: dict[str, dict[str, str]] = defaultdict(dict)
    for exam, views in exams.items():
        for view in views:
            if view.label_by != ROW and (study := census.study(view.header)):
                of_study[study][exam] = view.label.density
    allowed = "the labels must name one density for the images of one study"
    return {
        exam: RowProblem(RejectionReason.AMBIGUOUS_LABEL, STUDY_TAG, f"{len(found)} exam_ids", allowed)
        for found in of_study.values()
        if len(set(found.values())) > 1
        for exam in found
    }


def exam_by(views: Sequence[LabelledFile], census: Census) -> str:
    """Return what joins images to one exam: ``study``, or the origin of their label."""
    studies = {census.study(view.header) for view in views}
    by_study = len(studies) == 1 and "" not in studies and views[0].label_by != ROW
    return STUDY if by_study else views[0].label_by
