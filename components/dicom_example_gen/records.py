"""One view as a tf.Example, by the data contract of ``schema.features``."""

from __future__ import annotations

import tensorflow as tf

from components.common.png import encode_png
from components.dicom.reading import LoadedView
from components.dicom_example_gen.plan.ingest_plan import PlannedView
from schema import features


def _bytes(value: str | bytes) -> tf.train.Feature:
    data = value if isinstance(value, bytes) else value.encode("utf-8")
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=[data]))


def _int(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _float(value: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))


def to_example(planned: PlannedView, loaded: LoadedView) -> tf.train.Example:
    """Writes a view as an example.

    Args:
        planned: Who and what it is, without identifiers.
        loaded: Its pixels, uint16 [H, W].

    Returns:
        Example with exactly the ingest features of ``schema.features``; nothing of the original identifiers.
    """
    height, width = loaded.pixels.shape
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                features.IMAGE: _bytes(encode_png(loaded.pixels)),
                features.IMAGE_HEIGHT: _int(height),
                features.IMAGE_WIDTH: _int(width),
                features.PIXEL_SPACING_MM: _float(loaded.pixel_spacing_mm),
                features.VIEW: _bytes(planned.view),
                features.LATERALITY: _bytes(features.laterality_of(planned.view)),
                features.EXAM_ID: _bytes(planned.exam_hash),
                features.PATIENT_ID: _bytes(planned.patient_hash),
                features.DENSITY: _bytes(planned.density),
                features.ACQUISITION_SYSTEM: _bytes(planned.acquisition_system),
                features.MANUFACTURER: _bytes(planned.system.manufacturer),
                features.MODEL_NAME: _bytes(planned.system.model_name),
                features.SOFTWARE_VERSION: _bytes(planned.system.software_version),
                features.PATIENT_AGE: _int(planned.patient_age),
                features.ACQUISITION_YEAR: _int(planned.acquisition_year),
            }
        )
    )
