"""Prepare the files of one exam with the recipe of the model."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final

from components.common.location import files_below
from components.dicom.headers.header import ViewHeader, view_rank
from components.dicom.rejections import AcceptanceConfig, IngestError, Rejection, RejectionReason
from components.dicom.remarks import Remark, joined
from components.exam_model.preparation import PreparedView, prepare_file
from components.exam_model.recipe import PreprocessingRecipe
from components.exams.evidence import Census, contradictions, corrected_id
from schema.acquisition import ImageSystem
from schema.features import VIEWS

_MOST_THREADS: Final = 4  # an exam has four views, and each takes memory while it is decoded


class SeveralExamsError(ValueError):
    """The files of one exam come from several exams."""


@dataclass(frozen=True)
class PreparedExam:
    """An exam that is ready for the model.

    Attributes:
        views: One file per view, in the order of ``schema.features.VIEWS``.
        rejected: Rejected files with the reason.
        system_names: Acquisition systems from a manifest, by view.
    """

    views: dict[str, PreparedView]
    rejected: tuple[Rejection, ...]
    system_names: Mapping[str, str] = field(default_factory=dict)

    @property
    def systems(self) -> dict[str, ImageSystem]:
        """Acquisition system of each view."""
        return {
            view: replace(item.loaded.header.image_system, label=self.system_names.get(view, ""))
            for view, item in self.views.items()
        }


def prepare_exam(folder: Path, recipe: PreprocessingRecipe) -> PreparedExam:
    """Read and preprocess every file of a folder with one exam, see :func:`prepare_files`.

    Args:
        folder: Folder; its subfolders are read too, hidden files are skipped.
        recipe: Recipe of the model.

    Returns:
        The exam; ``rejected`` lists the files that cannot be used.

    Raises:
        SeveralExamsError: The folder holds more than one exam.

    Examples:
        >>> from pipeline.phantom.config import PhantomConfig
        >>> from pipeline.phantom.generate import generate_phantoms
        >>> made = generate_phantoms(PhantomConfig(exams=1, reduction=12, workers=1), Path("phantoms"))
        >>> exam = prepare_exam(Path("phantoms/images"), PreprocessingRecipe())
        >>> list(exam.views), exam.rejected
        (['CC_R', 'CC_L', 'MLO_R', 'MLO_L'], ())
        >>> exam.views["CC_R"].result.image.shape
        (450, 450)
    """
    return prepare_files({path.relative_to(folder).as_posix(): path for path in files_of(folder)}, recipe)


def files_of(folder: Path) -> list[Path]:
    """Return the files of a folder and its subfolders, sorted, without hidden files, as ingest finds them."""
    found = (folder / file.name for file in files_below(folder)) if folder.is_dir() else ()
    return sorted(path for path in found if path.is_file())


@dataclass(frozen=True)
class ExamFiles:
    """The files of one exam, from a folder or a manifest.

    Attributes:
        files: Path of each file, by its name in messages.
        views: Views from a manifest, by the same names; the header of every other file names its view.
        rejected: Rejected rows of a manifest; their files are not in ``files``.
        systems: Acquisition systems from a manifest, by the same names.
    """

    files: Mapping[str, Path]
    views: Mapping[str, str] = field(default_factory=dict)
    rejected: tuple[Rejection, ...] = ()
    systems: Mapping[str, str] = field(default_factory=dict)


def prepare_files(exam: ExamFiles | Mapping[str, Path], recipe: PreprocessingRecipe) -> PreparedExam:
    """Read and preprocess the files of one exam.

    If several files show the same view, the file with the largest ``view_rank`` is used, as in ingest; of equal files
    the first.

    Args:
        exam: The files, or a mapping of the name in messages to the path.
        recipe: Recipe of the model.

    Returns:
        The exam; ``rejected`` lists the files that cannot be used.

    Raises:
        SeveralExamsError: The files come from more than one exam.
    """
    views: dict[str, tuple[str, PreparedView]] = {}
    exam = exam if isinstance(exam, ExamFiles) else ExamFiles(exam)
    rejected = list(exam.rejected)
    headers: list[ViewHeader] = []
    for name, prepared in _each_prepared(exam, recipe):
        if isinstance(prepared, IngestError):
            rejected.append(prepared.rejection(name))
            continue
        header = prepared.loaded.header
        if prepared.result.breast_area_fraction == 0:
            remedy = "export the image again, or leave it out"
            rejected.append(Rejection(RejectionReason.IMPLAUSIBLE_PIXELS, name, "pixels", "no breast", remedy))
            continue
        headers.append(header)
        if header.view in views:
            other_name, other = views[header.view]
            if header.study_uid and other.loaded.header.study_uid not in ("", header.study_uid):
                raise SeveralExamsError(
                    f"The exam holds images of view {header.view} from different studies ({other_name}, {name}):"
                    " give the folder of one exam."
                )
            if view_rank(header) > view_rank(other.loaded.header):
                views[header.view], name = (name, prepared), other_name
            remedy = "one image per view is graded: the least special, the largest, the latest, the first by name"
            rejected.append(Rejection(RejectionReason.DUPLICATE_VIEW, name, "view", header.view, remedy))
            continue
        views[header.view] = (name, prepared)
    _require_one_exam(headers, recipe.acceptance, by_rows=exam.files.keys() <= exam.views.keys())
    remarks = (Remark.CORRECTED_PATIENT_ID,) if corrected_id(headers) else ()
    return PreparedExam(
        {view: _with(views[view][1], remarks) for view in VIEWS if view in views},
        tuple(rejected),
        {view: exam.systems[name] for view, (name, _) in views.items() if name in exam.systems},
    )


def _each_prepared(exam: ExamFiles, recipe: PreprocessingRecipe) -> Iterator[tuple[str, PreparedView | IngestError]]:
    """Prepare the files in their order, a few at a time: decoders release the GIL, so they use several cores."""

    def prepare(name: str) -> PreparedView | IngestError:
        try:
            return prepare_file(exam.files[name], exam.views.get(name), recipe)
        except IngestError as error:
            return error

    threads, names = min(_MOST_THREADS, os.cpu_count() or 1), iter(exam.files)
    with ThreadPoolExecutor(threads) as pool:
        while batch := list(islice(names, threads)):
            yield from zip(batch, pool.map(prepare, batch), strict=True)


def _with(prepared: PreparedView, remarks: tuple[Remark, ...]) -> PreparedView:
    return replace(prepared, loaded=replace(prepared.loaded, remarks=joined(prepared.loaded.remarks, remarks)))


def _require_one_exam(headers: Sequence[ViewHeader], acceptance: AcceptanceConfig, by_rows: bool) -> None:
    """Refuse images of several patients or exams by the rule of ingest (``exams.contradictions``).

    If a manifest names the exam of every image, its exams are trusted. Its patients are still checked.
    """
    mixed = RejectionReason.MIXED_PATIENTS in acceptance.accept
    counts = Counter(header.study_uid for header in headers)
    census = Census(single_image_studies=frozenset(study for study, count in counts.items() if count == 1))
    for found in contradictions(headers, census):
        if not (mixed if found.reason == RejectionReason.MIXED_PATIENTS else by_rows):
            what = "women" if found.reason == RejectionReason.MIXED_PATIENTS else "exams"
            raise SeveralExamsError(
                f"The exam holds images of different {what}, by their {found.tag} ({found.value}): give the folder of"
                " one exam, or correct the archive."
            )
