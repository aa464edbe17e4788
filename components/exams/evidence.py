"""Contradictions between images of an exam: one set of rules for ingest, ``predict`` and the gateway.

The images of an exam come from one patient, one study and one day. Each of these contradictions rejects the exam:

    * **women**: different birth dates, sexes, ages more than one year apart (two exams, if they name one patient),
      Patient IDs, or, without a common Patient ID, names without a common part. Two Patient IDs count as one that was
      corrected, with a remark, within one study of one acquisition system if all images have one birth date
      (:func:`corrected_id`);
    * **days** that differ; a study may continue past midnight for some hours;
    * **machines** that differ: manufacturer or model, unless the images have one Patient ID in one study or on one day;
      software, serial number, station or institution, unless they have one Patient ID or birth date there;
    * **studies** that differ (Study Instance UID, Accession Number, Study ID), unless they have one Patient ID on one
      day. Some anonymisers write a separate study for each image: this is accepted with one Patient ID or birth date,
      or for three or more images of different views;
    * **repeated views**: all views, or three views, occur twice, or one view occurs four times, and the images have
      neither a common study or order, nor one Patient ID on one day.

Anonymisers write one value for all images. So words such as ANONYMOUS, blanks and zeros do not count
(:func:`is_placeholder`), a birth date or a day does not identify a woman by itself, the first day of a month may be a
truncated date, and a Study Instance UID whose images contradict each other does not identify a study (:class:`Census`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from itertools import combinations
from typing import Final

from components.dicom.headers import tags
from components.dicom.headers.header import ViewHeader
from components.dicom.headers.views import parse_view_name
from components.dicom.rejections import RejectionReason
from schema.features import UNKNOWN, UNKNOWN_INT

_OLDEST: Final = (90, 120)  # years that the age 90 may mean
_WORDS: Final = (
    "anon anonym anonymous anonymus anonymized anonymised anonymisiert anonymize anonymise blank confidential "
    "default deid deidentified de identified dummy empty hidden id masked mrn name nan nil no none noname noid "
    "not available null patient patientid pid redacted removed subject test undefined unknown unk unnamed"
)
_PLACEHOLDERS: Final = frozenset(_WORDS.split())
_KEYWORDS: Final = (
    "PatientBirthDate PatientSex PatientAge StudyDate StudyInstanceUID AccessionNumber StudyID PatientID PatientName"
)
_BIRTH, _SEX, _AGE, DAY_TAG, STUDY_TAG, _ACCESSION, _STUDY_ID, PATIENT_TAG, _NAME = map(
    tags.tag_name, _KEYWORDS.split()
)
_MAKE: Final = (
    ("Manufacturer", lambda h: h.system.manufacturer),
    ("ManufacturerModelName", lambda h: h.system.model_name),
)
_ROOM: Final = (
    ("SoftwareVersions", lambda h: h.system.software_version),
    ("DeviceSerialNumber", lambda h: h.device),
    ("StationName", lambda h: h.station),
    ("InstitutionName", lambda h: h.institution),
)
_OVER_MIDNIGHT: Final = 6 * 60  # minutes between the images of a study that continues past midnight
_YEAR_ONLY: Final = "0101"  # a truncated birth date
_REPEATED_VIEWS: Final = 3
_IMAGES_OF_A_VIEW: Final = 4
_CACHED: Final = 1 << 14  # values that are read repeatedly, mostly within one exam
# From so many images on, a study per image comes from the anonymiser, and does not mean separate exams.
MIN_STUDIES_PER_IMAGE: Final = 3


@dataclass(frozen=True)
class Contradiction:
    """Contradiction between images of an exam; it does not identify anyone.

    Attributes:
        reason: ``mixed_patients`` or ``several_exams``.
        tag: DICOM attribute that differs.
        value: The difference, such as ``2 birth dates``.
    """

    reason: RejectionReason
    tag: str
    value: str


@dataclass(frozen=True)
class Census:
    """Unreliable identifiers of an archive, found by their distribution over its images.

    Attributes:
        unreliable_studies: Study Instance UIDs whose images contradict each other.
        single_image_studies: Study Instance UIDs of one image, or of copies of one image.
        study_per_image: True if every image has a separate study, so that studies do not identify exams.
        unreliable_orders: Accession Numbers of several exams.
        unreliable_patients: Patients, in the form of :func:`person`, that mean more than one woman.
        unreliable_births: Birth dates that all images of several patients have.
    """

    unreliable_studies: frozenset[str] = frozenset()
    single_image_studies: frozenset[str] = frozenset()
    study_per_image: bool = False
    unreliable_orders: frozenset[str] = frozenset()
    unreliable_patients: frozenset[str] = frozenset()
    unreliable_births: frozenset[str] = frozenset()

    def study(self, header: ViewHeader) -> str:
        """Return the study of an image, empty if it is missing or unreliable."""
        uid = header.study_uid
        return "" if self.study_per_image or uid in self.unreliable_studies or is_placeholder(uid) else uid

    def order(self, header: ViewHeader) -> str:
        """Return the Accession Number of an image, empty if it is missing or unreliable."""
        number = header.accession_number.casefold()
        return "" if number in self.unreliable_orders or is_placeholder(number) else number


NO_CENSUS: Final = Census()


@lru_cache(_CACHED)
def is_placeholder(value: str) -> bool:
    """Return True for values that anonymisers and consoles write instead of a real one: blanks, zeros, ANONYMOUS."""
    words = re.sub(r"[\W_]+", " ", value.casefold()).split()
    known = all(word in _PLACEHOLDERS or re.fullmatch("0+|xx+", word) for word in words)
    return known or "".join(words) == "na"


def person(header: ViewHeader, census: Census = NO_CENSUS) -> str:
    """Return the patient of an image, empty if the Patient ID is missing or unreliable.

    It is the Patient ID without the image's view at its end: CBIS-DDSM writes ``Mass-Test_P_00173_LEFT_CC``.
    """
    name = _person(header.patient_id, header.view)
    return "" if name in census.unreliable_patients else name


@lru_cache(_CACHED)
def _person(patient_id: str, view: str) -> str:
    if is_placeholder(patient_id):
        return ""
    parts = re.split(r"[\s_^-]+", patient_id.casefold())
    own_view = next((n for n in (2, 1) if parse_view_name("".join(parts[-n:])) == view), 0)
    return " ".join(parts[: len(parts) - own_view])


def mixed_patients(headers: Sequence[ViewHeader], census: Census = NO_CENSUS) -> str:
    """Return how the patients of an exam's images differ.

    Args:
        headers: Headers of the exam's images.
        census: Unreliable identifiers of the archive.

    Returns:
        The difference, such as ``2 patients in 2 studies``, or an empty string; it does not identify anyone.
    """
    patients = _persons(headers, census)
    if patients < 2 or corrected_id(headers, census):
        return ""
    uids = {header.study_uid for header in headers if not is_placeholder(header.study_uid)}
    places = [(len(uids), "studies"), (len(_systems(headers)), "acquisition systems")]
    several = " and ".join(f"{count} {kind}" for count, kind in places if count > 1)
    return f"{patients} patients in {several or ('one study' if uids else 'unnamed studies')}"


def corrected_id(headers: Sequence[ViewHeader], census: Census = NO_CENSUS) -> bool:
    """Return True if several Patient IDs belong to one woman, because one of them was corrected.

    A study belongs to one patient (PS3.3 A.1.2), but anonymisers write one study for many patients. So all images must
    also have one complete birth date, and their names, if present, must have a common part.
    """
    studies, births = {census.study(h) for h in headers}, {h.birth_date for h in headers}
    one_study = len(studies) == 1 and "" not in studies and len(_systems(headers)) < 2
    one_birth = (
        len(births) == 1 and not births & {"", *census.unreliable_births} and not min(births).endswith(_YEAR_ONLY)
    )
    return _persons(headers, census) > 1 and one_study and one_birth and not _names_differ(headers)


def _persons(headers: Iterable[ViewHeader], census: Census) -> int:
    return len({person(header, census) for header in headers} - {""})


def _systems(headers: Iterable[ViewHeader]) -> set[str]:
    return {header.system.key for header in headers} - {UNKNOWN}


def _known(values: Iterable[str]) -> set[str]:
    return {value.casefold() for value in values if value != UNKNOWN and not is_placeholder(value)}


def _days_apart(headers: Sequence[ViewHeader], one_study: bool, one_patient: bool) -> bool:
    """Return True if days differ by more than a study that continues past midnight."""
    days = sorted({header.acquired_at[:8] for header in headers} - {""})
    if len(days) < 2:
        return False
    first, last = (date(int(day[:4]), int(day[4:6]), int(day[6:])) for day in (days[0], days[-1]))
    if not one_study or (last - first).days > 1:
        return True
    times = [header.acquired_at for header in headers if header.acquired_at]
    if not all(time[8:12].isdecimal() and len(time) >= 12 for time in times):
        return not one_patient
    evening, morning = max(time for time in times if time < days[1]), min(time for time in times if time > days[1])
    return 24 * 60 + _minutes(morning) - _minutes(evening) > _OVER_MIDNIGHT


def _minutes(acquired_at: str) -> int:
    return 60 * int(acquired_at[8:10]) + int(acquired_at[10:12])


def _ages_differ(headers: Iterable[ViewHeader]) -> bool:
    """Return True if no year of birth fits all ages."""
    latest: dict[bool, int] = {}
    earliest: dict[bool, int] = {}
    for header in headers:
        if header.patient_age == UNKNOWN_INT:
            continue
        dated = header.acquisition_year != UNKNOWN_INT
        year = header.acquisition_year if dated else 0
        oldest = _OLDEST[1] if header.patient_age >= _OLDEST[0] else header.patient_age
        latest[dated] = min(latest.get(dated, year), year - header.patient_age)
        earliest[dated] = max(earliest.get(dated, -(10**6)), year - oldest - 1)
    return any(earliest[dated] > latest[dated] for dated in latest)


@lru_cache(_CACHED)
def _name_parts(name: str) -> frozenset[str]:
    """Return the words of a name, without initials, placeholders and words without letters."""
    words = re.findall(r"[^\W_]+", name.casefold())
    return frozenset(word for word in words if len(word) > 1 and not word.isdecimal() and not is_placeholder(word))


def _names_differ(headers: Iterable[ViewHeader]) -> bool:
    """Return True if two of the names have no common part."""
    names = {parts for header in headers if (parts := _name_parts(header.patient_name))}
    return any(one.isdisjoint(other) for one, other in combinations(names, 2))


def _women(headers: Sequence[ViewHeader], census: Census) -> Iterator[Contradiction]:
    reason = RejectionReason.MIXED_PATIENTS
    if mixed := mixed_patients(headers, census):
        yield Contradiction(reason, PATIENT_TAG, mixed)
    if (births := len({header.birth_date for header in headers} - {""})) > 1:
        yield Contradiction(reason, _BIRTH, f"{births} birth dates")
    if not of_one_patient(headers, census) and _names_differ(headers):
        yield Contradiction(reason, _NAME, "names that share no part")
    if len({header.sex for header in headers} - {""}) > 1:
        yield Contradiction(reason, _SEX, "2 sexes")
    if _ages_differ(headers):
        if of_one_person(headers, census):  # at different ages
            yield Contradiction(RejectionReason.SEVERAL_EXAMS, _AGE, "ages of different years")
        else:
            yield Contradiction(reason, _AGE, "ages of more than one woman")


def of_one_patient(headers: Sequence[ViewHeader], census: Census = NO_CENSUS) -> bool:
    """Return True if all images have one reliable Patient ID."""
    named = {person(header, census) for header in headers}
    return len(named) == 1 and "" not in named


def of_one_person(headers: Sequence[ViewHeader], census: Census = NO_CENSUS) -> bool:
    """Return True if all images have one reliable Patient ID or, as weaker evidence, one birth date."""
    named = {person(header, census) for header in headers} - {""}
    born = {header.birth_date for header in headers}
    return of_one_patient(headers, census) or (len(born) == 1 and "" not in born and len(named) < 2)


def _views_of(headers: Sequence[ViewHeader], studies: Sequence[str]) -> Counter[str]:
    """Return the number of studies that contain each view."""
    return Counter(view for view, _ in {(h.view, study) for h, study in zip(headers, studies, strict=True)})


def shown_twice(headers: Iterable[ViewHeader]) -> str:
    """Return the repetition of views that one exam does not need, such as ``3 views that come twice``; else empty."""
    counts = Counter(header.view for header in headers)
    repeated = sum(count > 1 for count in counts.values())
    if repeated >= _REPEATED_VIEWS or 1 < repeated == len(counts):
        return f"{repeated} views that come twice"
    most = max(counts.values())
    return f"{most} images of one view" if most >= _IMAGES_OF_A_VIEW else ""


def contradictions(headers: Sequence[ViewHeader], census: Census = NO_CENSUS) -> Iterator[Contradiction]:
    """Find the contradictions between images of an exam; see the module for the rules.

    Args:
        headers: Headers of the exam's images, one or more.
        census: Unreliable identifiers of the archive.

    Yields:
        The contradictions: first those between women, then those between exams.
    """
    if len(headers) < 2:
        return
    yield from _women(headers, census)
    reason = RejectionReason.SEVERAL_EXAMS
    studies = [census.study(header) for header in headers]
    named = set(studies) - {""}
    one_study = len(named) == 1 and "" not in studies
    one_person, one_patient = of_one_person(headers, census), of_one_patient(headers, census)
    days = {header.acquired_at[:8] for header in headers}
    if _days_apart(headers, one_study, one_patient):
        yield Contradiction(reason, DAY_TAG, f"{len(days - {''})} days")
    one_day = len(days) == 1 and "" not in days
    sure_day = one_day and not any(day.endswith("01") for day in days)
    for machine, known in ((_MAKE, one_patient), (_ROOM, one_person)):
        for keyword, value in machine:
            if not (known and (one_study or one_day)) and (count := len(_known(map(value, headers)))) > 1:
                yield Contradiction(reason, tags.tag_name(keyword), f"{count} values")
    orders = [census.order(header) for header in headers]
    one_order = len(set(orders)) == 1 and orders[0] != ""
    ids = ["" if is_placeholder(header.study_id) else header.study_id.casefold() for header in headers]
    in_study = one_study and one_person
    for tag, names, joined in (
        (STUDY_TAG, studies, one_order),
        (_ACCESSION, orders, in_study),
        # A Study Instance UID may come from the anonymiser: it does not join two Study IDs if views come twice.
        (_STUDY_ID, ids, one_order or (in_study and not shown_twice(headers))),
    ):
        count = len(set(names) - {""})
        if count < 2 or joined:
            continue
        apart_views = max(_views_of(headers, names).values()) < 2
        each = max(Counter(names).values()) == 1
        by_patient = one_patient and sure_day
        by_person = one_person and each and (one_day or (len(days - {""}) < 2 and apart_views))
        lone = names is not studies or set(names) <= census.single_image_studies
        by_image = count == len(headers) >= MIN_STUDIES_PER_IMAGE and lone and apart_views
        if not (by_patient or by_person or by_image):
            yield Contradiction(reason, tag, f"{count} values")
    if not (one_study or one_order or (one_patient and sure_day)) and (twice := shown_twice(headers)):
        yield Contradiction(reason, "view", twice)


def contradiction(headers: Sequence[ViewHeader], census: Census = NO_CENSUS) -> Contradiction | None:
    """Return the first of :func:`contradictions`, or None."""
    return next(contradictions(headers, census), None)


def is_one_exam(headers: Sequence[ViewHeader], census: Census = NO_CENSUS) -> bool:
    """Return True if images of different studies form one exam.

    They name one patient, no view occurs twice, and there are no contradictions.
    """
    views = [header.view for header in headers]
    return len(views) == len(set(views)) and of_one_person(headers, census) and contradiction(headers, census) is None
