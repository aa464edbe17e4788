"""TFRecord shards, their index, and files that are written atomically.

A node that turns images into images works shard by shard: one input shard gives one output shard. So each worker holds
one image in memory, whatever the size of the archive, and a rerun writes the same bytes.

The index ``index.json`` lists the records of each shard of an Examples artifact, so that counting or comparing them
reads no images. It lies beside the split folders, where TFX reads nothing.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import tensorflow as tf

_SPAN: Final = re.compile(r"span-(\d+)-")
_INDEX: Final = "index.json"
_UNFINISHED: Final = ".partial"


class EmptySplitError(ValueError):
    """A split has no image, so it cannot serve for training, selection or evaluation."""


def split_folder(uri: str, split: str) -> str:
    """Return the folder of a split in an Examples artifact, in TFX's layout."""
    return os.path.join(uri, f"Split-{split}")


def shard_name(index: int, count: int) -> str:
    """Return the file name of shard ``index`` of ``count``."""
    return f"views-{index:05d}-of-{count:05d}.gz"


def span_prefix(span: int) -> str:
    """Return the prefix of a span's shard names if there are several spans: ``span-00012-``."""
    return f"span-{span:05d}-"


def span_of_shard(path: str) -> int | None:
    """Return the span in a shard's name; None if the name has no span."""
    match = _SPAN.match(os.path.basename(path))
    return int(match.group(1)) if match else None


def shards_of(folder: str) -> list[str]:
    """List the TFRecord shards in a split folder, sorted."""
    return sorted(tf.io.gfile.glob(os.path.join(folder, "*.gz")))


def read_shard(path: str) -> Iterator[bytes]:
    """Yield the serialized records of a gzip TFRecord file, and check their checksums.

    TensorFlow marks this reader as deprecated and recommends ``tf.data``. For records of a megabyte, ``tf.data`` takes
    five times as long, and its own threads use the cores of other Beam workers.

    Raises:
        tf.errors.DataLossError: The file is truncated or damaged.
    """
    yield from tf.compat.v1.io.tf_record_iterator(path, tf.io.TFRecordOptions(compression_type="GZIP"))


def write_shard(path: str, records: Iterable[bytes]) -> int:
    """Write a gzip TFRecord file under a temporary name and rename it when it is complete.

    Args:
        path: File to write; its folder is created.
        records: Serialized records. If there are none, no file is written.

    Returns:
        Number of records written.
    """
    tf.io.gfile.makedirs(os.path.dirname(path))
    # TFX reads every file in a split folder, so the unfinished file lies in the parent folder.
    temporary = os.path.join(os.path.dirname(os.path.dirname(path)), f".{uuid.uuid4().hex}{_UNFINISHED}")
    count = 0
    options = tf.io.TFRecordOptions(compression_type="GZIP", compression_level=0)  # PNG does not shrink further
    try:
        with tf.io.TFRecordWriter(temporary, options) as writer:
            for record in records:
                writer.write(record)
                count += 1
        if count:
            tf.io.gfile.rename(temporary, path, overwrite=True)
    finally:
        remove_file(temporary)
    return count


def remove_unfinished(folder: str) -> None:
    """Remove the unfinished files of killed workers, also in all subfolders; complete files stay."""
    for place, _, names in tf.io.gfile.walk(folder):
        for name in names:
            if name.endswith(_UNFINISHED):
                remove_file(os.path.join(place, name))


def relative_name(path: str) -> str:
    """Return a shard's name in its Examples artifact: ``Split-train/views-00000-of-00003.gz``."""
    return "/".join(path.split("/")[-2:])


def read_bytes(path: str | Path) -> bytes:
    """Read a file from any filesystem that TensorFlow supports."""
    with tf.io.gfile.GFile(os.fspath(path), "rb") as file:
        result: bytes = file.read()
        return result


def remove_file(path: str) -> None:
    """Remove a file; do nothing if it is absent."""
    if tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file under a temporary name beside it and rename it when it is complete; create its folder."""
    path = os.fspath(path)
    tf.io.gfile.makedirs(os.path.dirname(path))
    temporary = f"{path}.{uuid.uuid4().hex}{_UNFINISHED}"
    try:
        with tf.io.gfile.GFile(temporary, "wb") as file:
            file.write(data)
        tf.io.gfile.rename(temporary, path, overwrite=True)
    finally:
        remove_file(temporary)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


@dataclass(frozen=True)
class IndexedView:
    """One record of a shard.

    Attributes:
        patient_id: Keyed hash.
        exam_id: Keyed hash.
        view: One of ``schema.features.VIEWS``.
        pixels: ``png.pixels_sha256`` of the decoded image.
    """

    patient_id: str
    exam_id: str
    view: str
    pixels: str


ShardIndex = Mapping[str, Sequence[IndexedView]]


def write_index(uri: str, index: ShardIndex) -> None:
    """Write the index of an Examples artifact.

    Args:
        uri: Folder of the artifact.
        index: ``relative_name`` of each shard -> its records, in order.
    """
    rows = {name: [dataclasses.astuple(view) for view in views] for name, views in index.items()}
    write_text(os.path.join(uri, _INDEX), json.dumps(rows, sort_keys=True))


def read_index(uri: str) -> ShardIndex:
    """Read the index of an Examples artifact; it is empty if :func:`write_index` did not write one."""
    path = os.path.join(uri, _INDEX)
    if not tf.io.gfile.exists(path):
        return {}
    rows = json.loads(read_bytes(path))
    return {name: tuple(IndexedView(*row) for row in views) for name, views in rows.items()}
