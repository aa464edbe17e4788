"""Shards of ingest: divide views into TFRecord files, and write them as tf.Examples (see ``schema.features``)."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from components.common.location import Location
from components.common.png import encode_png, pixels_sha256
from components.common.progress import advance
from components.common.shards import (
    IndexedView,
    read_shard,
    relative_name,
    remove_file,
    shard_name,
    split_folder,
    write_shard,
)
from components.dicom.reading import LoadedView, load_view
from components.dicom.rejections import IngestError, Rejection
from components.dicom.remarks import Remark
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.ingest_plan import PlannedView
from schema import features as f
from schema.features import SPLITS


@dataclass(frozen=True)
class Shard:
    """One TFRecord file to write.

    Attributes:
        path: File.
        views: Its views, in order, with their reserves.
    """

    path: str
    views: tuple[PlannedView, ...]


@dataclass(frozen=True)
class WrittenShard:
    """Result of writing a shard.

    Attributes:
        digests: File and hash of its decoded pixels, for the written images, at most one per view.
        late: Rejections of images with unusable pixels.
        remarks: File and its remarks, for files that have any.
    """

    digests: tuple[tuple[str, str], ...]
    late: tuple[Rejection, ...]
    remarks: tuple[tuple[str, tuple[Remark, ...]], ...] = ()


@dataclass(frozen=True)
class Cut:
    """Records to remove from a written shard.

    Attributes:
        path: File.
        dropped: Exam hash and view of each record; an exam has one image per view.
    """

    path: str
    dropped: frozenset[tuple[str, str]]


def plan_shards(accepted: Sequence[PlannedView], shard_size: int, uri: str) -> list[Shard]:
    """Divide the accepted views, sorted by file, into shards of each split."""
    shards = []
    for split in SPLITS:
        views = [view for view in accepted if view.split == split]
        parts = [tuple(views[start : start + shard_size]) for start in range(0, len(views), shard_size)]
        folder = split_folder(uri, split)
        shards += [Shard(os.path.join(folder, shard_name(i, len(parts))), part) for i, part in enumerate(parts)]
    return shards


def _bytes(*values: str | bytes) -> tf.train.Feature:
    data = [value if isinstance(value, bytes) else value.encode("utf-8") for value in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=data))


def _int(value: int) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))


def _float(value: float) -> tf.train.Feature:
    return tf.train.Feature(float_list=tf.train.FloatList(value=[value]))


def to_example(planned: PlannedView, loaded: LoadedView) -> tf.train.Example:
    """Return a view as a tf.Example.

    Args:
        planned: The view in the plan, without original identifiers.
        loaded: Its pixels, uint16 [H, W].

    Returns:
        Example with exactly the ingest features of ``schema.features``; readings only if there are several readers.
    """
    height, width = loaded.pixels.shape
    readings = {}
    if planned.readings:
        readers, densities = zip(*planned.readings, strict=True)
        readings = {f.READERS: _bytes(*readers), f.READINGS: _bytes(*densities)}
    return tf.train.Example(
        features=tf.train.Features(
            feature={
                f.IMAGE: _bytes(encode_png(loaded.pixels)),
                f.IMAGE_HEIGHT: _int(height),
                f.IMAGE_WIDTH: _int(width),
                f.PIXEL_SPACING_MM: _float(loaded.pixel_spacing_mm),
                f.VIEW: _bytes(planned.view),
                f.LATERALITY: _bytes(f.laterality_of(planned.view)),
                f.EXAM_ID: _bytes(planned.exam_hash),
                f.PATIENT_ID: _bytes(planned.patient_hash),
                f.DENSITY: _bytes(planned.density),
                f.ACQUISITION_SYSTEM: _bytes(planned.acquisition_system),
                f.MANUFACTURER: _bytes(planned.system.manufacturer),
                f.MODEL_NAME: _bytes(planned.system.model_name),
                f.SOFTWARE_VERSION: _bytes(planned.system.software_version),
                f.PATIENT_AGE: _int(planned.patient_age),
                f.ACQUISITION_YEAR: _int(planned.acquisition_year),
                **readings,
            }
        )
    )


def write_views(shard: Shard, root: Location, config: IngestConfig) -> WrittenShard:
    """Decode and write the views of a shard, with one image in memory at a time.

    If an image has unusable pixels, it is rejected, and the first usable reserve replaces it.

    Args:
        shard: The shard.
        root: Folder that files are relative to.
        config: Configuration of ingest.

    Returns:
        The result for each view.
    """
    digests: list[tuple[str, str]] = []
    late: list[Rejection] = []
    remarks: list[tuple[str, tuple[Remark, ...]]] = []

    def load(image: PlannedView) -> LoadedView | None:
        try:
            return load_view(
                root / image.file, image.view, config.longest_side, config.max_pixels, config, config.voi_index
            )
        except IngestError as error:
            late.append(error.rejection(image.file))
            return None

    def records() -> Iterator[bytes]:
        for view in shard.views:
            for image in view.images:
                loaded = load(image)
                if loaded is not None:
                    digests.append((image.file, pixels_sha256(loaded.pixels)))
                    if loaded.remarks:
                        remarks.append((image.file, loaded.remarks))
                    yield to_example(image, loaded).SerializeToString(deterministic=True)
                    break
            advance()

    write_shard(shard.path, records())
    return WrittenShard(tuple(digests), tuple(late), tuple(remarks))


def build_index(shards: Sequence[Shard], digests: Mapping[str, str]) -> dict[str, list[IndexedView]]:
    """Return the index of the final shards.

    Args:
        shards: The planned shards.
        digests: File -> hash of its pixels, for the files that are kept.

    Returns:
        Name of each shard that is not empty -> its records.
    """
    index = {
        relative_name(shard.path): [
            IndexedView(image.patient_hash, image.exam_hash, image.view, digests[image.file])
            for view in shard.views
            for image in view.images
            if image.file in digests
        ]
        for shard in shards
    }
    return {name: views for name, views in index.items() if views}


def plan_cuts(shards: Sequence[Shard], dropped: Collection[str]) -> list[Cut]:
    """Return the records to remove from written shards, because their files are rejected later."""
    cuts = [
        Cut(
            shard.path,
            frozenset((v.exam_hash, v.view) for v in shard.views if any(image.file in dropped for image in v.images)),
        )
        for shard in shards
    ]
    return [cut for cut in cuts if cut.dropped]


def cut_shard(cut: Cut) -> None:
    """Rewrite a shard without the dropped records; repeating this changes nothing."""

    def records() -> Iterator[bytes]:
        for record in read_shard(cut.path):
            feature = tf.train.Example.FromString(record).features.feature
            exam, view = (feature[name].bytes_list.value[0].decode() for name in (f.EXAM_ID, f.VIEW))
            if (exam, view) not in cut.dropped:
                yield record

    if not write_shard(cut.path, records()):
        remove_file(cut.path)
