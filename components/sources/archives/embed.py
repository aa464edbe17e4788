"""EMBED Open Data: the public fifth of the Emory Breast Imaging Dataset, some 480,000 images, United States, digital.

Layout (AWS Open Data): ``images/cohort_N/...`` and two tables in ``tables/``. ``EMBED_OpenData_metadata.csv`` has a row
per image: ``anon_dicom_path`` (absolute on the authors' machine; only the part from ``cohort_N`` on is valid
elsewhere), ``empi_anon`` (patient), ``acc_anon`` (exam), ``ImageLateralityFinal`` (L, R), ``ViewPosition``,
``FinalImageType`` (2D, 3D, cview, ROI_SSC and others), ``spot_mag`` (1 for spot compression and magnification),
``ManufacturerModelName`` and many others. ``EMBED_OpenData_clinical.csv`` has a row per finding: ``acc_anon``, ``side``
(L, R, B or none), ``tissueden`` (1 to 4; 5 = normal male), ``age_at_study`` and others. The adapter reads density and
age per exam, and does not use findings.

If the table does not name the view, the file's header does. Only 2D images are used. There is no official split: the
hash of the patient decides.

Source: Jeong et al., "The EMory BrEast imaging Dataset (EMBED)", Radiology: Artificial Intelligence 5(1):e220047, 2023,
doi 10.1148/ryai.220047; https://github.com/Emory-HITI/EMBED_Open_Data and https://docs.hitilab.com/datasets/embed.
"""

from __future__ import annotations

import re
from typing import Final

from components.dicom.rejections import RejectionReason
from components.sources.archives.listing import Listing, is_image, without_suffix
from components.sources.archives.rows import ImageRows, exam_densities, index_files, reject
from schema.features import DENSITY_CLASSES

_IMAGE_COLUMNS: Final = (
    "anon_dicom_path",
    "empi_anon",
    "acc_anon",
    "imagelateralityfinal",
    "viewposition",
    "finalimagetype",
    "spot_mag",
)
_EXAM_COLUMNS: Final = ("acc_anon", "tissueden")
_DENSITIES: Final = {
    text: density for number, density in enumerate(DENSITY_CLASSES, start=1) for text in (f"{number}", f"{number}.0")
}
_COHORT: Final = re.compile(r"(?:^|.*/)(cohort_[0-9]+/.*)")


def read(listing: Listing) -> ImageRows:
    """Read the archive's rows.

    Raises:
        ManifestError: A table is missing or lacks columns.
    """
    metadata, clinical = (listing.require(f"EMBED_OpenData_{name}.csv") for name in ("metadata", "clinical"))
    table = listing.table(metadata, _IMAGE_COLUMNS)
    exams = listing.table(clinical, _EXAM_COLUMNS, ("side", "age_at_study"))
    inside = table["anon_dicom_path"].str.extract(_COHORT.pattern, expand=False).fillna(table["anon_dicom_path"])
    table["key"] = inside.str.replace(r"\.[A-Za-z]+$", "", regex=True)
    table["named"] = "images/" + inside.str.lstrip("/")
    table["source"] = metadata
    table["exam_id"], table["patient_id"] = table["acc_anon"], table["empi_anon"]
    table["side"] = table["imagelateralityfinal"].where(table["imagelateralityfinal"].isin(("L", "R")), "")
    table["projection"] = table["viewposition"]
    ages = exams[exams["age_at_study"] != ""].drop_duplicates("acc_anon").set_index("acc_anon")["age_at_study"]
    table["age"] = table["exam_id"].map(ages).fillna("")

    kind, allowed = table["finalimagetype"], "2D images are supported"
    reject(table, kind == "3D", RejectionReason.TOMOSYNTHESIS, "finalimagetype", allowed)
    reject(table, kind == "cview", RejectionReason.SYNTHETIC_2D, "finalimagetype", allowed)
    reject(table, kind != "2D", RejectionReason.UNSUPPORTED_IMAGE, "finalimagetype", allowed)
    special = ~table["spot_mag"].isin(("", "0", "0.0"))
    allowed = "spot compression and magnification are left out"
    reject(table, special, RejectionReason.SPOT_COMPRESSION, "spot_mag", allowed)
    images = (file for file in listing.files if is_image(file))
    matches = ((file, _COHORT.fullmatch(file)) for file in images)
    return ImageRows(
        table,
        exam_densities(exams["acc_anon"], exams["side"], exams["tissueden"], _DENSITIES),
        index_files(listing, {file: without_suffix(match[1]) for file, match in matches if match}),
        (metadata, clinical),
        {},
    )
