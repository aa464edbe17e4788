"""Archives whose truth is known: women, their exams, and what consoles, anonymisers and spreadsheets make of them.

An archive is described by a frozen dataclass, like a grey-scale case, and written to disk as small DICOM files and a
label table. The truth stays outside: for each file its woman, exam, view, and of which file it is a copy.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from datetime import date, timedelta
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np
import pydicom
from pydicom import uid

from benchmarks.reference_images import mammogram
from schema.features import VIEWS

LAYOUTS: Final = (*("flat", "exam", "exam/series", "patient/exam", "patient/number", "numbered", "hashed", "dicomdir"),)
KEYS: Final = ("study_uid", "accession", "folder", "study_id", "patient", "patient folder", "manifest")
_CLASSES: Final = "ABCD"


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


@dataclass(frozen=True)
class Truth:
    """What lies on disk.

    Attributes:
        archive: Its description.
        root: Folder of the images.
        labels: Label table or manifest.
        files: File relative to ``root`` -> what it is.
        others: Files that are no mammogram.
        named: Exam -> label table's name for it; absent = without a label.
    """

    archive: Archive
    root: Path
    labels: Path
    files: dict[str, Image]
    others: tuple[str, ...]
    named: dict[Exam, str]

    @property
    def is_manifest(self) -> bool:
        """Whether the table names files."""
        return self.archive.key == "manifest"

    def is_ambiguous(self, exam: Exam) -> bool:
        """Whether the label's name for an exam is that of another exam, too."""
        return any(other != exam and self.name_of(other) == self.name_of(exam) for other in exams_of(self.archive))

    def name_of(self, exam: Exam) -> str:
        """Returns the name that the table would have for an exam."""
        return exam_name(self.archive, exam)


def exams_of(archive: Archive) -> tuple[Exam, ...]:
    """Lists the exams of an archive."""
    random, exams = Random(archive.seed), list[Exam]()
    for woman in range(archive.women):
        first = date(2012, 1, 1) + timedelta(days=random.randrange(2000))
        for year in range(2 if archive.several and woman % 2 == 0 else 1):
            number = len(exams)
            exams.append(
                Exam(number, woman, year, first + timedelta(days=1100 * year), _CLASSES[(number + archive.seed) % 4])
            )
    return tuple(exams)


# ---- What anonymisers leave


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16].upper()


def _uid(*parts: object) -> str:
    return f"2.25.{int(hashlib.sha256(repr(parts).encode()).hexdigest()[:24], 16)}"


def patient_id(archive: Archive, woman: int, view: str = "") -> str:
    """Returns the Patient ID in the files; ``view`` counts where each image has its own."""
    return {
        "kept": f"MRN{archive.seed:03}{woman:03}",
        "hashed": _hashed(f"{archive.seed} {woman}"),
        "constant": ("ANONYMOUS", "anon", "0", "REMOVED")[archive.seed % 4],
        "blank": "",
        "per image": f"Mass-Test_P_{archive.seed:03}{woman:02}_{'LEFT' if view.endswith('L') else 'RIGHT'}_{view[:-2]}",
    }[archive.patient_ids]


def _study_uid(archive: Archive, exam: Exam, view: str, take: int) -> str:
    return {
        "kept": _uid(archive.seed, exam.number),
        "per image": _uid(archive.seed, exam.number, view, take, "study"),
        "constant": "1.2.3.4.5",
        "blank": "",
    }[archive.study_uids]


def _sop_uid(archive: Archive, exam: Exam, view: str, take: int) -> str:
    return {
        "kept": _uid(archive.seed, exam.number, view, take),
        "constant": "1.2.3.4.5.6",
        "per exam": _uid(archive.seed, exam.number, "sop"),
        "blank": "",
    }[archive.sop_uids]


def _study_id(archive: Archive, exam: Exam) -> str:
    return {"kept": f"S{archive.seed}{exam.number:02}", "1": "1", "blank": ""}[archive.study_ids]


def _accession(archive: Archive, exam: Exam) -> str:
    return {"kept": f"A{archive.seed:04}{exam.number:02}", "constant": "0", "blank": ""}[archive.accessions]


def _day(archive: Archive, exam: Exam) -> str:
    if archive.dates == "blank":
        return ""
    shift = timedelta(days=37 + 11 * exam.woman) if archive.dates == "shifted" else timedelta()
    return f"{exam.day - shift:%Y%m%d}"


def _born(archive: Archive, woman: int) -> date:
    return date(1950 + (archive.seed + 7 * woman) % 20, 1 + woman % 12, 3)


_SYSTEMS: Final = (
    ("GE MEDICAL SYSTEMS", "Senographe DS", "ADS_53.40"),
    ("HOLOGIC, Inc.", "Selenia Dimensions", "AWS:1.8"),
    ("SIEMENS", "Mammomat Inspiration", "VB30"),
)


def _picture(archive: Archive, exam: Exam, view: str, take: int) -> np.ndarray:
    """Draws half a breast with grain of its own, uint16 [144, 120]."""
    random = np.random.default_rng([archive.seed, exam.number, VIEWS.index(view), take])
    y, x = np.mgrid[:144, :120]
    depth = 1 - (x / 100) ** 2 - ((y - 72) / 60) ** 2
    tissue = 600 + 2200 * np.sqrt(np.clip(depth, 0, 1)) + random.normal(0, 60, depth.shape)
    half = np.where(depth > 0, np.clip(tissue, 1, 4095), 0).astype(np.uint16)
    return np.ascontiguousarray(half[:, ::-1]) if view.endswith("R") else half


def _file_bytes(archive: Archive, exam: Exam, view: str, take: int) -> bytes:
    projection, side = view.split("_")
    maker, model, software = _SYSTEMS[exam.woman % 3 if archive.machines == "several" else 0]
    age = exam.day.year - _born(archive, exam.woman).year
    changes: dict[str, Any] = {
        "SOPInstanceUID": _sop_uid(archive, exam, view, take),
        "StudyInstanceUID": _study_uid(archive, exam, view, take),
        "PatientID": patient_id(archive, exam.woman, view),
        "PatientName": "",
        "PatientSex": "F",
        "PatientBirthDate": f"{_born(archive, exam.woman):%Y%m%d}" if archive.people == "kept" else "",
        "PatientAge": f"{age:03}Y" if archive.people != "blank" else "",
        "StudyID": _study_id(archive, exam),
        "AccessionNumber": _accession(archive, exam),
        "ViewPosition": projection,
        "ImageLaterality": side,
        "Manufacturer": maker,
        "ManufacturerModelName": model,
        "SoftwareVersions": software,
        "ImagerPixelSpacing": [1.6, 1.6],
        "PatientOrientation": ["P" if side == "R" else "A", "L" if side == "R" else "R"],
    }
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        changes[keyword] = _day(archive, exam)
    if archive.dates != "blank":
        changes["AcquisitionTime"] = f"10{VIEWS.index(view) + 5 * take:02}00"
    if projection == "CC":
        del changes["PatientOrientation"]
    dataset = mammogram(_picture(archive, exam, view, take), 12, **changes)
    implicit = archive.seed % 2 == 0
    syntax = uid.UID(uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPInstanceUID = _uid(archive.seed, exam.number, view, take, "meta")
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


def _removed(archive: Archive, woman: int) -> str:
    """Returns the side that a woman has lost."""
    if archive.unilateral and woman == 0:
        return "L"
    return "R" if archive.unilateral == "both" and woman == 1 else ""


# ---- Where files lie


def _folder(archive: Archive, exam: Exam, place: int) -> str:
    """Returns the folder of the image that is the ``place``-th of its exam."""
    hashed = _hashed(f"{archive.seed} {exam.number} {place}")
    return {
        "flat": "",
        "exam": f"E{exam.number:03}",
        "exam/series": f"E{exam.number:03}/{place + 1}",
        "patient/exam": f"P{exam.woman:03}/E{exam.number:03}",
        "patient/number": f"P{exam.woman:03}/{exam.within + 1}",
        "numbered": f"{exam.number + 1}/{place + 1}",
        "hashed": f"{hashed[:2]}/{hashed[2:4]}",
        "dicomdir": f"DICOM/PAT{exam.woman:02}/ST{exam.within:02}/SE{place:02}",
    }[archive.layout]


def _name(archive: Archive, exam: Exam, view: str, take: int, place: int) -> str:
    if archive.layout == "flat":
        return f"{exam.number:03}_{view}_{take}.dcm"
    if archive.layout in ("numbered", "dicomdir"):
        return f"IM{place:02}"
    if archive.layout == "hashed":
        return _hashed(f"file {archive.seed} {exam.number} {view} {take}")
    return f"{view}_{take}.dcm" if take else f"{view}.dcm"


def exam_name(archive: Archive, exam: Exam) -> str:
    """Returns what the label table calls an exam; empty where its key does not exist."""
    folder = {
        "exam": f"E{exam.number:03}",
        "exam/series": f"E{exam.number:03}",
        "patient/exam": f"E{exam.number:03}",
        "patient/number": str(exam.within + 1),
        "numbered": str(exam.number + 1),
    }.get(archive.layout, "")
    return {
        "study_uid": _study_uid(archive, exam, "CC_R", 0) if archive.study_uids in ("kept", "constant") else "",
        "accession": _accession(archive, exam),
        "folder": folder,
        "study_id": _study_id(archive, exam),
        "patient": "" if archive.patient_ids == "per image" else patient_id(archive, exam.woman),
        "patient folder": f"P{exam.woman:03}" if archive.layout.startswith("patient/") else "",
        "manifest": f"X{exam.number}",
    }[archive.key]


def is_possible(archive: Archive) -> bool:
    """Tells whether a description makes sense: the key of its labels must exist."""
    return archive.women > 0 and all(exam_name(archive, exam) for exam in exams_of(archive))


def draw(random: Random, number: int) -> Archive:
    """Draws an archive."""
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
        )
        if is_possible(archive):
            return archive


# ---- Writing


def _table(archive: Archive, rows: list[tuple[str, ...]], columns: tuple[str, ...]) -> bytes:
    separator = {"semicolon": ";", "sep line": ";", "tabs": "\t"}.get(archive.table, ",")
    lines = [columns, *rows]
    if archive.table == "numbers":
        place = columns.index("density")
        lines[1:] = [(*r[:place], str(_CLASSES.index(r[place]) + 1), *r[place + 1 :]) for r in rows]
    text = "".join(separator.join(line) + "\r\n" for line in lines)
    if archive.table == "sep line":
        text = "sep=;\r\n" + text
    return text.encode("utf-8-sig" if archive.table == "bom" else "utf-8")


def write(archive: Archive, folder: Path) -> Truth:
    """Writes an archive.

    Args:
        archive: What to write.
        folder: Empty folder to write to.

    Returns:
        What lies there.
    """
    root, away = folder / "images", folder / "elsewhere"
    root.mkdir()
    exams, files = exams_of(archive), dict[str, Image]()
    for exam in exams:
        views = [view for view in VIEWS if view[-1] not in _removed(archive, exam.woman)]
        takes = [(view, 0) for view in views]
        if archive.retake and exam.number == min(1, len(exams) - 1):
            takes.append((views[0], 1))
        for place, (view, take) in enumerate(takes):
            home = exams[0] if archive.misfiled and exam == exams[-1] and place == 0 else exam
            where = Path(_folder(archive, home, place), _name(archive, exam, view, take, place))
            if home != exam:  # beside the image of the same view
                where = where.with_name(f"m_{where.name}")
            files[where.as_posix()] = Image(exam, view, take)
            (root / where).parent.mkdir(parents=True, exist_ok=True)
            (root / where).write_bytes(_file_bytes(archive, exam, view, take))
    if archive.copies:
        for file in sorted(files)[:: max(2, len(files) // 2)]:
            copy = str(Path(file).with_name(f"zcopy_{Path(file).name}"))
            shutil.copyfile(root / file, root / copy)
            files[copy] = replace(files[file], copy_of=file)
    if archive.links and archive.layout in ("exam", "exam/series", "patient/exam", "patient/number", "numbered"):
        top = sorted(file.partition("/")[0] for file in files)[0]
        away.mkdir()
        os.rename(root / top, away / top)
        (root / top).symlink_to(away / top, target_is_directory=True)
    others = _write_strays(root) if archive.strays else ()

    labelled = exams[:-1] if archive.unlabelled and len(exams) > 1 else exams
    named = {exam: exam_name(archive, exam) for exam in labelled}
    if archive.key == "manifest":
        labels, columns = root / "manifest.csv", ("exam_id", "view", "file", "density")
        rows: list[tuple[str, ...]] = [
            (named[image.exam], image.view, file, image.exam.density)
            for file, image in sorted(files.items())
            if image.exam in named
        ]
    else:
        labels, columns = folder / "labels.csv", ("exam_id", "density")
        rows = [(name, exam.density) for exam, name in named.items()]
        if archive.key.startswith("patient"):  # a registry knows one density of a woman
            rows = list({row[0]: row for row in reversed(rows)}.values())
    labels.write_bytes(_table(archive, rows, columns))
    return Truth(archive, root, labels, files, others, named)


def _write_strays(root: Path) -> tuple[str, ...]:
    (root / "notes.txt").write_text("exported by hand\n", encoding="utf-8")
    other = mammogram(np.zeros((8, 8), np.uint16), 12, Modality="SR", SOPClassUID=uid.BasicTextSRStorage)
    del other.PixelData
    pydicom.dcmwrite(root / "report.dcm", other, enforce_file_format=True)
    (root / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    return ("notes.txt", "report.dcm", "DICOMDIR")


# ---- Shrinking

_PLAIN: Final = Archive()


def simpler(archive: Archive) -> Iterator[Archive]:
    """Lists archives that are plainer in one attribute."""
    if archive.women > 1:
        yield replace(archive, women=archive.women - 1)
    for field in fields(Archive):
        plain = getattr(_PLAIN, field.name)
        if field.name not in ("women", "seed") and getattr(archive, field.name) != plain:
            yield replace(archive, **{field.name: plain})
