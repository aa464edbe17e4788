"""A heat map as a Secondary Capture: the overlay in the geometry of the model's input."""

from __future__ import annotations

from datetime import datetime

import cv2
import numpy as np
from highdicom.sc import SCImage
from pydicom.dataset import Dataset

from serving.client import ViewExplanation
from serving.dicom_results.config import ResultsConfig
from serving.dicom_results.source import ResultsError, derived_uid, long_string
from serving.grading import NOTICE


def heat_map(
    view: str, number: int, explained: ViewExplanation, image: Dataset, config: ResultsConfig, now: datetime, seed: str
) -> SCImage:
    """Makes the Secondary Capture of one view, without patient and study.

    Args:
        view: One of ``schema.features.VIEWS``.
        number: Instance Number.
        explained: The overlay, colour PNG.
        image: Reference to the source image.
        config: Maker of the results.
        now: Content date and time.
        seed: What UIDs are derived from.

    Raises:
        ResultsError: The overlay is no picture.
    """
    picture = cv2.imdecode(np.frombuffer(explained.overlay_png, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        raise ResultsError(f"The overlay of {view} is no PNG: ask the model again.")
    projection, side = view.split("_")
    made = SCImage(
        pixel_array=np.ascontiguousarray(picture[..., ::-1]),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=image.StudyInstanceUID,
        series_instance_uid=derived_uid(seed, "heat map series"),
        series_number=config.heat_map_series_number,
        sop_instance_uid=derived_uid(seed, "heat map", view),
        instance_number=number,
        manufacturer=config.manufacturer,
        manufacturer_model_name=config.model_name,
        software_versions=config.software_version,
        series_description="Breast density, research, heat maps",
    )
    made["PatientOrientation"].value = ""  # cropped to the breast and hung anew: the source's does not hold
    for keyword in ("InstanceCreation", "Content"):
        setattr(made, f"{keyword}Date", now.strftime("%Y%m%d"))
        setattr(made, f"{keyword}Time", now.strftime("%H%M%S"))
    made["DateOfSecondaryCapture"].value = now.strftime("%Y%m%d")
    made["TimeOfSecondaryCapture"].value = now.strftime("%H%M%S")
    made.ImageLaterality, made.ViewPosition = side, projection
    made.BurnedInAnnotation = "NO"
    made.ImageComments = f"{NOTICE} Grad-CAM of class {explained.density}; not for diagnosis."
    made.DerivationDescription = long_string(f"Grad-CAM over the model's input (cropped, {view})")
    source = Dataset()
    source.ReferencedSOPClassUID, source.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    made.SourceImageSequence = [source]
    return made
