"""VinDr-Mammo: 5,000 exams of four views, Vietnam, digital.

Layout (PhysioNet, https://physionet.org/content/vindr-mammo/1.0.0/): ``images/STUDY/IMAGE.dicom``, and
``breast-level_annotations.csv`` with a row per image: ``study_id``, ``series_id``, ``image_id``, ``laterality`` (L, R),
``view_position`` (CC, MLO), ``height``, ``width``, ``breast_birads``, ``breast_density`` (``DENSITY A`` to
``DENSITY D``), ``split`` (``training``, ``test``). Converted copies keep folder and stem.

Official split: 4,000 exams for training and 1,000 for test; the hash of the patient selects the validation set from the
training set. The tables do not identify patients, so each study counts as a patient. Age and machine are in the DICOM
header.

Source: Nguyen et al., "VinDr-Mammo: A large-scale benchmark dataset for computer-aided detection and diagnosis in
full-field digital mammography", Scientific Data 10:277, 2023, doi 10.1038/s41597-023-02100-7.
"""

from __future__ import annotations

from typing import Final

from components.dicom.rejections import RejectionReason
from components.sources.archives.listing import Listing, is_image, without_suffix
from components.sources.archives.rows import ImageRows, exam_densities, index_files, reject
from components.sources.candidates import DEVELOPMENT
from schema.features import DENSITY_CLASSES

_COLUMNS: Final = ("study_id", "image_id", "laterality", "view_position", "breast_density", "split")
_DENSITIES: Final = {f"DENSITY {density}": density for density in DENSITY_CLASSES}
_SPLITS: Final = {"training": DEVELOPMENT, "test": "test"}


def read(listing: Listing) -> ImageRows:
    """Read the archive's rows.

    Raises:
        ManifestError: The label file is missing or lacks columns.
    """
    labels = listing.require("breast-level_annotations.csv")
    table = listing.table(labels, _COLUMNS)
    table["key"] = table["study_id"] + "/" + table["image_id"]
    table["named"] = "images/" + table["key"] + ".dicom"
    table["source"] = labels
    table["exam_id"] = table["patient_id"] = table["study_id"]
    table["side"], table["projection"] = table["laterality"], table["view_position"]
    official = table["split"].str.lower()
    reject(table, ~official.isin(_SPLITS), RejectionReason.INVALID_ROW, "split", f"{', '.join(_SPLITS)} are allowed")
    table["split"] = official.map(_SPLITS).fillna("")
    return ImageRows(
        table,
        exam_densities(table["exam_id"], table["side"], table["breast_density"].str.upper(), _DENSITIES),
        index_files(listing, {f: "/".join(without_suffix(f).split("/")[-2:]) for f in listing.files if is_image(f)}),
        (labels,),
        {},
    )
