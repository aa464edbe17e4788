"""The adapter of each archive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from components.sources.archives import cbis_ddsm, embed, inbreast, rsna_screening, vindr_mammo
from components.sources.archives.kinds import ArchiveKind
from components.sources.archives.listing import Listing
from components.sources.archives.rows import ImageRows, offered
from components.sources.candidates import Candidates

_ADAPTERS: Final[Mapping[ArchiveKind, Callable[[Listing], ImageRows]]] = {
    ArchiveKind.CBIS_DDSM: cbis_ddsm.read,
    ArchiveKind.EMBED: embed.read,
    ArchiveKind.INBREAST: inbreast.read,
    ArchiveKind.RSNA_SCREENING: rsna_screening.read,
    ArchiveKind.VINDR_MAMMO: vindr_mammo.read,
}


def archive_candidates(kind: ArchiveKind, listing: Listing) -> Candidates:
    """Lists what a downloaded archive offers for ingest.

    Args:
        kind: Which archive.
        listing: Its files.

    Returns:
        Candidates with view and label, sorted by file; what is unusable is rejected by type.

    Raises:
        ManifestError: A label file is missing, or lacks columns.
    """
    return offered(listing, _ADAPTERS[kind](listing))
