"""TFMA's extractors, one before them that takes batches apart, and one that makes slicing features of raw ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.extractors import extractor

from components.evaluator.slices import AGE_BAND, age_band
from schema import features as f

_SINGLE: Final = "TakeBatchesApart"
_STAGE: Final = "ExtractSlicingFeatures"
_BEFORE: Final = "ExtractSliceKeys"


def single_images(extracts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Takes a batch apart, so that the model is given one image at a time.

    Beam sizes batches by the clock, and a batch's size changes the last bits of what a network gives for its images:
    the figures of a run would differ from those of the run before.
    """
    batch = extracts[tfma.ARROW_RECORD_BATCH_KEY]
    for row in range(batch.num_rows):
        yield {**extracts, tfma.ARROW_RECORD_BATCH_KEY: batch.slice(row, 1)}


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
        TFMA's, of single images, with the slicing features before the slice keys.
    """
    extractors = tfma.default_extractors(
        eval_shared_model=eval_shared_model,
        eval_config=eval_config,
        tensor_adapter_config=tensor_adapter_config,
    )
    place = [each.stage_name for each in extractors].index(_BEFORE)
    return [
        extractor.Extractor(stage_name=_SINGLE, ptransform=beam.FlatMap(single_images)),
        *extractors[:place],
        extractor.Extractor(stage_name=_STAGE, ptransform=beam.Map(_with_age_band)),
        *extractors[place:],
    ]
