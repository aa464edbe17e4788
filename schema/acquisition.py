"""Acquisition systems: manufacturer, model and software version, canonicalised in one place.

Two systems of the reference data set differ only in the software version, so all three parts count. An unknown system
keeps the name in its file, without special characters and repeated blanks. It is never dropped. The header of a
de-identified image may name neither manufacturer nor model: then the kind of image takes the place of the system.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from schema.features import UNKNOWN

# Pattern found in Manufacturer (0008,0070) -> canonical name. First match wins.
_MANUFACTURERS: Final = (
    (re.compile(r"^ge\b|general electric", re.I), "GE"),
    (re.compile(r"hologic|^lorad", re.I), "Hologic"),
    (re.compile(r"\bi\.?m\.?s\b|giotto", re.I), "IMS"),
    (re.compile(r"siemens", re.I), "Siemens"),
    (re.compile(r"fuji", re.I), "Fujifilm"),
    (re.compile(r"philips|sectra", re.I), "Philips"),
    (re.compile(r"planmed", re.I), "Planmed"),
    (re.compile(r"carestream|kodak", re.I), "Carestream"),
)


# Kinds of image, where the header names no system. A fourth kind is ``unknown``.
DIGITAL_DETECTOR: Final = "digital detector"
DIGITISED_FILM: Final = "digitised film"
SECONDARY_CAPTURE: Final = "secondary capture"
IMAGE_KINDS: Final = (DIGITAL_DETECTOR, DIGITISED_FILM, SECONDARY_CAPTURE, UNKNOWN)


@dataclass(frozen=True)
class AcquisitionSystem:
    """The machine and software that made an image.

    Attributes:
        manufacturer: Canonical manufacturer, or ``unknown``.
        model_name: Manufacturer's model name, or ``unknown``.
        software_version: Software version, or ``unknown``.
    """

    manufacturer: str
    model_name: str
    software_version: str

    @property
    def key(self) -> str:
        """The slicing key, such as ``GE Senograph DS ADS 53.40``."""
        parts = [p for p in (self.manufacturer, self.model_name, self.software_version) if p != UNKNOWN]
        return " ".join(parts) or UNKNOWN


NO_SYSTEM: Final = AcquisitionSystem(UNKNOWN, UNKNOWN, UNKNOWN)


@dataclass(frozen=True)
class ImageSystem:
    """The acquisition system of one image, as far as it is known.

    Attributes:
        system: From the header.
        kind: Kind of image, one of ``IMAGE_KINDS``; it counts only if the header names no system.
        label: Name in the labels that replaces the header's, empty = none.
    """

    system: AcquisitionSystem = NO_SYSTEM
    kind: str = UNKNOWN
    label: str = ""

    @property
    def is_named(self) -> bool:
        """True if the header names manufacturer or model."""
        return (self.system.manufacturer, self.system.model_name) != (UNKNOWN, UNKNOWN)

    @property
    def name(self) -> str:
        """Manufacturer and model, or the kind of image."""
        parts = (part for part in (self.system.manufacturer, self.system.model_name) if part != UNKNOWN)
        return " ".join(parts) or self.kind

    @property
    def key(self) -> str:
        """The slicing key: the name in the labels, else the header's with its version, else the kind of image."""
        return self.label or (self.system.key if self.is_named else self.kind)


def recorded_system(key: str, system: AcquisitionSystem) -> ImageSystem:
    """Return the system of an image from its record.

    Args:
        key: The slicing key.
        system: From the header.
    """
    if ImageSystem(system).key == key:
        return ImageSystem(system)
    return ImageSystem(system, kind=key) if key in IMAGE_KINDS else ImageSystem(system, label=key)


@dataclass(frozen=True)
class ReferenceSystem:
    """One of the four systems of the reference data set (thesis, slide "Mammographic systems").

    Attributes:
        system: Canonical system.
        dicom_manufacturer: Manufacturer (0008,0070) as these machines write it.
        rows: Matrix rows, pixels.
        columns: Matrix columns, pixels.
        pixel_spacing_mm: Imager pixel spacing, mm.
        exams: Exams in the reference data set.
    """

    system: AcquisitionSystem
    dicom_manufacturer: str
    rows: int
    columns: int
    pixel_spacing_mm: float
    exams: int


REFERENCE_SYSTEMS: Final = (
    ReferenceSystem(AcquisitionSystem("IMS", "Giotto Image SDL", UNKNOWN), "I.M.S.", 3584, 2816, 0.085, 232),
    ReferenceSystem(
        AcquisitionSystem("Hologic", "Selenia Dimensions", UNKNOWN),
        "HOLOGIC, Inc.",
        4096,
        3328,
        0.070,
        50,
    ),
    ReferenceSystem(
        AcquisitionSystem("GE", "Senograph DS", "ADS 54.11"),
        "GE MEDICAL SYSTEMS",
        2294,
        1914,
        0.100,
        121,
    ),
    ReferenceSystem(
        AcquisitionSystem("GE", "Senograph DS", "ADS 53.40"),
        "GE MEDICAL SYSTEMS",
        2294,
        1914,
        0.100,
        1561,
    ),
)


def _tidy(value: str | Sequence[str] | None) -> str:
    if value is None:
        return UNKNOWN
    text = value if isinstance(value, str) else "/".join(str(v) for v in value)
    text = re.sub(r"[^\w .,/+-]", " ", text)
    return re.sub(r"\s+", " ", text).strip()[:64] or UNKNOWN


def _canonical_manufacturer(value: str) -> str:
    for pattern, name in _MANUFACTURERS:
        if pattern.search(value):
            return name
    return value


def _canonical_model(value: str) -> str:
    # "Senographe DS VERSION ADS_53.40" and "Senograph DS" are one model; the version is a separate part.
    value = re.sub(r"\bversion\b.*$", "", value, flags=re.I).strip() or UNKNOWN
    if re.search(r"senograph", value, re.I):
        return re.sub(r"senographe?", "Senograph", value, flags=re.I)
    if re.search(r"selenia dimensions", value, re.I):
        return "Selenia Dimensions"
    if re.search(r"giotto image", value, re.I):
        return "Giotto Image SDL"
    return value


def _canonical_version(value: str) -> str:
    match = re.search(r"ads[ _]*v?(?:ersion)?[ _]*(\d+(?:\.\d+)*)", value, re.I)
    return f"ADS {match.group(1)}" if match else value


def canonical_system(
    manufacturer: str | None,
    model_name: str | None,
    software_version: str | Sequence[str] | None,
) -> AcquisitionSystem:
    """Return the canonical acquisition system of a DICOM header.

    Args:
        manufacturer: Manufacturer (0008,0070).
        model_name: Manufacturer's Model Name (0008,1090); a trailing ``VERSION ...`` counts as software version
            if (0018,1020) is absent.
        software_version: Software Versions (0018,1020), one value or several.

    Returns:
        The canonical system; absent parts are ``unknown``, unknown names are kept.
    """
    model = _tidy(model_name)
    version = _tidy(software_version)
    if version == UNKNOWN and (in_model := re.search(r"\bversion\b[ _]*(.+)$", model, re.I)):
        version = in_model.group(1).strip()
    return AcquisitionSystem(
        _canonical_manufacturer(_tidy(manufacturer)),
        _canonical_model(model),
        _canonical_version(version),
    )
