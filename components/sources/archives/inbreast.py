"""INbreast: 115 exams, 410 images, Portugal, digital.

Layout of the release: ``AllDICOMs/FILE_PATIENT_MG_SIDE_VIEW_ANON.dcm``, and ``INbreast.csv``, separated by semicolons,
with a row per image: ``Patient ID`` and ``Patient age`` (both ``removed``), ``Laterality`` (L, R), ``View`` (CC, MLO),
``Acquisition date`` (YYYYMM), ``File Name`` (the number before the first underscore), ``ACR`` (1 to 4; one is blank),
``Bi-Rads``.

Only the file's name identifies the patient. An exam consists of a patient's images of one month. There is no official
split: the hash of the patient decides.

Source: Moreira et al., "INbreast: toward a full-field digital mammographic database", Academic Radiology 19(2):236-248,
2012, doi 10.1016/j.acra.2011.09.014.
"""

from __future__ import annotations

import re
from posixpath import basename, splitext
from typing import Final

from components.dicom.rejections import RejectionReason
from components.sources.archives.listing import Listing, is_image
from components.sources.archives.rows import ImageRows, exam_densities, index_files, reject
from schema.features import DENSITY_CLASSES

_COLUMNS: Final = ("laterality", "view", "acquisition_date", "file_name", "acr")
_DENSITIES: Final = {str(number): density for number, density in enumerate(DENSITY_CLASSES, start=1)}
_NAME: Final = re.compile(r"([0-9]+)(?:_([0-9a-z]+)_.*)?", re.I)


def read(listing: Listing) -> ImageRows:
    """Read the archive's rows.

    Raises:
        ManifestError: The label file is missing or lacks columns.
    """
    labels = listing.require("INbreast.csv")
    table = listing.table(labels, _COLUMNS)
    table = table[table["file_name"] != ""].copy()  # spreadsheets leave empty rows at the end
    names = {f: match for f in listing.files if is_image(f) and (match := _NAME.fullmatch(splitext(basename(f))[0]))}
    patients = {match[1]: match[2] for match in names.values() if match[2]}
    table["key"] = table["file_name"]
    table["named"] = "AllDICOMs/" + table["key"] + ".dcm"
    table["source"] = labels
    table["patient_id"] = table["key"].map(patients).fillna("")
    known = table["patient_id"] != ""
    on_disk = table["key"].isin({match[1] for match in names.values()})
    allowed = "the file must be named FILE_PATIENT_MG_SIDE_VIEW_ANON, as in the release, to tell its patient"
    reject(table, ~known & on_disk, RejectionReason.INVALID_ROW, "file_name", allowed)
    # The exam of a missing image is unknown: it counts as a separate exam.
    exams = table["patient_id"].where(known, table["key"])
    table["exam_id"] = exams + " " + table["acquisition_date"]
    table["side"], table["projection"] = table["laterality"], table["view"]
    return ImageRows(
        table,
        exam_densities(table["exam_id"], table["side"], table["acr"], _DENSITIES),
        index_files(listing, {file: match[1] for file, match in names.items()}),
        (labels,),
        {},
    )
