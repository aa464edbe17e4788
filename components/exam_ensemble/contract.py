"""Writes down what an exported exam model promises: its contract, from what ExamEnsemble knows."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from typing import Final

from components.common.fingerprint import code_fingerprint
from components.common.views import View
from components.dicom.rejections import SPECIAL_CASES, RejectionReason
from components.exam_model.contract import (
    CONTRACT_VERSION,
    CalibrationFacts,
    Contract,
    DensityClass,
    ExamRule,
    ImageFormat,
    Normalisation,
    Preprocessing,
    SplitCounts,
    TrainingData,
    sha256_of,
)
from components.exam_model.contract_signatures import promised_signatures
from components.exam_model.recipe import PreprocessingRecipe
from components.statistics.calibration import CALIBRATION_FILE, Calibration
from components.transform.config import ImageConfig
from schema import features as f
from schema.intended_use import INTENDED_USE, LIMITS, NOT_FOR, NOTICE

_SOFTWARE: Final = ("breast-density", "keras", "numpy", "opencv-python-headless", "pydicom", "tensorflow")
# What no configuration makes acceptable, beside the special images of the recipe.
_ALWAYS_REFUSED: Final = (
    RejectionReason.NOT_DICOM,
    RejectionReason.TRUNCATED,
    RejectionReason.MALFORMED_HEADER,
    RejectionReason.NOT_MAMMOGRAPHY,
    RejectionReason.MULTI_FRAME,
    RejectionReason.NO_PIXEL_DATA,
    RejectionReason.UNSUPPORTED_IMAGE,
    RejectionReason.UNSUPPORTED_TRANSFER_SYNTAX,
    RejectionReason.TOO_LARGE,
    RejectionReason.UNKNOWN_VIEW,
    RejectionReason.UNSUPPORTED_VIEW,
    RejectionReason.UNDECODABLE_PIXELS,
    RejectionReason.IMPLAUSIBLE_PIXELS,
)


def count_exams(views: Iterable[View]) -> SplitCounts:
    """Counts the exams and views of a split.

    Args:
        views: Its records.

    Returns:
        Counts; classes in their order, acquisition systems by name.
    """
    exams: dict[str, View] = {}
    images = 0
    for view in views:
        images += 1
        exams.setdefault(view.exam_id, View(b"", view.view, view.exam_id, view.density, view.acquisition_system))
    systems = sorted({exam.acquisition_system for exam in exams.values()})
    return SplitCounts(
        exams=len(exams),
        views=images,
        by_class={name: sum(e.density == name for e in exams.values()) for name in f.DENSITY_CLASSES},
        by_acquisition_system={name: sum(e.acquisition_system == name for e in exams.values()) for name in systems},
    )


def software_versions() -> dict[str, str]:
    """Gives the versions of what an answer depends on, of those distributions that are installed."""
    installed = {name: _version(name) for name in _SOFTWARE}
    return {"python": platform.python_version(), **{name: version for name, version in installed.items() if version}}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def refused(recipe: PreprocessingRecipe) -> tuple[str, ...]:
    """Names the reasons for which an image or an exam gets no grade.

    Args:
        recipe: The model's; it may accept special images.
    """
    special = [case for case in SPECIAL_CASES if case not in recipe.acceptance.accept]
    return (*(reason.value for reason in (*_ALWAYS_REFUSED, *special)), "missing_views")


def make_contract(
    image: ImageConfig,
    preprocessing: str,
    minimum_views: int,
    mirrored: bool,
    calibration: Calibration,
    calibration_file: bytes,
    splits: Mapping[str, SplitCounts],
    origin: str,
    model_sha256: str,
) -> Contract:
    """Makes the contract of a model that was not evaluated yet.

    Args:
        image: Input of the networks.
        preprocessing: JSON of the recipe, as the model carries it.
        minimum_views: Exams of fewer get no grade.
        mirrored: The networks know left breasts.
        calibration: What the model applies.
        calibration_file: The bytes that say so in the SavedModel.
        splits: What the model learnt from.
        origin: What the exams are, where they are no patients' exams.
        model_sha256: Of the SavedModel.

    Returns:
        The contract.
    """
    return Contract(
        contract_version=CONTRACT_VERSION,
        notice=NOTICE,
        intended_use=INTENDED_USE,
        not_for=NOT_FOR,
        limits=LIMITS,
        refuses=refused(PreprocessingRecipe.model_validate_json(preprocessing)),
        classes=tuple(DensityClass(name=name, meaning=f.DENSITY_MEANINGS[name]) for name in f.DENSITY_CLASSES),
        views=f.VIEWS,
        image=ImageFormat(height=image.size, width=image.size),
        signatures=promised_signatures(image.size, image.size),
        exam=ExamRule(minimum_views=minimum_views),
        normalisation=Normalisation(method=image.normalisation, channels=image.channels, right_views_flipped=mirrored),
        preprocessing=Preprocessing(
            recipe=json.loads(preprocessing),
            recipe_sha256=sha256_of(preprocessing.encode()),
            code=code_fingerprint("components.exam_model.recipe"),
        ),
        calibration=CalibrationFacts(
            method=calibration.method,
            temperature=calibration.temperature,
            split=calibration.split,
            exams=calibration.exams,
            by_class=calibration.by_class,
            file=CALIBRATION_FILE,
            file_sha256=sha256_of(calibration_file),
        ),
        training_data=TrainingData(origin=origin, splits=dict(splits)),
        software=software_versions(),
        model_sha256=model_sha256,
    )
