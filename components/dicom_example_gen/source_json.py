"""An archive's source as a string, as TFX parameters are."""

from __future__ import annotations

import json
from pathlib import Path

from components.dicom_example_gen.manifest import FolderSource, ManifestSource, Source


def source_to_json(source: Source) -> str:
    """Writes a source as JSON: ``folder`` and ``labels``, or ``manifest``."""
    paths = (
        {"folder": source.folder, "labels": source.labels}
        if isinstance(source, FolderSource)
        else {"manifest": source.manifest}
    )
    return json.dumps({name: str(path) for name, path in paths.items()}, sort_keys=True)


def source_from_json(text: str) -> Source:
    """Reads what :func:`source_to_json` wrote."""
    paths = {name: Path(path) for name, path in json.loads(text).items()}
    return ManifestSource(**paths) if "manifest" in paths else FolderSource(**paths)
