"""A heat map as a Secondary Capture with orientation, crop and aspect ratio of the source image."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final

import cv2
import numpy as np
from highdicom.sc import SCImage
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from components.exam_model.heat_layer import blend
from components.exam_model.preparation import PreparedView
from components.exam_model.recipe import PreprocessingRecipe
from schema.software import NOTICE
from serving.client.grades import ViewExplanation
from serving.client.grading import GradedExam
from serving.dicom_results.config import ResultsConfig
from serving.dicom_results.source import derived_uid, long_string
from serving.pictures import source_grey, source_map

_DIRECTIONS: Final = re.compile(r"[APRLHF]{1,3}")  # Patient Orientation (0020,0020), PS3.3 C.7.6.1.1.1
_MINIMUM_SIDE: Final = 16


def source_picture(
    item: PreparedView, explained: ViewExplanation, recipe: PreprocessingRecipe, longest_side: int
) -> NDArray[np.uint8]:
    """Return a heat map over the source image, in the orientation of the archive.

    Args:
        item: The view; it shows a breast.
        explained: Its heat map.
        recipe: How the view was prepared.
        longest_side: Longest side of the result, pixels; the picture is never enlarged.

    Returns:
        uint8 [H, W, 3], RGB, with the aspect ratio of the source to the pixel.
    """
    grey = source_grey(item)
    picture = blend(grey, source_map(explained.heatmap, item, recipe))
    if (turn := item.loaded.header.turn) is not None:
        picture = turn.undo(picture)
    rows, columns = picture.shape[:2]
    scale = min(1.0, longest_side / max(rows, columns))
    size = (max(_MINIMUM_SIDE, round(columns * scale)), max(_MINIMUM_SIDE, round(rows * scale)))
    return picture if scale == 1 else np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def heat_map(
    view: str, number: int, graded: GradedExam, source: Dataset, config: ResultsConfig, now: datetime, seed: str
) -> SCImage:
    """Return the Secondary Capture of one view, without patient and study.

    Args:
        view: One of ``schema.features.VIEWS``.
        number: Instance Number.
        graded: The exam.
        source: Header of the source image.
        config: Manufacturer and software named in the results.
        now: Content date and time.
        seed: Text from which UIDs are derived.
    """
    explained = graded.explanations[view]
    projection, side = view.split("_")
    made = SCImage(
        pixel_array=source_picture(graded.prepared.views[view], explained, graded.recipe, config.heat_map_longest_side),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "F"),
        study_instance_uid=source.StudyInstanceUID,
        series_instance_uid=derived_uid(seed, "heat map series"),
        series_number=config.heat_map_series_number,
        sop_instance_uid=derived_uid(seed, "heat map", view),
        instance_number=number,
        manufacturer=config.manufacturer,
        manufacturer_model_name=config.model_name,
        software_versions=config.software_version,
        series_description="Breast density, research, heat maps",
    )
    made["PatientOrientation"].value = _orientation(source)
    for keyword in ("InstanceCreation", "Content"):
        setattr(made, f"{keyword}Date", now.strftime("%Y%m%d"))
        setattr(made, f"{keyword}Time", now.strftime("%H%M%S"))
    made["DateOfSecondaryCapture"].value = now.strftime("%Y%m%d")
    made["TimeOfSecondaryCapture"].value = now.strftime("%H%M%S")
    made.ImageLaterality, made.ViewPosition = side, projection
    made.BurnedInAnnotation = "NO"
    made.ImageComments = f"{NOTICE} {explained.method}, of class {explained.density}; not for diagnosis."
    made.DerivationDescription = long_string(f"{explained.method}, over the source image, reduced, {view}")
    reference = Dataset()
    reference.ReferencedSOPClassUID, reference.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    purpose = codes.CID7202.SourceImageForImageProcessingOperation
    coded = Dataset()
    coded.CodeValue, coded.CodingSchemeDesignator, coded.CodeMeaning = (
        purpose.value,
        purpose.scheme_designator,
        purpose.meaning,
    )
    reference.PurposeOfReferenceCodeSequence = [coded]
    made.SourceImageSequence = [reference]
    return made


def _orientation(source: Dataset) -> list[str]:
    """Return the Patient Orientation of the source, which the picture shares; empty if it is absent or invalid."""
    value = source.get("PatientOrientation")
    found = [] if value is None or isinstance(value, str) else [str(direction) for direction in value]
    return found if len(found) == 2 and all(map(_DIRECTIONS.fullmatch, found)) else []
