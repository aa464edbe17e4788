"""Archives whose truth is known: women, their exams, and what consoles, anonymisers and spreadsheets make of them.

An archive is described by a frozen dataclass, like a grey-scale case, and written to disk by ``archive_files``. The
truth stays outside: for each file its woman, exam, view, and of which file it is a copy.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from random import Random
from typing import Final

LAYOUTS: Final = (*("flat", "exam", "exam/series", "patient/exam", "patient/number", "numbered", "hashed", "dicomdir"),)
KEYS: Final = ("study_uid", "accession", "folder", "study_id", "patient", "patient folder", "manifest")
CLASSES: Final = "ABCD"


@dataclass(frozen=True)
class Archive:
    """One archive.

    Attributes:
        seed: Of days, ages and pixels.
        women: How many.
        several: Every second woman has two exams, three years apart.
        layout: How folders are laid out, see ``LAYOUTS``.
        key: What the labels name exams by, see ``KEYS``.
        table: How the table is written: ``plain``, ``semicolon``, ``sep line``, ``bom``, ``numbers``, ``tabs``.
        patient_ids: ``kept``, ``hashed``, ``constant``, ``blank``, or ``per image`` (woman and view, as CBIS-DDSM).
        study_uids: ``kept``, ``per image``, ``constant``, ``blank``.
        sop_uids: ``kept``, ``constant``, ``per exam``, ``blank``.
        dates: ``kept``, ``shifted`` (by days that differ by woman), ``blank``.
        people: Birth date and age: ``kept``, ``ages``, ``blank``.
        study_ids: ``kept``, ``1``, ``blank``.
        accessions: ``kept``, ``constant``, ``blank``.
        machines: ``one`` or ``several``.
        unlabelled: The last exam has no label.
        unilateral: ``first`` woman has one breast, the right one; of ``both`` the first two women one has the other.
        retake: One view of the second exam was taken twice.
        spoilt: Of such a view, the ``first`` or the ``second`` image, or ``both``, have pixels of one grey.
        misfiled: One image of the last exam lies in the folder of the first.
        copies: Some files lie there twice, under another name.
        links: One exam's folder is a link to a folder elsewhere.
        strays: Notes, a DICOMDIR and a file of another modality lie about.
    """

    seed: int = 0
    women: int = 3
    several: bool = False
    layout: str = "exam"
    key: str = "folder"
    table: str = "plain"
    patient_ids: str = "kept"
    study_uids: str = "kept"
    sop_uids: str = "kept"
    dates: str = "kept"
    people: str = "kept"
    study_ids: str = "kept"
    accessions: str = "kept"
    machines: str = "one"
    unlabelled: bool = False
    unilateral: str = ""
    retake: bool = False
    spoilt: str = ""
    misfiled: bool = False
    copies: bool = False
    links: bool = False
    strays: bool = False


@dataclass(frozen=True)
class Exam:
    """One exam, as it was: its number, its woman, which of her exams it is, its day and density."""

    number: int
    woman: int
    within: int
    day: date
    density: str


@dataclass(frozen=True)
class Image:
    """One file, as it was.

    Attributes:
        exam: Its exam.
        view: Its view.
        take: 0, or 1 for the second time that the view was taken.
        copy_of: File that it is a copy of; empty = none.
    """

    exam: Exam
    view: str
    take: int = 0
    copy_of: str = ""


def exams_of(archive: Archive) -> tuple[Exam, ...]:
    """List the exams of an archive."""
    random, exams = Random(archive.seed), list[Exam]()
    for woman in range(archive.women):
        first = date(2012, 1, 1) + timedelta(days=random.randrange(2000))
        for year in range(2 if archive.several and woman % 2 == 0 else 1):
            number = len(exams)
            exams.append(
                Exam(number, woman, year, first + timedelta(days=1100 * year), CLASSES[(number + archive.seed) % 4])
            )
    return tuple(exams)


# ---- What anonymisers leave


def hashed(text: str) -> str:
    """Make 16 hexadecimal digits of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16].upper()


def new_uid(*parts: object) -> str:
    """Make a UID of what it stands for."""
    return f"2.25.{int(hashlib.sha256(repr(parts).encode()).hexdigest()[:24], 16)}"


def patient_id(archive: Archive, woman: int, view: str = "") -> str:
    """Return the Patient ID in the files; ``view`` counts where each image has its own."""
    return {
        "kept": f"MRN{archive.seed:03}{woman:03}",
        "hashed": hashed(f"{archive.seed} {woman}"),
        "constant": ("ANONYMOUS", "anon", "0", "REMOVED")[archive.seed % 4],
        "blank": "",
        "per image": f"Mass-Test_P_{archive.seed:03}{woman:02}_{'LEFT' if view.endswith('L') else 'RIGHT'}_{view[:-2]}",
    }[archive.patient_ids]


def study_uid(archive: Archive, exam: Exam, view: str, take: int) -> str:
    """Return the Study Instance UID in the files."""
    return {
        "kept": new_uid(archive.seed, exam.number),
        "per image": new_uid(archive.seed, exam.number, view, take, "study"),
        "constant": "1.2.3.4.5",
        "blank": "",
    }[archive.study_uids]


def sop_uid(archive: Archive, exam: Exam, view: str, take: int) -> str:
    """Return the SOP Instance UID in the files."""
    return {
        "kept": new_uid(archive.seed, exam.number, view, take),
        "constant": "1.2.3.4.5.6",
        "per exam": new_uid(archive.seed, exam.number, "sop"),
        "blank": "",
    }[archive.sop_uids]


def study_id(archive: Archive, exam: Exam) -> str:
    """Return the Study ID in the files."""
    return {"kept": f"S{archive.seed}{exam.number:02}", "1": "1", "blank": ""}[archive.study_ids]


def accession(archive: Archive, exam: Exam) -> str:
    """Return the Accession Number in the files."""
    return {"kept": f"A{archive.seed:04}{exam.number:02}", "constant": "0", "blank": ""}[archive.accessions]


def day(archive: Archive, exam: Exam) -> str:
    """Return the dates in the files."""
    if archive.dates == "blank":
        return ""
    shift = timedelta(days=37 + 11 * exam.woman) if archive.dates == "shifted" else timedelta()
    return f"{exam.day - shift:%Y%m%d}"


def born(archive: Archive, woman: int) -> date:
    """Return the day on which a woman was born."""
    return date(1950 + (archive.seed + 7 * woman) % 20, 1 + woman % 12, 3)


def exam_name(archive: Archive, exam: Exam) -> str:
    """Return the name of an exam in the label table; empty if its key does not exist."""
    folder = {
        "exam": f"E{exam.number:03}",
        "exam/series": f"E{exam.number:03}",
        "patient/exam": f"E{exam.number:03}",
        "patient/number": str(exam.within + 1),
        "numbered": str(exam.number + 1),
    }.get(archive.layout, "")
    return {
        "study_uid": study_uid(archive, exam, "CC_R", 0) if archive.study_uids in ("kept", "constant") else "",
        "accession": accession(archive, exam),
        "folder": folder,
        "study_id": study_id(archive, exam),
        "patient": "" if archive.patient_ids == "per image" else patient_id(archive, exam.woman),
        "patient folder": f"P{exam.woman:03}" if archive.layout.startswith("patient/") else "",
        "manifest": f"X{exam.number}",
    }[archive.key]


def is_possible(archive: Archive) -> bool:
    """Return True if a description is consistent: the key of its labels must exist."""
    return archive.women > 0 and all(exam_name(archive, exam) for exam in exams_of(archive))


def draw(random: Random, number: int) -> Archive:
    """Draw an archive."""
    while True:
        archive = Archive(
            seed=number,
            women=random.randint(1, 4),
            several=random.random() < 0.4,
            layout=random.choice(LAYOUTS),
            key=random.choice(KEYS),
            table=random.choice(("plain", "plain", "semicolon", "sep line", "bom", "numbers", "tabs")),
            patient_ids=random.choice(("kept", "hashed", "constant", "constant", "blank", "per image")),
            study_uids=random.choice(("kept", "kept", "per image", "constant", "blank")),
            sop_uids=random.choice(("kept", "kept", "kept", "constant", "per exam", "blank")),
            dates=random.choice(("kept", "shifted", "blank")),
            people=random.choice(("kept", "ages", "blank")),
            study_ids=random.choice(("kept", "1", "1", "blank")),
            accessions=random.choice(("kept", "constant", "blank")),
            machines=random.choice(("one", "several")),
            unlabelled=random.random() < 0.4,
            unilateral=random.choice(("", "", "", "", "first", "both")),
            retake=random.random() < 0.25,
            misfiled=random.random() < 0.15,
            copies=random.random() < 0.2,
            links=random.random() < 0.1,
            strays=random.random() < 0.3,
            spoilt=random.choice(("", "first", "second", "both")),
        )
        if is_possible(archive):
            return archive
