"""Find the unreliable identifiers of an archive: values that its anonymiser wrote for several exams or patients."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from components.dicom.headers.header import ViewHeader
from components.exams.evidence import (
    MIN_STUDIES_PER_IMAGE,
    NO_CENSUS,
    PATIENT_TAG,
    STUDY_TAG,
    Census,
    contradictions,
    person,
    shown_twice,
)

_MOST_IDS: Final = 2  # of one woman: her Patient ID may have been corrected once


def take_census(headers: Iterable[ViewHeader]) -> Census:
    """Find the unreliable identifiers of an archive.

    Args:
        headers: Headers of all images.

    Returns:
        The studies, orders, patients and birth dates that identify nothing.
    """
    studies: dict[str, list[ViewHeader]] = defaultdict(list)
    orders: dict[str, list[ViewHeader]] = defaultdict(list)
    patients: dict[str, list[ViewHeader]] = defaultdict(list)
    births: set[str] = set()
    images = 0
    for header in headers:
        images += 1
        births |= {header.birth_date} - {""}
        for groups, name in (
            (studies, NO_CENSUS.study(header)),
            (orders, NO_CENSUS.order(header)),
            (patients, person(header)),
        ):
            if name:
                groups[name].append(header)
    lone = frozenset(uid for uid, group in studies.items() if _is_one_image(group))
    return Census(
        unreliable_studies=frozenset(uid for uid, group in studies.items() if _is_no_study(group, images)),
        single_image_studies=lone,
        study_per_image=len(lone) == len(studies) > MIN_STUDIES_PER_IMAGE and sum(map(len, studies.values())) == images,
        unreliable_orders=frozenset(number for number, group in orders.items() if _is_no_order(group, images)),
        unreliable_births=frozenset(births if len(births) == 1 and len(patients) > _MOST_IDS else ()),
        unreliable_patients=frozenset(name for name, group in patients.items() if _is_nobody(group, images)),
    )


def _is_one_image(headers: Sequence[ViewHeader]) -> bool:
    """Return True for one image, or copies of one image."""
    marks = {(header.sop_uid, header.view, header.acquired_at) for header in headers}
    return len(headers) == 1 or (len(marks) == 1 and headers[0].sop_uid != "")


def _is_no_study(headers: Sequence[ViewHeader], images: int) -> bool:
    """Return True if a Study Instance UID is that of several exams: values differ, or the whole archive has it."""
    if len(headers) == images and shown_twice(headers):
        return True
    if len({person(header) for header in headers} - {""}) > _MOST_IDS:
        return True
    # Two Patient IDs without another contradiction may be a correction; the check of the exam decides.
    return any(found.tag != PATIENT_TAG for found in contradictions(headers))


def _studies(headers: Iterable[ViewHeader]) -> int:
    """Count the studies with several images."""
    counts = Counter(NO_CENSUS.study(header) for header in headers)
    return sum(count > 1 for study, count in counts.items() if study)


def _is_no_order(headers: Sequence[ViewHeader], images: int) -> bool:
    """Return True if an Accession Number is that of several exams: values differ, or the whole archive has it."""
    if len(headers) == images and _studies(headers) > 1:
        return True
    census = Census(unreliable_orders=frozenset({NO_CENSUS.order(headers[0])}))
    return any(found.tag != STUDY_TAG for found in contradictions(headers, census))


def _is_nobody(headers: Sequence[ViewHeader], images: int) -> bool:
    """Return True if a Patient ID is that of several women: birth dates differ, or the whole archive has it."""
    births = len({header.birth_date for header in headers} - {""})
    return births > 2 or (len(headers) == images and _studies(headers) > MIN_STUDIES_PER_IMAGE)
