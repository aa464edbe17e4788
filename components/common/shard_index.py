"""What each shard of an Examples artifact holds, so that nobody reads images to count or compare them.

The file ``index.json`` lies beside the split folders, where TFX reads nothing.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import tensorflow as tf

from components.common.shards import read_bytes, write_text

_FILE: Final = "index.json"


@dataclass(frozen=True)
class IndexedView:
    """One record.

    Attributes:
        patient_id: Keyed hash.
        exam_id: Keyed hash.
        view: One of ``schema.features.VIEWS``.
        pixels: ``pixels.pixels_sha256`` of the decoded image.
    """

    patient_id: str
    exam_id: str
    view: str
    pixels: str


ShardIndex = Mapping[str, Sequence[IndexedView]]


def write_index(uri: str, index: ShardIndex) -> None:
    """Writes the index of an Examples artifact.

    Args:
        uri: The artifact's.
        index: ``shards.relative_name`` of a shard -> its records, in order.
    """
    rows = {name: [dataclasses.astuple(view) for view in views] for name, views in index.items()}
    write_text(os.path.join(uri, _FILE), json.dumps(rows, sort_keys=True))


def read_index(uri: str) -> ShardIndex:
    """Reads what :func:`write_index` wrote; empty for examples of another origin."""
    path = os.path.join(uri, _FILE)
    if not tf.io.gfile.exists(path):
        return {}
    rows = json.loads(read_bytes(path))
    return {name: tuple(IndexedView(*row) for row in views) for name, views in rows.items()}
