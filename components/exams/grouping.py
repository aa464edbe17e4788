"""Group images into exams without labels, as ``predict`` does with an archive.

1. Images of one Study Instance UID form one exam; so do the images of a folder that have none. If they contradict each
other (``exams.evidence``), they are divided if their headers allow only one division. Otherwise they stay together and
are rejected as ``several_exams``. If two folders of a study contain the same views, and the study has no common Patient
ID, the anonymiser wrote the study: each folder is an exam.
2. Some archives have a separate study for each image. So studies of one patient in one folder form one exam if their
headers allow it (``evidence.is_one_exam``). The same holds for four images that are all images of a folder, contain
each view once, have separate studies and do not contradict each other.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import replace
from itertools import combinations
from typing import Final

from components.dicom.headers.header import ViewHeader
from components.exams.census import take_census
from components.exams.evidence import NO_CENSUS, Census, contradiction, is_one_exam, of_one_patient, person
from schema.features import VIEWS

_MOST_KINDS: Final = 400  # limit for the comparison of all pairs


def _evidence(header: ViewHeader) -> ViewHeader:
    """Return the part of a header that distinguishes exams, without values that differ between images of an exam."""
    return ViewHeader(
        view=VIEWS[0],
        rows=0,
        columns=0,
        system=header.system,
        patient_age=header.patient_age,
        acquisition_year=header.acquisition_year,
        acquired_at=header.acquired_at[:8],
        study_uid=header.study_uid,
        accession_number=header.accession_number,
        study_id=header.study_id,
        patient_id=person(header),
        patient_name=header.patient_name,
        birth_date=header.birth_date,
        sex=header.sex,
        device=header.device,
        station=header.station,
        institution=header.institution,
    )


def separate(headers: Mapping[str, ViewHeader], census: Census = NO_CENSUS) -> list[list[str]] | None:
    """Divide images that contradict each other into exams, if their headers allow only one division.

    Args:
        headers: Image's name -> header of the images of an exam.
        census: Unreliable identifiers of the archive.

    Returns:
        The names per exam: one list if there are no contradictions; None if the images cannot be divided, because an
        image contradicts only some of the others, or because one of two parts lacks a view of a breast, like a stray
        image.
    """
    if contradiction(list(headers.values()), census) is None:
        return [list(headers)]
    alike: dict[ViewHeader, list[str]] = defaultdict(list)
    for name, header in headers.items():
        alike[_evidence(header)].append(name)
    kinds = list(alike)
    if len(kinds) > _MOST_KINDS:
        return None
    pairs = combinations(range(len(kinds)), 2)
    fits = {(a, b): contradiction([kinds[a], kinds[b]], census) is None for a, b in pairs}
    parts: list[list[int]] = []
    for b in range(len(kinds)):
        part = next((part for part in parts if fits[part[0], b]), None)
        if part is None:
            parts.append(part := [])
        part.append(b)
    of = {kind: number for number, part in enumerate(parts) for kind in part}
    if any(fit != (of[a] == of[b]) for (a, b), fit in fits.items()):
        return None
    names = [[name for kind in part for name in alike[kinds[kind]]] for part in parts]
    torn = [_is_torn({headers[name].view for name in part}) for part in names]
    whole = [contradiction([headers[name] for name in part], census) is None for part in names]
    return names if all(whole) and not (len(names) == 2 and any(torn)) else None


def _is_torn(views: set[str]) -> bool:
    """Return True if one of the two standard views of a breast is missing."""
    return any(sum(view.endswith(f"_{side}") for view in views) == 1 for side in "RL")


def _by_folder(headers: Mapping[str, ViewHeader], folder: Callable[[str], Hashable]) -> list[list[str]]:
    """Divide an exam without a common Patient ID by folders, if two of them have the same views in other images."""
    parts: dict[Hashable, dict[str, ViewHeader]] = defaultdict(dict)
    for name, header in headers.items():
        parts[folder(name)][name] = header
    shown = [{(h.view, h.special): (h.sop_uid, h.acquired_at) for h in part.values()} for part in parts.values()]
    again = any(
        sum(view in other and mark != other[view] for view, mark in one.items()) > 1
        for one, other in combinations(shown, 2)
    )
    return (
        [list(part) for part in parts.values()] if again and not of_one_patient([*headers.values()]) else [[*headers]]
    )


def group(headers: Mapping[str, ViewHeader], folder: Callable[[str], Hashable]) -> list[list[str]]:
    """Group images into exams; see the module for the rules.

    Args:
        headers: Image's name -> header.
        folder: Name -> folder of the image.

    Returns:
        The names per exam.
    """
    studies: dict[Hashable, list[str]] = defaultdict(list)
    for name, header in headers.items():
        studies[NO_CENSUS.study(header) or (folder(name),)].append(name)
    # A study per image does not identify an exam, but different studies do not make the images one exam either.
    census = replace(take_census(headers.values()), study_per_image=False)
    exams: list[list[str]] = []
    for names in studies.values():
        for exam in separate({name: headers[name] for name in names}, census) or [names]:
            exams += _by_folder({name: headers[name] for name in exam}, folder)

    together: dict[Hashable, list[list[str]]] = defaultdict(list)
    for exam in exams:
        folders, patients = {folder(name) for name in exam}, {person(headers[name]) for name in exam}
        alone = len(folders) > 1 or len(patients) > 1
        together[tuple(exam) if alone else (folders.pop(), patients.pop())].append(exam)
    result: list[list[str]] = []
    for parts in together.values():
        whole = [name for part in parts for name in part]
        one = is_one_exam([headers[name] for name in whole]) or _is_whole_folder(whole, headers, folder, census)
        result += [whole] if one else parts
    return result


def _is_whole_folder(
    names: list[str], headers: Mapping[str, ViewHeader], folder: Callable[[str], Hashable], census: Census
) -> bool:
    """Return True if images are all of a folder, one per view, with separate studies and no contradictions."""
    images = [headers[name] for name in names]
    if len(images) != len(VIEWS) or {header.view for header in images} != set(VIEWS):
        return False
    alone = sum(folder(name) == folder(names[0]) for name in headers) == len(images)
    studies = {header.study_uid for header in images}
    return alone and studies <= census.single_image_studies and contradiction(images, census) is None
