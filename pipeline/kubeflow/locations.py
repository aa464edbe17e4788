"""Where an artifact of Kubeflow Pipelines lies: its URI, and the folder that the launcher copies it to and from.

The launcher, which starts each node's command, downloads every input artifact before and uploads every output after.
A node that works on these local files needs no client of the object store, and leaves no zero-byte objects in the place
of folders, at which the launcher fails (kubeflow/pipelines issue 13476).

With a volume as pipeline root, all nodes work on it, under :data:`VOLUME_ROOT`. URIs stay the object store's, since the
launcher refuses all others; but it finds nothing in its own folders, so it copies nothing, and does not write over
files that other pods read.

Source: kubeflow/pipelines, backend/src/v2/component/launcher_v2.go, LocalPathForURI
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

# Where nodes see the volume that is the pipeline root.
VOLUME_ROOT: Final = "/artifacts"
_FOLDERS: Final = {"gs://": "gcs", "minio://": "minio", "s3://": "s3"}


class LocationError(ValueError):
    """An artifact lies where the launcher cannot copy it from."""


def local_path(uri: str, root: Path) -> Path:
    """Tells where an artifact's files are.

    Args:
        uri: Its URI.
        root: ``/`` in a pod, where the launcher puts them; :data:`VOLUME_ROOT` where they are on a volume.

    Raises:
        LocationError: The URI has another scheme, or steps out of its bucket.
    """
    for scheme, folder in _FOLDERS.items():
        if uri.startswith(scheme):
            key = uri.removeprefix(scheme).partition("?")[0]
            if ".." in key.split("/"):
                raise LocationError(f"A URI must not step out of its bucket. Received: {uri}")
            return root / folder / key
    raise LocationError(f"Artifacts are in {', '.join(_FOLDERS)}. Received: {uri}")
