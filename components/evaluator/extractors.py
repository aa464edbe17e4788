"""TFMA's extractors, and one more that makes slicing features of raw ones."""

from __future__ import annotations

from typing import Any, Final

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors import extractor

from components.evaluator.slices import AGE_BAND, age_band
from schema import features as f

_STAGE: Final = "ExtractSlicingFeatures"
_BEFORE: Final = "ExtractSliceKeys"


def _with_age_band(extracts: dict[str, Any]) -> dict[str, Any]:
    """Adds the age band to the features of one image; TFMA's own are left as they are."""
    features = extracts[tfma.FEATURES_KEY]
    age = int(np.asarray(features[f.PATIENT_AGE]).ravel()[0])
    return {**extracts, tfma.FEATURES_KEY: {**features, AGE_BAND: np.array([age_band(age)], object)}}


def custom_extractors(eval_shared_model: Any, eval_config: Any, tensor_adapter_config: Any) -> list[Any]:
    """Gives the extractors; TFX's Evaluator looks this name up.

    Args:
        eval_shared_model: Model or models.
        eval_config: TFMA's configuration.
        tensor_adapter_config: How examples are read.

    Returns:
        TFMA's, with the slicing features before the slice keys.
    """
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    place = [each.stage_name for each in extractors].index(_BEFORE)
    return [
        *extractors[:place],
        extractor.Extractor(stage_name=_STAGE, ptransform=beam.Map(_with_age_band)),
        *extractors[place:],
    ]
