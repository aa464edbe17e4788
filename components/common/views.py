"""Preprocessed views, read from the shards of a split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tensorflow as tf

from components.common.shards import read_shard, shards_of
from schema import features as f


@dataclass(frozen=True)
class View:
    """What is read of a record.

    Attributes:
        image: PNG bytes, 8 bit.
        view: One of VIEWS.
        exam_id: Keyed hash.
        density: True class.
    """

    image: bytes
    view: str
    exam_id: str
    density: str


def read_views(folder: str) -> Iterator[View]:
    """Yields the views of a split folder, shard by shard."""
    for shard in shards_of(folder):
        for record in read_shard(shard):
            values = tf.train.Example.FromString(record).features.feature

            def first(name: str, values: dict = values) -> bytes:
                return values[name].bytes_list.value[0]

            yield View(first(f.IMAGE), first(f.VIEW).decode(), first(f.EXAM_ID).decode(), first(f.DENSITY).decode())
