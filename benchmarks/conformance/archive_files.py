"""Writes archives: small DICOM files in folders, and a label table, as consoles, anonymisers and spreadsheets do."""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom import uid

from benchmarks.conformance import archives
from benchmarks.conformance.archives import (
    CLASSES,
    Archive,
    Exam,
    Image,
    exam_name,
    exams_of,
    hashed,
    new_uid,
    patient_id,
)
from benchmarks.reference_images import mammogram
from schema.features import VIEWS


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
        """Return True if the table names files."""
        return self.archive.key == "manifest"

    def is_ambiguous(self, exam: Exam) -> bool:
        """Return True if the label's name of an exam is also the name of another exam."""
        return any(other != exam and self.name_of(other) == self.name_of(exam) for other in exams_of(self.archive))

    def name_of(self, exam: Exam) -> str:
        """Return the name that the table would have for an exam."""
        return exam_name(self.archive, exam)


_SYSTEMS: Final = (
    ("GE MEDICAL SYSTEMS", "Senographe DS", "ADS_53.40"),
    ("HOLOGIC, Inc.", "Selenia Dimensions", "AWS:1.8"),
    ("SIEMENS", "Mammomat Inspiration", "VB30"),
)


def is_spoilt(archive: Archive, exam: Exam, view: str, take: int) -> bool:
    """Return True if the pixels of an image show nothing; the header does not say so."""
    taken_twice = archive.retake and exam == exams_of(archive)[:2][-1] and view == _views(archive, exam)[0]
    return taken_twice and archive.spoilt in ("both", ("first", "second")[take])


def _views(archive: Archive, exam: Exam) -> list[str]:
    return [view for view in VIEWS if view[-1] not in _removed(archive, exam.woman)]


def _picture(archive: Archive, exam: Exam, view: str, take: int) -> NDArray[Any]:
    """Draw half a breast with grain of its own, uint16 [144, 120], or nothing."""
    if is_spoilt(archive, exam, view, take):
        return np.full((144, 120), 100 * take, np.uint16)  # one grey each: two that are equal would be copies
    random = np.random.default_rng([archive.seed, exam.number, VIEWS.index(view), take])
    y, x = np.mgrid[:144, :120]
    depth = 1 - (x / 100) ** 2 - ((y - 72) / 60) ** 2
    tissue = 600 + 2200 * np.sqrt(np.clip(depth, 0, 1)) + random.normal(0, 60, depth.shape)
    half = np.where(depth > 0, np.clip(tissue, 1, 4095), 0).astype(np.uint16)
    return np.ascontiguousarray(half[:, ::-1]) if view.endswith("R") else half


def _file_bytes(archive: Archive, exam: Exam, view: str, take: int) -> bytes:
    projection, side = view.split("_")
    maker, model, software = _SYSTEMS[exam.woman % 3 if archive.machines == "several" else 0]
    age = exam.day.year - archives.born(archive, exam.woman).year
    changes: dict[str, Any] = {
        "SOPInstanceUID": archives.sop_uid(archive, exam, view, take),
        "StudyInstanceUID": archives.study_uid(archive, exam, view, take),
        "PatientID": patient_id(archive, exam.woman, view),
        "PatientName": "",
        "PatientSex": "F",
        "PatientBirthDate": f"{archives.born(archive, exam.woman):%Y%m%d}" if archive.people == "kept" else "",
        "PatientAge": f"{age:03}Y" if archive.people != "blank" else "",
        "StudyID": archives.study_id(archive, exam),
        "AccessionNumber": archives.accession(archive, exam),
        "ViewPosition": projection,
        "ImageLaterality": side,
        "Manufacturer": maker,
        "ManufacturerModelName": model,
        "SoftwareVersions": software,
        "ImagerPixelSpacing": [1.6, 1.6],
        "PatientOrientation": ["P" if side == "R" else "A", "L" if side == "R" else "R"],
    }
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        changes[keyword] = archives.day(archive, exam)
    if archive.dates != "blank":
        changes["AcquisitionTime"] = f"10{VIEWS.index(view) + 5 * take:02}00"
    if projection == "CC":
        del changes["PatientOrientation"]
    dataset = mammogram(_picture(archive, exam, view, take), 12, **changes)
    implicit = archive.seed % 2 == 0
    syntax = uid.UID(uid.ImplicitVRLittleEndian if implicit else uid.ExplicitVRLittleEndian)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.file_meta.MediaStorageSOPInstanceUID = uid.UID(new_uid(archive.seed, exam.number, view, take, "meta"))
    buffer = io.BytesIO()
    pydicom.dcmwrite(buffer, dataset, implicit_vr=implicit, little_endian=True, enforce_file_format=True)
    return buffer.getvalue()


def _removed(archive: Archive, woman: int) -> str:
    """Return the side that a woman has lost."""
    if archive.unilateral and woman == 0:
        return "L"
    return "R" if archive.unilateral == "both" and woman == 1 else ""


def _folder(archive: Archive, exam: Exam, place: int) -> str:
    """Return the folder of the image that is the ``place``-th of its exam."""
    place_hash = hashed(f"{archive.seed} {exam.number} {place}")
    return {
        "flat": "",
        "exam": f"E{exam.number:03}",
        "exam/series": f"E{exam.number:03}/{place + 1}",
        "patient/exam": f"P{exam.woman:03}/E{exam.number:03}",
        "patient/number": f"P{exam.woman:03}/{exam.within + 1}",
        "numbered": f"{exam.number + 1}/{place + 1}",
        "hashed": f"{place_hash[:2]}/{place_hash[2:4]}",
        "dicomdir": f"DICOM/PAT{exam.woman:02}/ST{exam.within:02}/SE{place:02}",
    }[archive.layout]


def _name(archive: Archive, exam: Exam, view: str, take: int, place: int) -> str:
    if archive.layout == "flat":
        return f"{exam.number:03}_{view}_{take}.dcm"
    if archive.layout in ("numbered", "dicomdir"):
        return f"IM{place:02}"
    if archive.layout == "hashed":
        return hashed(f"file {archive.seed} {exam.number} {view} {take}")
    return f"{view}_{take}.dcm" if take else f"{view}.dcm"


def _table(archive: Archive, rows: list[tuple[str, ...]], columns: tuple[str, ...]) -> bytes:
    separator = {"semicolon": ";", "sep line": ";", "tabs": "\t"}.get(archive.table, ",")
    lines = [columns, *rows]
    if archive.table == "numbers":
        place = columns.index("density")
        lines[1:] = [(*r[:place], str(CLASSES.index(r[place]) + 1), *r[place + 1 :]) for r in rows]
    text = "".join(separator.join(line) + "\r\n" for line in lines)
    if archive.table == "sep line":
        text = "sep=;\r\n" + text
    return text.encode("utf-8-sig" if archive.table == "bom" else "utf-8")


def write(archive: Archive, folder: Path) -> Truth:
    """Write an archive.

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
        views = _views(archive, exam)
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
        labels = root / "manifest.csv"
        columns: tuple[str, ...] = ("exam_id", "view", "file", "density")
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
    pydicom.dcmwrite(root / "report.dcm", other, implicit_vr=False, little_endian=True, enforce_file_format=True)
    (root / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    return ("notes.txt", "report.dcm", "DICOMDIR")
