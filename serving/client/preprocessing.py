"""From a mammography file to what the model takes, exactly as the pipeline did it.

The model carries its recipe, so a client can neither guess nor differ: what is offline and what is served agree to
the byte.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from components.common.location import files_below
from components.common.png import encode_png
from components.dicom.acceptance import AcceptanceConfig, SpecialCase
from components.dicom.headers.header import ViewHeader, view_rank
from components.dicom.reading import LoadedView, load_view
from components.dicom.rejections import IngestError, Rejection, RejectionReason
from components.dicom.remarks import Remark, joined
from components.dicom_example_gen.config import DEFAULT_MAX_PIXELS
from components.exams.evidence import Census, contradictions, corrected_id
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.result import PreprocessedView
from schema.features import VIEWS


class SeveralExamsError(ValueError):
    """A folder that should hold one exam holds more."""


class PreprocessingRecipe(BaseModel):
    """Everything that decides what the model sees of a file.

    Attributes:
        longest_side: Longest side to which ingest reduces, pixels.
        max_pixels: Largest matrix that is decoded.
        acceptance: Special images that ingest took, and the client takes too.
        voi_index: VOI LUT or window of several, as in ingest.
        preprocess: Segmentation and geometry.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    longest_side: int = Field(1024, ge=64, le=16384)
    max_pixels: int = Field(DEFAULT_MAX_PIXELS, ge=1)
    acceptance: AcceptanceConfig = AcceptanceConfig()
    voi_index: int = Field(0, ge=0, le=255)
    preprocess: PreprocessConfig = PreprocessConfig()

    def digest(self) -> str:
        """Hashes the recipe: SHA-256 of its JSON, 64 hexadecimal digits."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()


@dataclass(frozen=True)
class PreparedView:
    """A file that is ready for the model.

    Attributes:
        loaded: Header and reduced pixels.
        result: What preprocessing gave.
        png: The preprocessed image, 8-bit PNG.
    """

    loaded: LoadedView
    result: PreprocessedView
    png: bytes


@dataclass(frozen=True)
class PreparedExam:
    """An exam that is ready for the model.

    Attributes:
        views: One file a view, in the order of ``schema.features.VIEWS``.
        rejected: Files left out, with the reason.
    """

    views: dict[str, PreparedView]
    rejected: tuple[Rejection, ...]


def prepare_file(path: Path, view: str | None, recipe: PreprocessingRecipe) -> PreparedView:
    """Reads and preprocesses one file.

    Args:
        path: DICOM, PNG or JPEG.
        view: View to take it for, where the file does not name one of the four; required for PNG and JPEG.
        recipe: The model's recipe.

    Returns:
        The view.

    Raises:
        IngestError: The file cannot be used; the message says why.
    """
    loaded = load_view(path, view, recipe.longest_side, recipe.max_pixels, recipe.acceptance, recipe.voi_index)
    result = preprocess_view(loaded.pixels, loaded.header.view, recipe.preprocess)
    return PreparedView(loaded, result, encode_png(result.image))


def prepare_exam(folder: Path, recipe: PreprocessingRecipe) -> PreparedExam:
    """Reads and preprocesses every file of a folder that holds one exam, see :func:`prepare_files`.

    Args:
        folder: Folder with its subfolders; hidden files are passed over.
        recipe: The model's recipe.

    Returns:
        The exam; files that cannot be used are in ``rejected``.

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
    """Lists the files of a folder and its subfolders, sorted, without hidden ones, as ingest finds them."""
    found = (folder / file.name for file in files_below(folder)) if folder.is_dir() else ()
    return sorted(path for path in found if path.is_file())


@dataclass(frozen=True)
class ExamFiles:
    """The files of one exam, as a folder or a manifest gives them.

    Attributes:
        files: The files by the name that messages have for them.
        views: The views that a manifest names, by the same names; other files are asked.
        rejected: What is wrong with rows of a manifest, whose files are not among ``files``.
    """

    files: Mapping[str, Path]
    views: Mapping[str, str] = field(default_factory=dict)
    rejected: tuple[Rejection, ...] = ()


def prepare_files(exam: ExamFiles | Mapping[str, Path], recipe: PreprocessingRecipe) -> PreparedExam:
    """Reads and preprocesses the files of one exam.

    Where several files show one view, the rule of ingest decides, ``view_rank``; of equals the first is taken.

    Args:
        exam: The files, or these by the name they have in messages.
        recipe: The model's recipe.

    Returns:
        The exam; files that cannot be used are in ``rejected``.

    Raises:
        SeveralExamsError: The files are of more than one exam.
    """
    views: dict[str, tuple[str, PreparedView]] = {}
    exam = exam if isinstance(exam, ExamFiles) else ExamFiles(exam)
    rejected = list(exam.rejected)
    headers: list[ViewHeader] = []
    for name, path in exam.files.items():
        try:
            prepared = prepare_file(path, exam.views.get(name), recipe)
        except IngestError as error:
            rejected.append(error.rejection(name))
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
            remedy = "one image of a view is graded: the least special, the largest, the latest, the first by name"
            rejected.append(Rejection(RejectionReason.DUPLICATE_VIEW, name, "view", header.view, remedy))
            continue
        views[header.view] = (name, prepared)
    _require_one_exam(headers, recipe.acceptance, by_rows=exam.files.keys() <= exam.views.keys())
    told = (Remark.CORRECTED_PATIENT_ID,) if corrected_id(headers) else ()
    return PreparedExam({view: _with(views[view][1], told) for view in VIEWS if view in views}, tuple(rejected))


def _with(prepared: PreparedView, remarks: tuple[Remark, ...]) -> PreparedView:
    return replace(prepared, loaded=replace(prepared.loaded, remarks=joined(prepared.loaded.remarks, remarks)))


def _require_one_exam(headers: Sequence[ViewHeader], acceptance: AcceptanceConfig, by_rows: bool) -> None:
    """Refuses images of several women or exams, by the rule of ingest (``exams.contradictions``).

    Rows of a manifest, which name each image's exam, are believed as to the exam, and not as to the woman.
    """
    mixed = SpecialCase.MIXED_PATIENTS in acceptance.accept
    counts = Counter(header.study_uid for header in headers)
    census = Census(lone_studies=frozenset(study for study, count in counts.items() if count == 1))
    for found in contradictions(headers, census):
        if not (mixed if found.reason == RejectionReason.MIXED_PATIENTS else by_rows):
            what = "women" if found.reason == RejectionReason.MIXED_PATIENTS else "exams"
            raise SeveralExamsError(
                f"The exam holds images of different {what}, by their {found.tag} ({found.value}): give the folder of"
                " one exam, or correct the archive."
            )
