"""RSNA Screening Mammography Breast Cancer Detection (Kaggle, 2022): 11,913 exams of two sites, digital.

Layout (https://www.kaggle.com/competitions/rsna-breast-cancer-detection/data): ``train_images/PATIENT/IMAGE.dcm``, and
``train.csv`` with a row per image: ``site_id``, ``patient_id``, ``image_id``, ``laterality`` (L, R), ``view`` (CC, MLO,
and few others), ``age``, ``cancer``, ``biopsy``, ``invasive``, ``BIRADS``, ``implant`` (0, 1), ``density`` (A to D;
site 2 gives none), ``machine_id``, ``difficult_negative_case``. Converted copies keep folder and stem.

Each patient has one exam. Headers do not name the machine, so ``machine_id`` represents the acquisition system. There
is no official split of the labelled exams: the hash of the patient decides. The competition's test set has no
densities.
"""

from __future__ import annotations

from typing import Final

from components.dicom.rejections import RejectionReason
from components.sources.archives.listing import Listing, is_image, without_suffix
from components.sources.archives.rows import ImageRows, exam_densities, index_files, reject
from schema.features import DENSITY_CLASSES

_COLUMNS: Final = ("patient_id", "image_id", "laterality", "view", "implant", "density")
_OPTIONAL: Final = ("site_id", "age", "machine_id")


def read(listing: Listing) -> ImageRows:
    """Read the archive's rows.

    Raises:
        ManifestError: The label file is missing or lacks columns.
    """
    labels = listing.require("train.csv")
    table = listing.table(labels, _COLUMNS, _OPTIONAL)
    table["key"] = table["patient_id"] + "/" + table["image_id"]
    table["named"] = "train_images/" + table["key"] + ".dcm"
    table["source"] = labels
    table["exam_id"] = table["patient_id"]
    table["side"], table["projection"] = table["laterality"], table["view"]
    table["acquisition_system"] = ("RSNA machine " + table["machine_id"]).where(table["machine_id"] != "", "")
    implants = table["implant"].isin(("1", "1.0"))
    reject(table, implants, RejectionReason.IMPLANT_PRESENT, "implant", "breasts without implant are supported")
    return ImageRows(
        table,
        exam_densities(
            table["exam_id"], table["side"], table["density"].str.upper(), {name: name for name in DENSITY_CLASSES}
        ),
        index_files(listing, {f: "/".join(without_suffix(f).split("/")[-2:]) for f in listing.files if is_image(f)}),
        (labels,),
        {},
    )
