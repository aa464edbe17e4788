"""CBIS-DDSM: 1,566 patients of the Digital Database for Screening Mammography, United States, film.

Label files: ``mass_case_description_train_set.csv``, ``mass_..._test_set.csv``, ``calc_..._train_set.csv`` and
``calc_..._test_set.csv``, with a row per finding: ``patient_id``, ``breast_density`` (``breast density`` in some; 1 to
4, 0 = none), ``left or right breast``, ``image view``, ``image file path``, ``cropped image file path``, ``ROI mask
file path`` and others. Several rows may name one image. The adapter reads the existing ones of the four files.

Image paths are SERIES/STUDY_UID/SERIES_UID/FILE, with a SERIES such as ``Mass-Training_P_00001_LEFT_CC``. Crops and
masks are in separate folders, ``Mass-Training_P_00001_LEFT_CC_1``. The adapter supports two layouts, which keep one of
the names: TCIA's (``SERIES/...``, the inner folders have changed over time), and the JPEG copy on Kaggle
(``jpeg/SERIES_UID/...``). Masks and crops count as ignored.

All images of a patient are one exam. Official split: training and test; the hash of the patient selects the validation
set from the training set. Masses and calcifications were split separately, so a patient can be in the training set of
one and in the test set of the other. The training images of such patients are rejected as ``split_conflict``; the test
set does not change.

Source: Lee et al., "A curated mammography data set for use in computer-aided detection and diagnosis research",
Scientific Data 4:170177, 2017, doi 10.1038/sdata.2017.177; https://www.cancerimagingarchive.net/collection/cbis-ddsm/.
"""

from __future__ import annotations

from typing import Final

import pandas as pd

from components.dicom.rejections import ManifestError, RejectionReason
from components.sources.archives.listing import Listing, is_image
from components.sources.archives.rows import ImageRows, exam_densities, index_files, reject
from components.sources.candidates import DEVELOPMENT
from schema.features import DENSITY_CLASSES

_LABEL_FILES: Final = {
    "mass_case_description_train_set.csv": DEVELOPMENT,
    "calc_case_description_train_set.csv": DEVELOPMENT,
    "mass_case_description_test_set.csv": "test",
    "calc_case_description_test_set.csv": "test",
}
_DERIVED: Final = ("cropped_image_file_path", "roi_mask_file_path")
_COLUMNS: Final = ("patient_id", "breast_density", "left_or_right_breast", "image_view", "image_file_path")
_DENSITIES: Final = {str(number): density for number, density in enumerate(DENSITY_CLASSES, start=1)}


def _names(paths: pd.Series) -> pd.DataFrame:
    """Return the parts of a path that identify a series: columns 0 (SERIES) and 2 (SERIES_UID)."""
    return paths.str.split("/", expand=True).reindex(columns=[0, 2]).fillna("")


def read(listing: Listing) -> ImageRows:
    """Read the archive's rows.

    Raises:
        ManifestError: All label files are missing, or one of them lacks columns.
    """
    labels = {file: split for name, split in _LABEL_FILES.items() if (file := listing.find(name))}
    if not labels:
        raise ManifestError(f"{listing.root}: at least one of {', '.join(_LABEL_FILES)} must exist.")
    tables = [
        listing.table(file, _COLUMNS, _DERIVED).assign(source=file, split=split) for file, split in labels.items()
    ]
    table = pd.concat(tables, ignore_index=True)
    names = _names(table["image_file_path"])
    table["key"], table["named"] = names[0], table["image_file_path"]
    table["exam_id"] = table["patient_id"]
    table["side"], table["projection"] = table["left_or_right_breast"], table["image_view"]
    in_test = table["patient_id"].isin(table.loc[table["split"] == "test", "patient_id"])
    allowed = "the patient is in the official test set of the other kind of finding"
    reject(table, in_test & (table["split"] != "test"), RejectionReason.SPLIT_CONFLICT, "split", allowed)

    key_of = dict(zip(names[2], names[0], strict=True)) | dict(zip(names[0], names[0], strict=True))
    derived_names = {name for column in _DERIVED for name in _names(table[column]).to_numpy().ravel()} - key_of.keys()
    keys, derived = {}, {}
    for file in filter(is_image, listing.files):
        folders = file.split("/")[:-1]
        if key := next((key_of[folder] for folder in folders if folder and folder in key_of), None):
            keys[file] = key
        elif not derived_names.isdisjoint(folders):
            derived[file] = "ROI mask or crop"
    return ImageRows(
        table,
        exam_densities(table["exam_id"], table["side"], table["breast_density"], _DENSITIES, absent=("", "0")),
        index_files(listing, keys),
        tuple(labels),
        derived,
    )
