"""Names of the archives that have an adapter."""

from __future__ import annotations

from enum import Enum


class ArchiveKind(str, Enum):
    """A public archive, by the name that configuration and command line give it."""

    CBIS_DDSM = "cbis_ddsm"
    EMBED = "embed"
    INBREAST = "inbreast"
    RSNA_SCREENING = "rsna_screening"
    VINDR_MAMMO = "vindr_mammo"
