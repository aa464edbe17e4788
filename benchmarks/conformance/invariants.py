"""What must hold of every archive, whatever its labels and headers are, and what is merely counted."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from benchmarks.conformance.archive_files import Truth, write
from benchmarks.conformance.archives import Archive, Exam, Image
from components.dicom.rejections import ManifestError
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.identity import find_key
from components.exam_model.recipe import PreprocessingRecipe
from components.sources.source import FolderSource, ManifestSource
from pipeline.describe import describe_source
from pipeline.predict.find import find_exams
from serving.client.preprocessing import SeveralExamsError, prepare_files

Row = Mapping[str, Any]

CONFIG: Final = IngestConfig()
RECIPE: Final = PreprocessingRecipe()
# What headers cannot tell: `describe` does not know it, `run` does.
_BY_PIXELS: Final = frozenset({"duplicate", "implausible_pixels", "undecodable_pixels", "truncated"})


@dataclass(frozen=True)
class Broken:
    """One broken invariant: which, and what was seen (files by their names in the archive)."""

    rule: str
    seen: str


@dataclass(frozen=True)
class Judgement:
    """What became of an archive.

    Attributes:
        archive: The archive.
        broken: Broken invariants.
        lost: Kind -> exams whose labels are unambiguous, of which no image was accepted.
        usable: Exams whose labels are unambiguous.
        refused_table: The label table was refused as a whole, with this message.
        undecidable: Exams that nothing but a folder's name tells from another, and that were joined.
    """

    archive: Archive
    broken: tuple[Broken, ...] = ()
    lost: dict[str, int] = field(default_factory=dict)
    usable: int = 0
    refused_table: str = ""
    undecidable: int = 0


def can_be_told_apart(archive: Archive, one: Exam, other: Exam) -> bool:
    """Return True if the headers distinguish two exams."""
    by_woman = one.woman != other.woman and (
        archive.patient_ids in ("kept", "hashed", "per image")
        or archive.people != "blank"
        or archive.machines == "several"
    )
    by_exam = (
        archive.study_uids == "kept"
        or archive.dates != "blank"
        or archive.accessions == "kept"
        or archive.study_ids == "kept"
        or (archive.people == "ages" and one.woman == other.woman)  # she is three years older
    )
    return by_woman or by_exam


def _pairs(exams: Iterable[Exam]) -> Iterator[tuple[Exam, Exam]]:
    ordered = sorted(set(exams), key=lambda e: e.number)
    yield from ((one, other) for n, one in enumerate(ordered) for other in ordered[n + 1 :])


def _purity(truth: Truth, groups: Mapping[str, list[Image]], where: str) -> Iterator[Broken]:
    for images in groups.values():
        for one, other in _pairs(image.exam for image in images):
            if not can_be_told_apart(truth.archive, one, other):
                continue
            if one.woman != other.woman:
                yield Broken(f"{where}: no exam of two women", f"exams {one.number} and {other.number}")
            else:
                yield Broken(f"{where}: no exam of two days", f"exams {one.number} and {other.number}")


def _kept_instead(row: Row) -> str:
    """Return the file that a row of a duplicate names; empty for other rows."""
    is_copy = row.get("reason") in ("duplicate", "duplicate_view")
    return re.split(r"(?:that|those) of ", row["value"])[-1] if is_copy else ""


def _reasons(truth: Truth, rows: Mapping[str, Row]) -> Iterator[Broken]:
    """Check that the reason of every rejection is true, where the truth decides it."""
    accepted = {file for file, row in rows.items() if row["outcome"] == "accepted"}
    for file, row in rows.items():
        if (kept := _kept_instead(row)) and kept not in accepted:
            yield Broken("a duplicate names a file that is kept", f"{file}: {row['value']}")
    reasons: dict[str, list[str]] = defaultdict(list)
    for file, row in rows.items():
        if row["outcome"] == "rejected" and file in truth.files:
            reasons[row["reason"]].append(file)
    copied = {image.copy_of for image in truth.files.values()}
    for file in reasons["duplicate"]:
        if not truth.files[file].copy_of and file not in copied:
            yield Broken("reason is true: duplicate", f"{file} has no copy")
    for file in reasons["duplicate_view"]:
        image = truth.files[file]
        others = [f for f in accepted if f in truth.files and truth.files[f].view == image.view]
        if not any(truth.files[f].exam == image.exam for f in others):
            exams = {truth.files[f].exam for f in others}
            if all(can_be_told_apart(truth.archive, image.exam, exam) for exam in exams):
                yield Broken("reason is true: duplicate_view", f"{file} is the only one of its view")
    for file in reasons["no_label"]:
        exam = truth.files[file].exam
        if exam in truth.named and not truth.is_ambiguous(exam) and truth.is_manifest:
            yield Broken("reason is true: no_label", f"{file} is named by the manifest")
    women = {truth.files[file].exam.woman for file in reasons["mixed_patients"]}
    if len(women) == 1:
        yield Broken("reason is true: mixed_patients", f"all {len(reasons['mixed_patients'])} files are of one woman")
    days = {truth.files[file].exam for file in reasons["several_exams"]}
    # A second take under a study of its own, on a day unknown, could be of another exam.
    if len(days) == 1 and truth.archive.study_uids != "per image":
        yield Broken("reason is true: several_exams", f"all {len(reasons['several_exams'])} files are of one exam")
    never = {"not_mammography", "not_dicom", "malformed_header", "truncated", "unknown_view", "split_conflict"}
    for reason in never & reasons.keys():
        yield Broken(f"reason is true: {reason}", reasons[reason][0])


def _rows_rules(truth: Truth, rows: Mapping[str, Row], ignored: int) -> Iterator[Broken]:
    """Check the rows of ``files.jsonl``."""
    groups: dict[str, list[Image]] = defaultdict(list)
    for file, row in rows.items():
        if row["outcome"] != "accepted":
            continue
        image = truth.files.get(file)
        if image is None:
            yield Broken("only mammograms are accepted", file)
            continue
        groups[row["exam_id"]].append(image)
        if image.exam not in truth.named and not (
            truth.archive.key.startswith("patient") and truth.is_ambiguous(image.exam)
        ):
            yield Broken("no image without a label", f"{file} of an exam that has none")
        elif row["density"] != image.exam.density and not truth.is_ambiguous(image.exam):
            yield Broken("no image under another exam's label", f"{file}: {row['density']} for {image.exam.density}")
        if row["view"] != image.view:
            yield Broken("views are right", file)
    yield from _purity(truth, groups, "ingest")
    by_file = truth.files if not truth.is_manifest else {f: i for f, i in truth.files.items() if i.exam in truth.named}
    missing = by_file.keys() - rows.keys()
    linked = [file for file in missing if (truth.root / file.partition("/")[0]).is_symlink()]
    if len(missing) > len(linked) or (linked and not ignored):
        yield Broken("found = accepted + rejected", f"{len(missing)} files vanished, as {sorted(missing)[0]}")
    yield from _reasons(truth, rows)
    if truth.archive.patient_ids in ("kept", "hashed"):
        splits: dict[int, set[str]] = defaultdict(set)
        for file, row in rows.items():
            if row["outcome"] == "accepted" and file in truth.files:
                splits[truth.files[file].exam.woman].add(row["split"])
        for woman, found in splits.items():
            if len(found) > 1:
                yield Broken("no patient in two splits", f"woman {woman} in {sorted(found)}")


def _predict_rules(truth: Truth) -> Iterator[Broken]:
    found = find_exams([truth.root], RECIPE, find_key(CONFIG, os.environ).key)
    groups: dict[str, list[Image]] = defaultdict(list)
    seen: Counter[str] = Counter()
    for exam in found.exams:
        names = [_relative(path, truth.root) for path in exam.files.values()]
        seen.update(names)
        images = [truth.files[name] for name in names if name in truth.files]
        # Images of several exams may be told of together, but not graded.
        if len({image.exam for image in images}) > 1 and not _is_refused(exam.files):
            groups[exam.key] = images
    yield from _purity(truth, groups, "predict")
    strays = {_relative(path, truth.root) for path in found.strays}
    lost = [
        file
        for file in truth.files
        if not seen[file] and file not in strays and not (truth.root / file.partition("/")[0]).is_symlink()
    ]
    twice = [file for file, count in seen.items() if count > 1]
    if lost or twice:
        yield Broken("predict: every file once", f"{len(lost)} lost, {len(twice)} twice, as {(lost + twice)[0]}")


def _is_refused(files: Mapping[str, Path]) -> bool:
    try:
        prepare_files(files, RECIPE)
    except SeveralExamsError:
        return True
    return False


def _relative(path: Path, root: Path) -> str:
    return Path(os.path.relpath(path, root)).as_posix()


def _lost(truth: Truth, rows: Mapping[str, Row]) -> tuple[dict[str, int], int]:
    """Count exams of unambiguous labels, none of whose images was accepted, by what refused them."""
    reasons: dict[Exam, Counter[str]] = defaultdict(Counter)
    accepted: set[Exam] = set()
    for file, image in truth.files.items():
        row = rows.get(file)
        if row is not None and row["outcome"] == "accepted":
            accepted.add(image.exam)
        elif row is not None:
            reasons[image.exam][row["reason"]] += 1
    usable = [exam for exam in truth.named if not truth.is_ambiguous(exam)]
    lost = Counter(
        f"{next(iter(reasons[exam].most_common(1)), ('vanished', 0))[0]} (labels by {truth.archive.key})"
        for exam in usable
        if exam not in accepted
    )
    return dict(lost), len(usable)


def source_of(truth: Truth) -> FolderSource | ManifestSource:
    """Return the archive as ingest is told of it."""
    return ManifestSource(truth.labels) if truth.is_manifest else FolderSource(truth.root, truth.labels)


def _ran(truth: Truth, folder: Path) -> dict[str, Row]:
    """Run the whole ingest pipeline on the DirectRunner; return the rows of its report."""
    import apache_beam as beam

    from components.dicom_example_gen.ingest_pipeline import ArtifactFolders, ingest

    places = ArtifactFolders(str(folder / "examples"), str(folder / "report"))
    key = find_key(CONFIG, os.environ).key
    with beam.Pipeline("DirectRunner") as pipeline:
        ingest(pipeline, source_of(truth), CONFIG, key, places)
    text = (folder / "report" / "files.jsonl").read_text(encoding="utf-8")
    return {row["file"]: row for row in map(json.loads, text.splitlines())}


def _run_rules(described: Mapping[str, Row], ran: Mapping[str, Row]) -> Iterator[Broken]:
    for file, row in described.items():
        other = ran.get(file)
        same = other is not None and (row["outcome"], row.get("reason")) == (other["outcome"], other.get("reason"))
        kept = ran.get(_kept_instead(row))
        by_pixels = other is not None and other.get("reason") in _BY_PIXELS and row["outcome"] == "accepted"
        next_best = kept is not None and kept.get("reason") in _BY_PIXELS
        if not (same or by_pixels or next_best):
            yield Broken("describe and run agree", f"{file}: {row} and {other}"[:300])


def judge(archive: Archive, whole: bool = False) -> Judgement:
    """Write an archive, plan its ingest, find its exams, and check all invariants.

    Args:
        archive: What to write.
        whole: Run the whole ingest pipeline, too.

    Returns:
        What became of it.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        truth = write(archive, folder)
        broken = list(_predict_rules(truth))
        try:
            described = describe_source(source_of(truth), CONFIG, lambda done, of: None)
        except ManifestError as error:
            return Judgement(archive, tuple(broken), refused_table=str(error).partition(": ")[2])
        rows = {row["file"]: row for row in described.files}
        ignored = sum(described.figures.get("ignored", {}).values())
        broken += _rows_rules(truth, rows, ignored)
        if whole:
            ran = _ran(truth, folder)
            broken += [*_run_rules(rows, ran), *_reasons(truth, ran)]
        lost, usable = _lost(truth, rows)
        return Judgement(archive, tuple(broken), lost, usable)
