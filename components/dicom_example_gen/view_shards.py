"""Shards of ingest: which views go into which TFRecord file, and how one is written."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import tensorflow as tf

from components.common.location import Location
from components.common.pixels import pixels_sha256
from components.common.progress import advance
from components.common.shard_index import IndexedView
from components.common.shards import read_shard, relative_name, remove_file, shard_name, split_folder, write_shard
from components.dicom.reading import LoadedView, load_view
from components.dicom.rejections import IngestError, Rejection
from components.dicom.remarks import Remark
from components.dicom_example_gen.config import IngestConfig
from components.dicom_example_gen.plan.ingest_plan import PlannedView
from components.dicom_example_gen.records import to_example
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
    """What became of the views of a shard.

    Attributes:
        digests: File and hash of its decoded pixels, for the images that were written, at most one a view.
        late: Images whose pixels turned out to be unusable.
        remarks: File and what must be told of how it was read, for the files of which there is anything.
    """

    digests: tuple[tuple[str, str], ...]
    late: tuple[Rejection, ...]
    remarks: tuple[tuple[str, tuple[Remark, ...]], ...] = ()


@dataclass(frozen=True)
class Cut:
    """Records to take out of a shard that was written.

    Attributes:
        path: File.
        dropped: Exam hash and view of each record; an exam has one image of a view.
    """

    path: str
    dropped: frozenset[tuple[str, str]]


def plan_shards(accepted: Sequence[PlannedView], shard_size: int, uri: str) -> list[Shard]:
    """Divides the accepted views, sorted by file, into shards of each split."""
    shards = []
    for split in SPLITS:
        views = [view for view in accepted if view.split == split]
        parts = [tuple(views[start : start + shard_size]) for start in range(0, len(views), shard_size)]
        folder = split_folder(uri, split)
        shards += [Shard(os.path.join(folder, shard_name(i, len(parts))), part) for i, part in enumerate(parts)]
    return shards


def write_views(shard: Shard, root: Location, config: IngestConfig) -> WrittenShard:
    """Decodes and writes the views of a shard, one in memory at a time.

    A bad image is a rejection, and the first sound one of its reserves takes its place.

    Args:
        shard: What to write.
        root: Folder that files are relative to.
        config: Configuration of ingest.

    Returns:
        What became of each view.
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


def index_of(shards: Sequence[Shard], digests: Mapping[str, str]) -> dict[str, list[IndexedView]]:
    """Lists what the shards hold in the end.

    Args:
        shards: As planned.
        digests: File -> hash of its pixels, of the files that stayed.

    Returns:
        Name of each shard that holds anything -> its records.
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
    """Finds the shards that hold files which are left out after all."""
    cuts = [
        Cut(
            shard.path,
            frozenset((v.exam_hash, v.view) for v in shard.views if any(image.file in dropped for image in v.images)),
        )
        for shard in shards
    ]
    return [cut for cut in cuts if cut.dropped]


def cut_shard(cut: Cut) -> None:
    """Writes a shard anew without the dropped records; doing so twice changes nothing more."""

    def records() -> Iterator[bytes]:
        for record in read_shard(cut.path):
            feature = tf.train.Example.FromString(record).features.feature
            exam, view = (feature[name].bytes_list.value[0].decode() for name in (f.EXAM_ID, f.VIEW))
            if (exam, view) not in cut.dropped:
                yield record

    if not write_shard(cut.path, records()):
        remove_file(cut.path)
