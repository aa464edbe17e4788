"""Feature names, views and density classes: the data contract between nodes, server and client."""

from __future__ import annotations

from typing import Final, Literal, get_args

# BI-RADS 5th edition density classes, in this order everywhere (index = network output).
DENSITY_CLASSES: Final = ("A", "B", "C", "D")
DENSITY_MEANINGS: Final = {
    "A": "almost entirely fatty",
    "B": "scattered fibroglandular density",
    "C": "heterogeneously dense",
    "D": "extremely dense",
}

# The four standard screening views: projection and laterality.
ViewName = Literal["CC_R", "CC_L", "MLO_R", "MLO_L"]
VIEWS: Final[tuple[str, ...]] = get_args(ViewName)

SPLITS: Final = ("train", "eval", "test")

# Class distributions of the thesis, and methods to segment the pectoral muscle.
ClassDistribution = Literal["AOUP", "BIRADS", "uniform"]
PectoralMethod = Literal["auto", "thesis", "none"]

# Written by DicomExampleGen, one tf.Example per image.
IMAGE: Final = "image/encoded"  # bytes, PNG (16 bit after ingest, 8 bit after preprocessing)
IMAGE_HEIGHT: Final = "image/height"  # int64, pixels
IMAGE_WIDTH: Final = "image/width"  # int64, pixels
PIXEL_SPACING_MM: Final = "image/pixel_spacing_mm"  # float, of the encoded image; 0 = unknown
VIEW: Final = "view"
LATERALITY: Final = "laterality"  # R or L
EXAM_ID: Final = "exam_id"  # keyed hash
PATIENT_ID: Final = "patient_id"  # keyed hash
DENSITY: Final = "density"  # A, B, C, D
ACQUISITION_SYSTEM: Final = "acquisition_system"
MANUFACTURER: Final = "manufacturer"
MODEL_NAME: Final = "model_name"
SOFTWARE_VERSION: Final = "software_version"
PATIENT_AGE: Final = "patient_age"  # int64, years; -1 = unknown
ACQUISITION_YEAR: Final = "acquisition_year"  # int64; -1 = unknown
# Only of exams with several readers, who are sorted by name; both features have one value per reader.
READERS: Final = "reading/reader"
READINGS: Final = "reading/density"  # A, B, C, D

# Added by ExamSelector for soft labels, of exams with several readers: the share of the readers who chose each class.
DENSITY_SHARES: Final = "density/shares"  # float [4]

# Added by MammogramPreprocessor.
PECTORAL_STATUS: Final = "pectoral/status"
PECTORAL_AREA_FRACTION: Final = "pectoral/area_fraction"  # float, of breast and muscle, 0..1
BREAST_AREA_FRACTION: Final = "breast/area_fraction"  # float, of the image, 0..1
REGIONS: Final = "segmentation/regions"  # bytes, 8-bit PNG of the image's size; REGION_ values; not a model input

# What a pixel shows. The muscle is marked even if the picture keeps it; labels were blanked in the picture.
REGION_BACKGROUND: Final = 0
REGION_BREAST: Final = 1
REGION_PECTORAL: Final = 2
REGION_LABEL: Final = 3  # bright objects outside the breast: burned-in labels, markers, film edges

PECTORAL_STATUSES: Final = ("removed", "absent", "manual", "failed", "not_applicable")

UNKNOWN: Final = "unknown"
UNKNOWN_INT: Final = -1


def laterality_of(view: str) -> str:
    """Return the side of a view: ``R`` or ``L``.

    Examples:
        >>> laterality_of("MLO_R")
        'R'
    """
    return view.rsplit("_", 1)[1]


def projection_of(view: str) -> str:
    """Return the projection of a view: ``CC`` or ``MLO``.

    Examples:
        >>> projection_of("MLO_R")
        'MLO'
    """
    return view.rsplit("_", 1)[0]


def is_mlo(view: str) -> bool:
    """Return True if a view is mediolateral oblique, which shows the pectoral muscle."""
    return view.startswith("MLO")
