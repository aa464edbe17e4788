"""TFRecord shards and files that are written whole or not at all.

A node that turns images into images works shard by shard: one input shard gives one output shard, so memory holds one
image a worker however large the archive, and a rerun gives the same bytes.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import tensorflow as tf

_SPAN: Final = re.compile(r"span-(\d+)-")


_UNFINISHED: Final = ".partial"


class EmptySplitError(ValueError):
    """A split has no image, so nothing can be trained, chosen or judged."""


def split_folder(uri: str, split: str) -> str:
    """Returns the folder of a split in an Examples artifact, as TFX lays it out."""
    return os.path.join(uri, f"Split-{split}")


def shard_name(index: int, count: int) -> str:
    """Returns the file name of shard ``index`` of ``count``."""
    return f"views-{index:05d}-of-{count:05d}.gz"


def span_prefix(span: int) -> str:
    """Returns what the names of a span's shards begin with where there are several spans: ``span-00012-``."""
    return f"span-{span:05d}-"


def span_of_shard(path: str) -> int | None:
    """Returns the span that a shard's name tells; None where there is one span, or none."""
    match = _SPAN.match(os.path.basename(path))
    return int(match.group(1)) if match else None


def shards_of(folder: str) -> list[str]:
    """Lists the TFRecord shards in a split folder, sorted."""
    return sorted(tf.io.gfile.glob(os.path.join(folder, "*.gz")))


def read_shard(path: str) -> Iterator[bytes]:
    """Yields the serialized records of a gzip TFRecord file, their checksums checked.

    TensorFlow calls this reader deprecated. The one that it names instead, ``tf.data``, takes five times as long for
    records of a megabyte and works in threads of its own, which take the cores of other Beam workers.

    Raises:
        tf.errors.DataLossError: The file is truncated or damaged.
    """
    yield from tf.compat.v1.io.tf_record_iterator(path, tf.io.TFRecordOptions(compression_type="GZIP"))


def write_shard(path: str, records: Iterable[bytes]) -> int:
    """Writes a gzip TFRecord file under a temporary name and renames it when it is whole.

    Args:
        path: File to write; its folder is made.
        records: Serialized records. When there is none, no file is written.

    Returns:
        Number of records written.
    """
    tf.io.gfile.makedirs(os.path.dirname(path))
    # TFX reads every file of a split folder, so the unfinished one waits in the parent.
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
    """Removes, in all subfolders too, what a worker that was killed had begun to write; whole files stay."""
    for place, _, names in tf.io.gfile.walk(folder):
        for name in names:
            if name.endswith(_UNFINISHED):
                remove_file(os.path.join(place, name))


def relative_name(path: str) -> str:
    """Returns a shard's name in its Examples artifact: ``Split-train/views-00000-of-00003.gz``."""
    return "/".join(path.split("/")[-2:])


def read_bytes(path: str | Path) -> bytes:
    """Reads a file of any filesystem that TensorFlow knows."""
    with tf.io.gfile.GFile(os.fspath(path), "rb") as file:
        return file.read()


def remove_file(path: str) -> None:
    """Removes a file that may be absent."""
    if tf.io.gfile.exists(path):
        tf.io.gfile.remove(path)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Writes a file under a temporary name beside it and renames it when it is whole; its folder is made."""
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
    """Writes a UTF-8 text file whole or not at all."""
    write_bytes(path, text.encode())
