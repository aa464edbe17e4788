"""Exam and label of each image, in generated archives with known truth."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from components.dicom.headers.header import ViewHeader
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.planning import InspectedFile, plan
from components.sources.candidates import Candidate, Label
from schema.acquisition import AcquisitionSystem
from schema.features import VIEWS

SYSTEMS = [AcquisitionSystem("GE", "DS", "1"), AcquisitionSystem("HOLOGIC", "Selenia", "2")]
NO_SYSTEM = AcquisitionSystem("unknown", "unknown", "unknown")


@dataclass(frozen=True)
class Image:
    """An image and its truth."""

    file: str
    exam: int
    woman: int
    header: ViewHeader


@st.composite
def archives(draw: st.DrawFn) -> tuple[list[Image], dict[str, Label], dict[int, str]]:
    """Exams of women in a layout, after an anonymiser, labelled by a kind of key; and each exam's density."""
    women = draw(st.integers(1, 4))
    exams = [(exam, woman) for exam, woman in enumerate(sorted(draw(st.integers(0, women - 1)) for _ in range(women)))]
    layout = draw(st.sampled_from(["flat", "exam", "exam/series", "patient/exam", "numbered", "patient/exam numbered"]))
    ids = draw(st.sampled_from(["kept", "one", "ANONYMOUS", "blank", "per image"]))
    studies = draw(st.sampled_from(["kept", "one", "blank", "per image"]))
    dates = draw(st.sampled_from(["kept", "blank"]))
    persons = draw(st.sampled_from(["kept", "blank"]))
    machines = draw(st.sampled_from(["kept", "blank"]))
    study_ids = draw(st.sampled_from(["1", "", "exam", "shuffled"]))
    accessions = draw(st.sampled_from(["", "1", "exam"]))
    by = draw(st.sampled_from(["study", "accession", "folder", "patient", "study id"]))
    rotated = draw(st.booleans())
    order = draw(st.permutations(range(len(exams))))
    images = []
    for exam, woman in exams:
        shown = draw(st.sampled_from([VIEWS, VIEWS, ("CC_R", "MLO_R"), ("CC_L", "MLO_L")]))
        for number, view in enumerate(shown):
            series = (number + (exam if rotated else 0)) % 4 + 1
            unique = f"{exam}.{number}"
            folder = {
                "flat": "",
                "exam": f"E{exam}/",
                "exam/series": f"E{exam}/S{series}/",
                "patient/exam": f"P{woman}/E{exam}/",
                "numbered": f"{exam + 1}/{series}/",
                "patient/exam numbered": f"{woman + 1}/{exam + 1}/",
            }[layout]
            number_of = {"exam": f"{exam + 1}", "shuffled": f"{order[exam] + 1}"}
            header = ViewHeader(
                view=view,
                rows=10,
                columns=10,
                system=SYSTEMS[woman % 2] if machines == "kept" else NO_SYSTEM,
                patient_age=40 + 7 * woman + exam if persons == "kept" else -1,
                acquisition_year=2010 + exam if dates == "kept" else -1,
                acquired_at=f"{2010 + exam}0101" if dates == "kept" else "",
                study_uid={"kept": f"1.2.{exam + 7}", "one": "1.2.3", "blank": "", "per image": f"1.2.{unique}"}[
                    studies
                ],
                sop_uid=f"9.{unique}",
                accession_number=f"A{exam}" if accessions == "exam" else accessions,
                study_id=number_of.get(study_ids, study_ids),
                patient_id={"kept": f"MRN{woman}", "one": "X17", "blank": "", "per image": f"Q{unique}"}.get(ids, ids),
                birth_date=f"19{50 + woman}0102" if persons == "kept" else "",
            )
            images.append(Image(f"{folder}{exam}{number}{view}.dcm", exam, woman, header))
    key_of = {image.file: _key(image, by, layout) for image in images}
    for key in set(key_of.values()):  # a table has a row an exam; of patients, a woman may have two
        named = {image.woman if by == "patient" else image.exam for image in images if key_of[image.file] == key}
        assume(len(named) == 1)
    labelled = draw(st.sets(st.sampled_from([exam for exam, _ in exams]), min_size=1))
    densities = {exam: draw(st.sampled_from("ABCD")) for exam, _ in exams}
    labels: dict[str, Label] = {}
    for image in images:
        if image.exam in labelled and (key := key_of[image.file]):
            labels[key] = Label(key, densities[image.exam])
    return images, labels, densities


def _key(image: Image, by: str, layout: str) -> str:
    header, folders = image.header, image.file.split("/")[:-1]
    place = {"flat": None, "patient/exam": 1, "patient/exam numbered": 1}.get(layout, 0)
    if by == "folder":
        return "" if place is None else folders[place]
    return {
        "study": header.study_uid,
        "accession": header.accession_number,
        "patient": header.patient_id,
        "study id": header.study_id,
    }[by]


def outcomes_of(images: list[Image]) -> list[InspectedFile]:
    return [InspectedFile(Candidate(image.file), image.header) for image in images]


def told_apart(images: list[Image]) -> bool:
    """Return True if headers distinguish two exams; they cannot if all remaining values are equal.

    Of one woman on days unknown, exams that show no view twice may be one.
    """
    exams = {image.exam: [other.header for other in images if other.exam == image.exam] for image in images}
    views = [image.header.view for image in images]
    apart = len({image.woman for image in images}) > 1 or len(set(views)) < len(views)
    names = ["system", "acquired_at", "birth_date", *(["study_uid", "accession_number", "patient_id"] if apart else [])]
    for name in names:
        values = [{getattr(header, name) for header in headers} for headers in exams.values()]
        if len(exams) > 1 and all(len(found) == 1 for found in values) and len(set.union(*values)) == len(values):
            return True
    return False


@pytest.mark.slow
@settings(max_examples=400)
@given(archives())
def test_no_image_is_in_another_exam_and_every_image_is_counted(
    archive: tuple[list[Image], dict[str, Label], dict[int, str]],
) -> None:
    images, labels, densities = archive
    result = plan(outcomes_of(images), dict(labels), IngestConfig(), b"key")
    assert len(result.accepted) + len(result.rejected) == len(images)
    by_file = {image.file: image for image in images}
    exams: dict[str, list[Image]] = {}
    for view in result.accepted:
        exams.setdefault(view.exam_hash, []).append(by_file[view.file])
        assert view.exam_by
        assert view.label_by
    for joined in exams.values():
        assert len({image.exam for image in joined}) == 1 or not told_apart(joined)
    for view in result.accepted:
        mates = [by_file[v.file] for v in result.accepted if v.exam_hash == view.exam_hash]
        image = by_file[view.file]
        assert view.density == densities[image.exam] or not told_apart(mates), (view, image)
