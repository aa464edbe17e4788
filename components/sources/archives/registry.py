"""Registry of the archives' adapters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from components.sources.archives import ArchiveKind, cbis_ddsm, embed, inbreast, rsna_screening, vindr_mammo
from components.sources.archives.listing import Listing
from components.sources.archives.rows import ImageRows, make_candidates
from components.sources.candidates import Candidates

_ADAPTERS: Final[Mapping[ArchiveKind, Callable[[Listing], ImageRows]]] = {
    ArchiveKind.CBIS_DDSM: cbis_ddsm.read,
    ArchiveKind.EMBED: embed.read,
    ArchiveKind.INBREAST: inbreast.read,
    ArchiveKind.RSNA_SCREENING: rsna_screening.read,
    ArchiveKind.VINDR_MAMMO: vindr_mammo.read,
}


def archive_candidates(kind: ArchiveKind, listing: Listing) -> Candidates:
    """Return the candidates of a downloaded archive.

    Args:
        kind: The archive.
        listing: Its files.

    Returns:
        Candidates with view and label, sorted by file; unusable ones have a typed rejection.

    Raises:
        ManifestError: A label file is missing or lacks columns.
    """
    return make_candidates(listing, _ADAPTERS[kind](listing))
