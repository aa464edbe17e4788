"""Public mammography archives, each read from its own published files.

An adapter knows only one archive's file layout, the columns of its label files and its official split. It returns one
table with a row per image (``rows.ImageRows``). ``rows.make_candidates`` turns this table into candidates, in the same
way for all archives.
"""

from __future__ import annotations

from enum import Enum


class ArchiveKind(str, Enum):
    """A public archive, by its name in configuration and on the command line."""

    CBIS_DDSM = "cbis_ddsm"
    EMBED = "embed"
    INBREAST = "inbreast"
    RSNA_SCREENING = "rsna_screening"
    VINDR_MAMMO = "vindr_mammo"
