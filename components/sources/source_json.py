"""An archive's source as a string, as TFX parameters are."""

from __future__ import annotations

import json

from components.common.location import location
from components.sources.archives.kinds import ArchiveKind
from components.sources.source import ArchiveSource, FolderSource, ManifestSource, Source


def source_to_json(source: Source) -> str:
    """Writes a source as JSON.

    Its keys are ``folder`` and ``labels``, ``manifest``, or ``archive`` (its kind) and ``folder``, and
    ``density_values`` where there are any.
    """
    if isinstance(source, ArchiveSource):
        values = {"archive": source.kind.value, "folder": str(source.folder)}
    elif isinstance(source, FolderSource):
        values = {"folder": str(source.folder), "labels": str(source.labels)}
    else:
        values = {"manifest": str(source.manifest)}
    if not isinstance(source, ArchiveSource) and source.density_values:
        values["density_values"] = json.dumps(dict(source.density_values))
    return json.dumps(values, sort_keys=True)


def source_from_json(text: str) -> Source:
    """Reads what :func:`source_to_json` wrote."""
    values = json.loads(text)
    if "archive" in values:
        return ArchiveSource(ArchiveKind(values["archive"]), location(values["folder"]))
    densities = tuple(json.loads(values.get("density_values", "{}")).items())
    if "manifest" in values:
        return ManifestSource(location(values["manifest"]), densities)
    return FolderSource(location(values["folder"]), location(values["labels"]), densities)
