"""Make one phantom exam: four DICOM files and their truth, complete or not at all."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.phantom.anatomy import ABSENT_SHARE, Grid, PatientAnatomy, draw_patient, draw_view, mask_of
from pipeline.phantom.appearance import APPEARANCES, Exposure, draw_exposure, expose
from pipeline.phantom.config import PhantomConfig
from pipeline.phantom.dicom import write_view
from pipeline.phantom.plan import ExamPlan, exam_rng, patient_rng
from pipeline.phantom.texture import Field
from pipeline.phantom.tissue import make_tissue, shared_glandular_fields
from schema.acquisition import REFERENCE_SYSTEMS, canonical_system
from schema.features import VIEWS, is_mlo

# Longest side of the grid on which tissue is drawn, pixels; large matrices get finer octaves when enlarged.
WORKING_SIZE: Final = 512


@dataclass(frozen=True)
class ViewTruth:
    """What is known of one view.

    Attributes:
        exam_id: Exam.
        view: One of ``schema.features.VIEWS``.
        density: Density class.
        dense_fraction: Dense area over breast area without muscle.
        pectoral_present: 1 where the muscle shows.
        pectoral_fraction: Muscle area over breast area with muscle.
        breast_fraction: Breast area with muscle over image area.
        acquisition_system: Canonical key.
        rows: Rows of the image.
        columns: Columns of the image.
        pixel_spacing_mm: Pixel spacing, mm.
    """

    exam_id: str
    view: str
    density: str
    dense_fraction: float
    pectoral_present: int
    pectoral_fraction: float
    breast_fraction: float
    acquisition_system: str
    rows: int
    columns: int
    pixel_spacing_mm: float


@dataclass(frozen=True)
class PhantomView:
    """One view in memory.

    Attributes:
        stored: uint16 [rows, columns], as stored in the file.
        breast: bool [rows, columns], inside the skin, muscle included.
        pectoral: bool [rows, columns], pectoral muscle.
        truth: Its figures.
    """

    stored: NDArray[np.uint16]
    breast: NDArray[np.bool_]
    pectoral: NDArray[np.bool_]
    truth: ViewTruth


@dataclass(frozen=True)
class ExamSource:
    """What the views of an exam share.

    Attributes:
        plan: The exam.
        patient: Anatomy of the patient.
        glandular: Glandular patterns common to both sides, for CC and for MLO.
        exposure: Exposure of the exam.
        view_seeds: Seed of each view.
        shape: Rows and columns of the images.
        spacing_mm: Pixel spacing of the images, mm.
    """

    plan: ExamPlan
    patient: PatientAnatomy
    glandular: tuple[Field, Field]
    exposure: Exposure
    view_seeds: tuple[int, ...]
    shape: tuple[int, int]
    spacing_mm: float


def draw_exam(plan: ExamPlan, config: PhantomConfig) -> ExamSource:
    """Draw what the views of an exam share; it depends only on the plan, the seed and the reduction."""
    system = REFERENCE_SYSTEMS[plan.system]
    of_patient = patient_rng(config.seed, plan.patient_index)
    patient = draw_patient(of_patient)
    of_exam = exam_rng(config.seed, plan.index)
    return ExamSource(
        plan=plan,
        patient=patient,
        glandular=shared_glandular_fields(of_patient, patient, WORKING_SIZE),
        exposure=draw_exposure(of_exam),
        view_seeds=tuple(of_exam.integers(1 << 62, size=len(VIEWS)).tolist()),
        shape=(system.rows // config.reduction, system.columns // config.reduction),
        spacing_mm=round(system.pixel_spacing_mm * config.reduction, 6),
    )


def make_view(source: ExamSource, view: str, absent_share: float = ABSENT_SHARE) -> PhantomView:
    """Make one view of an exam.

    Args:
        source: The exam.
        view: One of ``schema.features.VIEWS``.
        absent_share: Share of MLO views on which the muscle does not show.

    Returns:
        Pixels and truth.
    """
    plan, shape = source.plan, source.shape
    system, appearance = REFERENCE_SYSTEMS[plan.system], APPEARANCES[plan.system]
    scale = WORKING_SIZE / max(shape)
    grid = Grid(round(shape[0] * scale), round(shape[1] * scale), source.spacing_mm / scale)
    rng = np.random.default_rng(source.view_seeds[VIEWS.index(view)])

    outline = draw_view(rng, source.patient, view, grid, absent_share)
    # Sides and projections of one woman differ a little; the gaps between the classes are wider than that.
    fraction = float(np.clip(plan.dense_fraction * (1.0 + rng.normal(0.0, 0.04)), 0.02, 0.92))
    shared = source.glandular[int(is_mlo(view))]
    tissue = make_tissue(rng, source.patient, outline, view, shared, fraction)
    breast, pectoral = mask_of(outline.breast, shape), mask_of(outline.muscle, shape)
    pectoral &= breast
    stored = expose(tissue.signal, (breast, pectoral), view, appearance, source.exposure, rng)
    if view.endswith("_R"):
        breast, pectoral = breast[:, ::-1], pectoral[:, ::-1]
    truth = ViewTruth(
        exam_id=plan.exam_id,
        view=view,
        density=plan.density,
        dense_fraction=round(tissue.dense_fraction, 4),
        pectoral_present=int(pectoral.any()),
        pectoral_fraction=round(float(pectoral.sum() / max(1, breast.sum())), 4),
        breast_fraction=round(float(breast.mean()), 4),
        acquisition_system=canonical_system(
            system.dicom_manufacturer, appearance.model_name, appearance.software_versions
        ).key,
        rows=shape[0],
        columns=shape[1],
        pixel_spacing_mm=source.spacing_mm,
    )
    return PhantomView(stored, breast, pectoral, truth)


def _write_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    if not cv2.imwrite(str(path), mask.astype(np.uint8) * 255):
        raise OSError(f"{path}: the mask could not be written; check free space and permissions")


def is_whole(exam_id: str, out: Path) -> bool:
    """Return True if an exam is complete: its images are moved into place last."""
    return (out / "images" / exam_id).is_dir()


def read_truth(exam_id: str, out: Path) -> list[ViewTruth]:
    """Read the truth of a complete exam, one entry per view."""
    text = (out / "truth" / exam_id / "truth.json").read_text(encoding="utf-8")
    return [ViewTruth(**row) for row in json.loads(text)]


def write_exam(plan: ExamPlan, config: PhantomConfig, out: Path) -> str:
    """Make an exam and write it into a temporary folder, then rename it into place.

    Args:
        plan: The exam.
        config: Its set.
        out: Root of the set.

    Returns:
        The exam's id.

    Raises:
        OSError: Nothing could be written there.
    """
    aside = out / ".partial" / plan.exam_id
    shutil.rmtree(aside, ignore_errors=True)
    (aside / "images").mkdir(parents=True)
    (aside / "truth").mkdir()
    rows: list[dict[str, object]] = []
    source = draw_exam(plan, config)
    for view in VIEWS:
        made = make_view(source, view)
        write_view(
            aside / "images" / f"{view}.dcm",
            made.stored,
            plan,
            view,
            APPEARANCES[plan.system],
            made.truth.pixel_spacing_mm,
            scope=(config.seed, config.exams, config.distribution, config.reduction),
        )
        _write_mask(aside / "truth" / f"{view}.pectoral.png", made.pectoral)
        _write_mask(aside / "truth" / f"{view}.breast.png", made.breast)
        rows.append(asdict(made.truth))
    (aside / "truth" / "truth.json").write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    # A truth without images is what an interruption between the two renames leaves.
    shutil.rmtree(out / "truth" / plan.exam_id, ignore_errors=True)
    os.replace(aside / "truth", out / "truth" / plan.exam_id)
    os.replace(aside / "images", out / "images" / plan.exam_id)
    aside.rmdir()
    return plan.exam_id
