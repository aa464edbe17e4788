"""The contract of a model that is served: with the figures of the evaluation that let it pass."""

from __future__ import annotations

import json
import math
from typing import Any

from pydantic import ValidationError

from components.exam_model.contract import Contract, ContractError, Evaluation, SliceMetrics, sha256_of
from components.statistics.intervals import Figure
from components.statistics.metrics import IN_CONTRACT


def with_evaluation(contract: Contract, exam_metrics: bytes) -> Contract:
    """Adds the figures of all exams, and of every slice by one feature, to a contract.

    Args:
        contract: Of the model that was evaluated.
        exam_metrics: The Evaluator's ``exam_metrics.json``.

    Returns:
        The contract with its ``evaluation``.

    Raises:
        ContractError: The file is no such evaluation, or one of a model of another temperature.
    """
    try:
        content = json.loads(exam_metrics)
        if not math.isclose(content["temperature"], contract.calibration.temperature):
            raise ContractError(
                "The evaluation is of another model: evaluate the one that is pushed. Received: temperature"
                f" {content['temperature']} in exam_metrics.json, {contract.calibration.temperature} in the contract"
            )
        evaluation = Evaluation(
            model_sha256=contract.model_sha256,
            metrics_sha256=sha256_of(exam_metrics),
            slices=tuple(_slice(entry) for entry in content["exam"] if len(entry["slice"]) <= 1),
        )
    except (ValidationError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise ContractError(
            f"exam_metrics.json is not what the Evaluator writes ({type(error).__name__}): run the Evaluator again."
        ) from error
    return contract.model_copy(update={"evaluation": evaluation})


def _slice(entry: dict[str, Any]) -> SliceMetrics:
    found = entry["metrics"]
    metrics = {name: Figure.model_validate(found[name]) for name in IN_CONTRACT if name in found}
    return SliceMetrics(
        slice=entry["slice"], exams=entry["n"], ungraded=entry["ungraded"], small=entry["small"], metrics=metrics
    )
