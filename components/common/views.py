"""Preprocessed views, read from the shards of a split."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import tensorflow as tf

from components.common.shards import read_shard, shards_of
from schema import features as f
from schema.acquisition import NO_SYSTEM, AcquisitionSystem


@dataclass(frozen=True)
class View:
    """A preprocessed view.

    Attributes:
        image: PNG bytes, 8 bit.
        view: One of VIEWS.
        exam_id: Keyed hash.
        density: True class.
        acquisition_system: Manufacturer, model and software version.
        patient_id: Keyed hash.
        regions: PNG bytes, 8 bit, of ``schema.features.REGION_`` values; empty if the record has none.
        system: Manufacturer, model and software version of the header.
    """

    image: bytes
    view: str
    exam_id: str
    density: str
    acquisition_system: str = f.UNKNOWN
    patient_id: str = f.UNKNOWN
    regions: bytes = b""
    system: AcquisitionSystem = NO_SYSTEM


def parse_view(record: bytes) -> View:
    """Parse a serialized tf.Example of a preprocessed view."""
    values = tf.train.Example.FromString(record).features.feature

    def first(name: str, default: bytes | None = None) -> bytes:
        return default if default is not None and name not in values else values[name].bytes_list.value[0]

    return View(
        image=first(f.IMAGE),
        view=first(f.VIEW).decode(),
        exam_id=first(f.EXAM_ID).decode(),
        density=first(f.DENSITY).decode(),
        acquisition_system=first(f.ACQUISITION_SYSTEM, f.UNKNOWN.encode()).decode(),
        patient_id=first(f.PATIENT_ID, f.UNKNOWN.encode()).decode(),
        regions=first(f.REGIONS, b""),
        system=AcquisitionSystem(
            *(first(name, f.UNKNOWN.encode()).decode() for name in (f.MANUFACTURER, f.MODEL_NAME, f.SOFTWARE_VERSION))
        ),
    )


def read_views(folder: str) -> Iterator[View]:
    """Yield the views of a split folder, shard by shard."""
    for shard in shards_of(folder):
        for record in read_shard(shard):
            yield parse_view(record)
