"""Preprocessed views, read from the shards of a split."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import tensorflow as tf

from components.common.shards import read_shard, shards_of
from schema import features as f
from schema.acquisition import NO_SYSTEM, AcquisitionSystem

_T = TypeVar("_T")


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
        readings: Density by reader, if the exam has several readers.
        shares: Share of the readers who chose each class, if labels are soft and the exam has several readers.
    """

    image: bytes
    view: str
    exam_id: str
    density: str
    acquisition_system: str = f.UNKNOWN
    patient_id: str = f.UNKNOWN
    regions: bytes = b""
    system: AcquisitionSystem = NO_SYSTEM
    readings: tuple[tuple[str, str], ...] = ()
    shares: tuple[float, ...] = ()

    @property
    def is_agreed(self) -> bool:
        """True if all readers chose one class."""
        return len({density for _, density in self.readings}) < 2

    @property
    def target(self) -> tuple[float, ...]:
        """What is learned from the view: a distribution of the classes; 1 for the density unless labels are soft."""
        return self.shares or tuple(float(name == self.density) for name in f.DENSITY_CLASSES)


def parse_view(record: bytes) -> View:
    """Parse a serialized tf.Example of a preprocessed view."""
    values = tf.train.Example.FromString(record).features.feature

    def first(name: str, default: bytes | None = None) -> bytes:
        return default if default is not None and name not in values else values[name].bytes_list.value[0]

    def texts(name: str) -> list[str]:
        return [value.decode() for value in values[name].bytes_list.value] if name in values else []

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
        readings=tuple(zip(texts(f.READERS), texts(f.READINGS), strict=True)),
        shares=tuple(values[f.DENSITY_SHARES].float_list.value) if f.DENSITY_SHARES in values else (),
    )


def read_views(folder: str) -> Iterator[View]:
    """Yield the views of a split folder, shard by shard."""
    for shard in shards_of(folder):
        for record in read_shard(shard):
            yield parse_view(record)


def first_exams(views: Iterable[View], most: int) -> Iterator[View]:
    """Yield the views of the first exams, also those that come after views of other exams."""
    exams: set[str] = set()
    for view in views:
        if view.exam_id in exams or len(exams) < most:
            exams.add(view.exam_id)
            yield view


def batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yield items in lists of ``size``, the last of which may be shorter; one list is in memory."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
