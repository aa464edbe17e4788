"""The studies of the gateway: what is accepted, and what anybody is told of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from components.dicom.headers import tags
from components.dicom.remarks import Remark
from schema.features import VIEWS
from serving.gateway.admission import (
    DUPLICATE_SOP_INSTANCE,
    OUT_OF_RESOURCES,
    Instance,
    RefusedInstanceError,
    read_instance,
    same_pixels,
)
from serving.gateway.config import GatewayConfig, GroupingConfig
from serving.gateway.logs import log
from serving.gateway.metrics import GatewayMetrics
from serving.gateway.records import Group
from serving.gateway.spool import Spool, Staged
from serving.gateway.store import Store
from serving.gateway.summary import iso, summary_of

_HOUR: Final = 3600.0
_DAY: Final = 24 * _HOUR
_DIGEST_DIGITS: Final = 12

BUSY: Final = "busy"


@dataclass(frozen=True)
class Accepted:
    """An image that is on disk.

    Attributes:
        key: Its study.
        name: Its file name there, under which messages speak of it.
    """

    key: str
    name: str


class SharedUidError(RefusedInstanceError):
    """An image under the SOP Instance UID of another one of its study."""

    def __init__(self, instance: Instance) -> None:
        message = f"image: another image of the study has this {tags.tag_name('SOPInstanceUID')}; give each its own."
        super().__init__(Remark.BROKEN_UID.value, DUPLICATE_SOP_INSTANCE, message, instance.sop_class, instance.sop_uid)


def is_due(group: Group, now: float, config: GroupingConfig) -> bool:
    """Tells whether a study is to be graded as it is.

    It is once its views make the quorum, or its sender said that it is complete, and nothing came for the settling
    time; or nothing came for the time-out.
    """
    quiet = now - group.last_image_at
    if group.complete:
        return True
    return quiet >= (config.settle_seconds if len(group.views) >= config.quorum else config.timeout_seconds)


class Studies:
    """Accepts images and answers for their studies. Threads may share it.

    Attributes:
        config: The gateway's configuration.
        spool: Files.
        store: States.
        metrics: Figures for Prometheus.
        work: Set when a study or a delivery may be due; whoever works waits on it.
    """

    def __init__(self, config: GatewayConfig, clock: Callable[[], float] = time.time) -> None:
        """Opens the spool and goes on where the last process stopped.

        Args:
            config: The gateway's configuration.
            clock: Time, s since the epoch.

        Raises:
            SpoolError: The spool cannot be used.
        """
        self.config = config
        self.now = clock
        self.spool = Spool(config.spool, config.limits.free_bytes)
        self.store = Store(config.spool / "gateway.sqlite")
        self.metrics = GatewayMetrics(self.store, self.spool)
        self.work = threading.Condition()
        self._lock = threading.Lock()
        self.store.keep_destinations(destination.name for destination in config.destinations)
        self._recover()

    def close(self) -> None:
        """Closes database and spool."""
        self.store.close()
        self.spool.close()

    def _recover(self) -> None:
        """Takes in what was moved to its study and not noted before the last process ended.

        Its sender was not told that it is accepted, so it will be sent again; but whatever is in a study's folder must
        be known, and a database put back from a backup loses nothing this way.
        """
        for key in self.spool.study_keys():
            known = self.store.image_names(key)
            names = set(known.values())
            folder = self.spool.images(key)
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                image, _, digest = path.stem.partition("-")
                if path.name in names:
                    continue
                if image in known:  # one of two versions: the one that was noted is the one that was acknowledged
                    path.unlink()
                    continue
                try:
                    view = read_instance(path, path.name, self.config.limits.max_pixels).view
                except RefusedInstanceError:
                    path.unlink()
                    continue
                self.store.add_image(key, image, path.name, digest, view, self.now())
                log.info("study %s: an image of before the last stop is taken in", key)

    # In

    def look_at(self, staged: Staged, name: str) -> Instance:
        """Reads what must be known of a received file.

        Raises:
            RefusedInstanceError: It is not taken.
        """
        return read_instance(staged.path, name, self.config.limits.max_pixels)

    def accept(self, files: Sequence[tuple[Staged, Instance]]) -> list[Accepted]:
        """Accepts images: when it returns they are on disk and will be graded, whatever happens to this process.

        Args:
            files: Received files.

        Returns:
            Where each is.

        Raises:
            RefusedInstanceError: Its UID is another image's, its study is too large, or too many wait; files before the
                one concerned are accepted.
            SpoolFullError: There is no room; files before the one concerned are accepted.
        """
        accepted = [
            self._accept(staged, instance, self.spool.study_key(instance.study_uid)) for staged, instance in files
        ]
        self.wake()
        return accepted

    def accept_exam(self, files: Sequence[tuple[Staged, Instance]]) -> list[Accepted | SharedUidError]:
        """Accepts the images of one exam, and all of it, even where their headers name several studies.

        Args:
            files: Received files, at least one.

        Returns:
            Where each is, or that its UID is another image's.

        Raises:
            RefusedInstanceError: The exam is too large, or too many wait; files before the one concerned are accepted.
            SpoolFullError: There is no room; files before the one concerned are accepted.
        """
        key = self.spool.study_key(*(instance.study_uid for _, instance in files))
        outcomes: list[Accepted | SharedUidError] = []
        for staged, instance in files:
            try:
                outcomes.append(self._accept(staged, instance, key))
            except SharedUidError as error:
                outcomes.append(error)
        self.store.complete([key])
        self.wake()
        return outcomes

    def _accept(self, staged: Staged, instance: Instance, key: str) -> Accepted:
        image = self.spool.instance_id(instance.sop_uid)
        digest = staged.digest[:_DIGEST_DIGITS]
        name = f"{image}-{digest}.dcm"
        limits = self.config.limits
        with self._lock:
            count, known = self.store.image_count(key), self.store.image_names(key)
            if not count and self.store.waiting() >= limits.waiting_studies:
                raise RefusedInstanceError(
                    BUSY, OUT_OF_RESOURCES, f"{limits.waiting_studies} studies wait for their grade: try again later."
                )
            if count and count >= limits.instances and image not in known:
                raise RefusedInstanceError(
                    "too_many_images", OUT_OF_RESOURCES, f"A study may have up to {limits.instances} images."
                )
            # Whoever sends a known image again may mean a corrected header; other pixels are another image.
            if known.get(image, name) != name:
                held = self.spool.images(key) / known[image]
                if held.exists() and not same_pixels(held, staged.path, limits.max_pixels):
                    raise SharedUidError(instance)
            self.spool.keep(staged, key, name)
            try:
                change = self.store.add_image(key, image, name, digest, instance.view, self.now())
            except BaseException:
                if known.get(image) != name:  # nothing lies there that is not noted
                    self.spool.remove_image(key, name)
                raise
            if change.replaced:
                self.spool.remove_image(key, change.replaced)
        log.info("study %s: image %s, view %s", key, change.kind, instance.view or "none of the four")
        return Accepted(key, name)

    def wake(self) -> None:
        """Wakes whoever waits for work."""
        with self.work:
            self.work.notify_all()

    # Housekeeping

    def group(self) -> None:
        """Queues the studies that are due."""
        now = self.now()
        due = [group for group in self.store.groups() if is_due(group, now, self.config.grouping)]
        for group in due:
            self.store.queue(group.key, group.last_image_at, now)
            log.info("study %s: queued with %d of %d views", group.key, len(group.views), len(VIEWS))
        if due:
            self.wake()

    def clean(self) -> None:
        """Deletes what is kept no longer."""
        now, retention = self.now(), self.config.retention
        for key, revision in self.store.finished_before(now - retention.images_hours * _HOUR):
            with self._lock:  # no image comes meanwhile
                study = self.store.study(key)
                if study is not None and study.revision == revision:
                    self.spool.remove_study(
                        key
                    )  # first: what is noted and gone is deleted again, the reverse would stay
                    self.store.forget_images(key)
                    log.info("study %s: images and DICOM results deleted", key)
        self.store.forget_results(now - retention.results_days * _DAY)

    # Out

    def summaries(self, limit: int) -> list[dict[str, Any]]:
        """Lists studies for the page, the latest first; no patient is named."""
        return [
            {
                "key": study.key,
                "state": study.state,
                "received_at": iso(study.received_at),
                "files": study.images,
                "density": study.document["density"] if study.document else None,
            }
            for study in self.store.studies(limit)
        ]

    def summary(self, key: str) -> dict[str, Any] | None:
        """Tells all of a study but whose it is; ``None`` if it is unknown."""
        study = self.store.study(key)
        return None if study is None else summary_of(study)

    def picture(self, key: str, name: str) -> Path | None:
        """Finds a picture of a graded study, such as ``CC_R.png``; ``None`` where there is none (any more)."""
        study = self.store.study(key)
        if study is None or study.document is None:
            return None
        path = self.spool.results(key, study.revision) / name
        return path if path.is_file() else None
