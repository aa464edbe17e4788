"""Make the source of the archive in a configuration."""

from __future__ import annotations

from components.common.location import absolute
from components.sources.source import ArchiveSource, FolderSource, ManifestSource, Source
from pipeline.config import DataConfig


def source_of(data: DataConfig) -> Source:
    """Return the source in the configuration, with absolute paths."""
    if data.manifest is not None:
        return ManifestSource(absolute(data.manifest), data.densities)
    assert data.folder is not None
    if data.archive is not None:
        return ArchiveSource(data.archive, absolute(data.folder))
    assert data.labels is not None
    return FolderSource(absolute(data.folder), absolute(data.labels), data.densities)
