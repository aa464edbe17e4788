"""Writes the exam model as it is served: SavedModel, calibration, warm-up requests and contract."""

from __future__ import annotations

import os
from collections.abc import Mapping

from components.common.shards import write_bytes
from components.exam_ensemble.config import EnsembleConfig
from components.exam_ensemble.contract import make_contract
from components.exam_model.contract import CONTRACT_FILE, Contract, SplitCounts, write_contract
from components.exam_model.saved_model import check_contract, model_digest
from components.exam_model.signatures import ExamModel, export
from components.exam_model.warmup import write_warmup
from components.statistics.calibration import CALIBRATION_FILE, Calibration
from components.transform.config import ImageConfig


def save_exam_model(
    model: ExamModel,
    folder: str,
    image: ImageConfig,
    preprocessing: str,
    config: EnsembleConfig,
    mirrored: bool,
    calibration: Calibration,
    splits: Mapping[str, SplitCounts],
    origin: str = "",
) -> Contract:
    """Writes an exam model with all that it carries.

    Args:
        model: Not calibrated; the temperature and the batches are put in here.
        folder: Folder to write to.
        image: Input of the networks.
        preprocessing: JSON of the recipe that the model carries.
        config: Combination and batches.
        mirrored: The networks know left breasts.
        calibration: What it applies.
        splits: What it learnt from.
        origin: What the exams are, where they are no patients' exams.

    Returns:
        The contract written.

    Raises:
        ContractError: TensorFlow exported other signatures than every exam model promises.
    """
    export(model.with_temperature(calibration.temperature).with_batching(config.batching), folder)
    calibration_file = calibration.model_dump_json(indent=1).encode()
    write_bytes(os.path.join(folder, CALIBRATION_FILE), calibration_file)
    contract = make_contract(
        image,
        preprocessing,
        config.minimum_views,
        mirrored,
        calibration,
        calibration_file,
        splits,
        origin,
        model_digest(folder),
    )
    check_contract(contract, folder)
    write_warmup(folder, contract.model, image.size)
    write_bytes(os.path.join(folder, CONTRACT_FILE), write_contract(contract))
    return contract
