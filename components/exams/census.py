"""What the values of an archive are worth: which studies, orders and patients its anonymiser made one of many."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from components.dicom.headers.header import ViewHeader
from components.exams.evidence import (
    NO_CENSUS,
    PATIENT_TAG,
    PER_IMAGE,
    STUDY_TAG,
    Census,
    contradictions,
    person,
    shown_twice,
)

_MOST_IDS: Final = 2  # of one woman, of which one was corrected


def take_census(headers: Iterable[ViewHeader]) -> Census:
    """Looks at all images of an archive for what their values are worth.

    Args:
        headers: Headers of all images.

    Returns:
        The studies, orders and patients that are none.
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
        no_studies=frozenset(uid for uid, group in studies.items() if _is_no_study(group, images)),
        lone_studies=lone,
        per_image=len(lone) == len(studies) > PER_IMAGE and sum(map(len, studies.values())) == images,
        no_orders=frozenset(number for number, group in orders.items() if _is_no_order(group, images)),
        no_births=frozenset(births if len(births) == 1 and len(patients) > _MOST_IDS else ()),
        no_patients=frozenset(name for name, group in patients.items() if _is_nobody(group, images)),
    )


def _is_one_image(headers: Sequence[ViewHeader]) -> bool:
    """Tells one image, or copies of one."""
    marks = {(header.sop_uid, header.view, header.acquired_at) for header in headers}
    return len(headers) == 1 or (len(marks) == 1 and headers[0].sop_uid != "")


def _is_no_study(headers: Sequence[ViewHeader], images: int) -> bool:
    """Tells a Study Instance UID of several exams: by what differs, or because a whole archive of exams has it."""
    if len(headers) == images and shown_twice(headers):
        return True
    if len({person(header) for header in headers} - {""}) > _MOST_IDS:
        return True
    # Two Patient IDs alone may be a corrected one; the exam is judged for it.
    return any(found.tag != PATIENT_TAG for found in contradictions(headers))


def _studies(headers: Iterable[ViewHeader]) -> int:
    """Counts the studies of several images."""
    counts = Counter(NO_CENSUS.study(header) for header in headers)
    return sum(count > 1 for study, count in counts.items() if study)


def _is_no_order(headers: Sequence[ViewHeader], images: int) -> bool:
    """Tells an Accession Number of several exams: by what else differs, or because a whole archive of exams has it."""
    if len(headers) == images and _studies(headers) > 1:
        return True
    census = Census(no_orders=frozenset({NO_CENSUS.order(headers[0])}))
    return any(found.tag != STUDY_TAG for found in contradictions(headers, census))


def _is_nobody(headers: Sequence[ViewHeader], images: int) -> bool:
    """Tells a Patient ID that stands for all: of many women by birth date, or that a whole archive of exams has."""
    births = len({header.birth_date for header in headers} - {""})
    return births > 2 or (len(headers) == images and _studies(headers) > PER_IMAGE)
