"""Export views for review from a run's quality report, and check a folder of reviews."""

from __future__ import annotations

import json
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from components.common.files import write_whole
from components.common.png import decode_png, encode_png, pixels_sha256
from components.common.shards import read_shard, shards_of
from components.preprocessing.config import PreprocessConfig
from components.preprocessing.outputs import grey_picture, overlay_png
from components.preprocessing.preprocess import preprocess_view
from components.preprocessing.preprocessed_view import PreprocessedView
from components.review.folder import read_reviews
from components.review.json_files import LABEL
from components.review.polygons import mask_to_polygons
from components.review.problems import ReviewProblem, UnusedReview
from components.review.review_file import SUFFIXES, ReviewName, parse_stem, review_name
from components.review.reviewed_view import (
    ReviewOutcome,
    preprocess_reviewed,
    review_warnings,
    reviews_without_image,
)
from pipeline.metadata import open_store
from pipeline.review.page import PageView, review_page
from schema import features as f

TODO: Final = "todo"
PAGE: Final = "review.html"
_NODE: Final = ".MammogramPreprocessor"
_DONE: Final = (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)


class ReviewRunError(ValueError):
    """A folder contains no run to review, or an export would overwrite an earlier one."""


class _Line(BaseModel):
    """The used part of a line of the quality report's ``views.jsonl``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    acquisition_system: str
    rank: int | None
    review_name: str | None
    review: dict[str, Any] | None


@dataclass(frozen=True)
class RankedView:
    """An oblique view.

    Attributes:
        name: Name of a review of it.
        rank: 1 is the most uncertain view; None if the run did not segment the muscle.
        system: Acquisition system.
        is_reviewed: The run used a review of it.
    """

    name: ReviewName
    rank: int | None
    system: str
    is_reviewed: bool


@dataclass(frozen=True)
class ReviewableRun:
    """Images of a run, and their segmentation.

    Attributes:
        examples: Folders of ingested examples.
        config: How they were preprocessed.
        views: Its oblique views, the most uncertain first.
    """

    examples: tuple[Path, ...]
    config: PreprocessConfig
    views: tuple[RankedView, ...]


@dataclass(frozen=True)
class Checked:
    """A file of a folder of reviews.

    Attributes:
        file: Its name.
        outcome: What it will come to, if it can be used.
        finding: Why it cannot.
        warnings: Unusual properties; the review is used nevertheless.
    """

    file: str
    outcome: ReviewOutcome | None = None
    finding: UnusedReview | None = None
    warnings: tuple[str, ...] = ()

    @property
    def is_refused(self) -> bool:
        """True if a person must correct it; a review that a later one replaces is only not used."""
        return self.finding is not None and self.finding.problem is not ReviewProblem.SUPERSEDED


def _views(report: Path) -> tuple[RankedView, ...]:
    try:
        lines = (report / "views.jsonl").read_text(encoding="utf-8").splitlines()
        read = [_Line.model_validate_json(line) for line in lines]
    except (OSError, ValidationError) as error:
        raise ReviewRunError(f"{report}: the quality report cannot be read, or is an older one; run again.") from error
    views = [
        RankedView(name, line.rank, line.acquisition_system, line.review is not None)
        for line in read
        if line.review_name and (name := parse_stem(line.review_name))
    ]
    return tuple(sorted(views, key=lambda view: view.rank or 0))


def find_run(output: Path) -> ReviewableRun:
    """Return what the last run in a folder preprocessed, from ML Metadata.

    Args:
        output: ``output`` of the run.

    Raises:
        ReviewRunError: No MammogramPreprocessor has finished, or its report is missing.
    """
    missing = ReviewRunError(f"{output}: no run has preprocessed images here; give the output folder of a run.")
    store = open_store(output, os.environ)
    if store is None:
        raise missing
    nodes = [context for context in store.get_contexts_by_type("node") if context.name.endswith(_NODE)]
    executions = [e for node in nodes for e in store.get_executions_by_context(node.id) if e.last_known_state in _DONE]
    if not executions:
        raise missing
    last = max(executions, key=lambda execution: execution.id)
    events = store.get_events_by_execution_ids([last.id])
    artifacts = store.get_artifacts_by_id([event.artifact_id for event in events])
    places = {artifact.id: Path(artifact.uri) for artifact in artifacts}
    by_key: dict[str, list[Path]] = defaultdict(list)
    for event in events:
        by_key[event.path.steps[0].key].append(places[event.artifact_id])
    config = PreprocessConfig.model_validate_json(last.custom_properties["config"].string_value)
    [report] = by_key["quality_report"]
    return ReviewableRun(tuple(sorted(by_key["examples"])), config, _views(report))


def ingested_images(
    run: ReviewableRun, is_wanted: Callable[[str, str], bool]
) -> Iterator[tuple[str, str, NDArray[Any]]]:
    """Yield exam, view and ingested image of the wanted exams and views, in the order of the shards."""
    shards = [shard for uri in run.examples for split in sorted(uri.glob("Split-*")) for shard in shards_of(str(split))]
    for shard in shards:
        for record in read_shard(shard):
            values = tf.train.Example.FromString(record).features.feature
            exam, view = (values[key].bytes_list.value[0].decode() for key in (f.EXAM_ID, f.VIEW))
            if is_wanted(exam, view):
                yield exam, view, decode_png(values[f.IMAGE].bytes_list.value[0])


def _images(run: ReviewableRun, wanted: Collection[ReviewName]) -> Iterator[tuple[ReviewName, NDArray[Any]]]:
    """Yield the ingested images of some views, each once, in the order of the shards."""
    left = set(wanted)
    views = {(name.exam_id, name.view) for name in wanted}
    for exam, view, pixels in ingested_images(run, lambda exam, view: (exam, view) in views):
        name = review_name(exam, view, pixels_sha256(pixels))
        if name in left:
            left.remove(name)
            yield name, pixels


def _template(name: ReviewName, digest: str, result: PreprocessedView) -> bytes:
    """Return the automatic result as a labelme file, with keys that identify its image."""
    height, width = result.breast_mask.shape
    shapes: list[dict[str, Any]] = [
        {"label": LABEL, "points": polygon, "group_id": None, "shape_type": "polygon", "flags": {}}
        for polygon in mask_to_polygons(result.pectoral_mask)
    ]
    document = {
        "version": "5.5.0",
        "flags": {"accept": False, "absent": False},
        "shapes": shapes,
        "imagePath": f"{name.stem}.png",
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
        "pixels_sha256": digest,
    }
    return (json.dumps(document, indent=1) + "\n").encode()


def _write_view(folder: Path, view: RankedView, pixels: NDArray[Any], config: PreprocessConfig) -> PageView:
    name = view.name
    digest = pixels_sha256(pixels)
    result = preprocess_view(pixels, name.view, config)
    picture = grey_picture(pixels, result.breast_mask)
    write_whole(folder / "images" / f"{name.stem}.png", encode_png(picture))
    write_whole(folder / "images" / f"{name.stem}.json", _template(name, digest, result))
    write_whole(folder / "masks" / f"{name.stem}.png", encode_png(255 * result.pectoral_mask.astype(np.uint8)))
    write_whole(folder / "overlays" / f"{name.stem}.png", overlay_png(pixels, result, hide_background=True))
    return PageView(
        stem=name.stem,
        pixels_sha256=digest,
        rank=view.rank or 0,
        title=f"{name.view.replace('_', ' ')}, exam {name.exam_id[:8]}",
        system=view.system,
        status=result.status,
        doubt=result.doubt,
        polygons=mask_to_polygons(result.pectoral_mask),
        picture=picture,
    )


def export_reviews(output: Path, out: Path, top: int, replace: bool = False) -> int:
    """Write the most uncertain views without a review, for reviewers.

    Args:
        output: Output folder of a run.
        out: Folder of reviews: ``review.html``, and in ``todo/`` the image and labelme file (``images/``), the mask
            (``masks/``) and the overlay (``overlays/``) of each view, all named EXAMID_VIEW_PIXELS.
        top: How many views.
        replace: Remove what an earlier export left in ``todo/``.

    Returns:
        How many were written.

    Raises:
        ReviewRunError: There is no run, or an earlier export is still there.
    """
    if (out / TODO).exists() and not replace:
        raise ReviewRunError(
            f"{out / TODO} is there from an earlier export: move the files that you finished to {out}, and remove it,"
            " or let --replace do so."
        )
    run = find_run(output)
    done = {parse_stem(path.stem) for path in out.glob("*") if path.suffix.lower() in SUFFIXES}
    chosen = [v for v in run.views if v.rank and not v.is_reviewed and v.name not in done][:top]
    if (out / TODO).exists():
        shutil.rmtree(out / TODO)
    by_name = {view.name: view for view in chosen}
    images = _images(run, by_name)
    written = [_write_view(out / TODO, by_name[name], pixels, run.config) for name, pixels in images]
    written.sort(key=lambda view: view.rank)
    write_whole(out / PAGE, review_page(written).encode())
    return len(written)


def check_reviews(folder: Path, output: Path) -> list[Checked]:
    """Return how the next run will use every file in a folder of reviews.

    Args:
        folder: Folder of reviews.
        output: Output folder of the reviewed run.

    Returns:
        One entry per file, sorted by name.

    Raises:
        ReviewFolderError: The folder of reviews does not exist.
        ReviewRunError: There is no run.
    """
    reviews, run = read_reviews(folder), find_run(output)
    present = {view.name for view in run.views}
    findings = [*reviews.unused, *reviews_without_image(reviews.by_name.values(), present)]
    checked = [Checked(finding.file, finding=finding) for finding in findings]
    for name, pixels in _images(run, reviews.by_name.keys() & present):
        review = reviews.by_name[name]
        reviewed = preprocess_reviewed(pixels, name.view, run.config, review)
        checked.append(
            Checked(review.file, reviewed.outcome, reviewed.unused_review, review_warnings(reviewed, name.view))
        )
    return sorted(checked, key=lambda entry: entry.file)
