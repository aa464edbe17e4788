"""Write the exam model as it is served: SavedModel, calibration, warm-up requests and contract."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable
from importlib import metadata
from typing import Final

from components.common.fingerprint import code_fingerprint
from components.common.shards import write_bytes
from components.common.views import View
from components.dicom.rejections import SPECIAL_CASES, RejectionReason
from components.exam_model.contract import (
    CONTRACT_FILE,
    CONTRACT_VERSION,
    CalibrationFacts,
    Contract,
    DensityClass,
    ExamRule,
    FamiliarityFacts,
    ImageFormat,
    Normalisation,
    Preprocessing,
    SplitCounts,
    TrainingData,
    sha256_of,
    write_contract,
)
from components.exam_model.contract_signatures import promised_signatures
from components.exam_model.png_check import allowed_sides
from components.exam_model.recipe import PreprocessingRecipe
from components.exam_model.saved_model import check_contract, model_digest
from components.exam_model.signatures import ExamModel, ExamSettings, export
from components.exam_model.warmup import write_warmup
from components.statistics.calibration import CALIBRATION_FILE, Calibration
from components.transform.config import ImageConfig
from schema import features as f
from schema.acquisition import recorded_system
from schema.software import INTENDED_USE, LIMITS, NOT_FOR, NOTICE
from schema.training_systems import SystemTally, TrainedSystem

_SOFTWARE: Final = ("breast-density", "keras", "numpy", "opencv-python-headless", "pydicom", "tensorflow")
# Reasons that no configuration makes acceptable; the recipe decides on special images.
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
_BY_POLICY: Final = ("missing_views", "unseen_system", "unlike_training", "low_confidence")


def count_exams(views: Iterable[View]) -> SplitCounts:
    """Count the exams and views of a split.

    Args:
        views: Records of the split.

    Returns:
        Counts; classes in their order, acquisition systems sorted by name.
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


def systems_of(views: Iterable[View]) -> tuple[TrainedSystem, ...]:
    """Return the acquisition systems of the train split.

    Args:
        views: Records of the split.
    """
    tally = SystemTally()
    for view in views:
        tally.add(view.exam_id, recorded_system(view.acquisition_system, view.system))
    return tally.systems()


def software_versions() -> dict[str, str]:
    """Return the versions of the installed distributions that a response depends on."""
    installed = {name: _version(name) for name in _SOFTWARE}
    return {"python": platform.python_version(), **{name: version for name, version in installed.items() if version}}


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def refused(recipe: PreprocessingRecipe) -> tuple[str, ...]:
    """Return the reasons for which an image or an exam gets no grade.

    Args:
        recipe: Recipe of the model; it may accept special images.
    """
    special = [case for case in SPECIAL_CASES if case not in recipe.acceptance.accept]
    return (*(reason.value for reason in (*_ALWAYS_REFUSED, *special)), *_BY_POLICY)


def make_contract(
    image: ImageConfig,
    settings: ExamSettings,
    calibration: Calibration,
    calibration_file: bytes,
    data: TrainingData,
    familiarity: FamiliarityFacts,
    model_sha256: str,
) -> Contract:
    """Return the contract of a model that is not evaluated yet.

    Args:
        image: Input of the networks.
        settings: Settings of the model.
        calibration: Calibration that the model applies.
        calibration_file: Bytes of the calibration in the SavedModel.
        data: What the model was trained on.
        familiarity: How its familiarity was fitted.
        model_sha256: SHA-256 of the SavedModel.

    Returns:
        The contract.
    """
    preprocessing = settings.preprocessing
    smallest, largest = allowed_sides(image.size)
    return Contract(
        contract_version=CONTRACT_VERSION,
        notice=NOTICE,
        intended_use=INTENDED_USE,
        not_for=NOT_FOR,
        limits=LIMITS,
        refuses=refused(PreprocessingRecipe.model_validate_json(preprocessing)),
        classes=tuple(DensityClass(name=name, meaning=f.DENSITY_MEANINGS[name]) for name in f.DENSITY_CLASSES),
        views=f.VIEWS,
        image=ImageFormat(
            height=image.size,
            width=image.size,
            other_sizes=f"{smallest} to {largest} pixels a side are resized to this one by area averaging, which"
            " stretches what is not square; others are refused",
        ),
        signatures=promised_signatures(image.size, image.size, settings.mixture is not None, settings.heat_map),
        exam=ExamRule(
            minimum_views=settings.minimum_views,
            texture_weight=settings.mixture.weight if settings.mixture else 0.0,
        ),
        normalisation=Normalisation(
            method=image.normalisation, channels=image.channels, right_views_flipped=settings.mirrored
        ),
        preprocessing=Preprocessing(
            recipe=json.loads(preprocessing),
            recipe_sha256=sha256_of(preprocessing.encode()),
            code=code_fingerprint("components.exam_model.preparation"),
        ),
        calibration=CalibrationFacts(
            method=calibration.method,
            temperature=calibration.temperature,
            reason=calibration.reason,
            split=calibration.split,
            exams=calibration.exams,
            by_class=calibration.by_class,
            file=CALIBRATION_FILE,
            file_sha256=sha256_of(calibration_file),
        ),
        training_data=data,
        familiarity=familiarity,
        software=software_versions(),
        model_sha256=model_sha256,
    )


def save_exam_model(
    model: ExamModel,
    folder: str,
    calibration: Calibration,
    data: TrainingData,
    familiarity: FamiliarityFacts | None = None,
) -> Contract:
    """Write an exam model with calibration, warm-up requests and contract.

    Args:
        model: Model without calibration; this function adds temperature and training systems.
        folder: Folder to write to.
        calibration: Calibration that the model applies.
        data: What the model was trained on.
        familiarity: What the contract says about familiarity; None for a model without it.

    Returns:
        The written contract.

    Raises:
        ContractError: The exported signatures are not those that every exam model promises.
    """
    model = model.changed(
        temperature=calibration.temperature,
        training_systems=data.training_systems.model_dump_json(),
    )
    export(model, folder)
    calibration_file = calibration.model_dump_json(indent=1).encode()
    write_bytes(os.path.join(folder, CALIBRATION_FILE), calibration_file)
    facts = familiarity or FamiliarityFacts(available=False, reason="it was not fitted")
    digest = model_digest(folder)
    contract = make_contract(model.image, model.settings, calibration, calibration_file, data, facts, digest)
    check_contract(contract, folder)
    write_warmup(folder, contract.model, model.image.size)
    write_bytes(os.path.join(folder, CONTRACT_FILE), write_contract(contract))
    return contract
