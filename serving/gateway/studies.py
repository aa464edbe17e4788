"""The studies of the gateway: accept images, queue studies, delete old data, report states."""

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
from serving.gateway.decoding import Turns
from serving.gateway.monitoring import GatewayMetrics, log
from serving.gateway.records import IncomingStudy, iso, summary_of
from serving.gateway.spool import Spool, Staged
from serving.gateway.store import Store

_HOUR: Final = 3600.0
_DAY: Final = 24 * _HOUR
_DIGEST_DIGITS: Final = 12

BUSY: Final = "busy"


@dataclass(frozen=True)
class Accepted:
    """An accepted image, which is on disk.

    Attributes:
        key: Key of its study.
        name: File name of the image, which messages use.
    """

    key: str
    name: str


class SharedUidError(RefusedInstanceError):
    """An image has the SOP Instance UID of another image of its study."""

    def __init__(self, instance: Instance) -> None:
        message = f"image: another image of the study has this {tags.tag_name('SOPInstanceUID')}; give each its own."
        super().__init__(Remark.BROKEN_UID.value, DUPLICATE_SOP_INSTANCE, message, instance.sop_class, instance.sop_uid)


def is_due(study: IncomingStudy, now: float, config: GroupingConfig) -> bool:
    """Return True if a study is ready for grading.

    It is ready if its sender declared it complete. Otherwise it is ready ``settle_seconds`` after its last image if it
    has the quorum of views, and ``timeout_seconds`` after its last image if not.
    """
    if study.complete:
        return True
    quiet = now - study.last_image_at
    return quiet >= (config.settle_seconds if len(study.views) >= config.quorum else config.timeout_seconds)


class SteadyClock:
    """The time in s since the epoch, which never goes back: waits end, also if the system's clock is set back.

    Examples:
        >>> wall = iter([100.0, 20.0, 21.0])
        >>> clock = SteadyClock(lambda: next(wall), iter([5.0, 6.0, 7.0]).__next__)
        >>> clock(), clock()
        (101.0, 102.0)
    """

    def __init__(self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic) -> None:
        """Start at the system's time.

        Args:
            wall: Returns the system's time, s since the epoch.
            steady: Returns a time that never goes back, s.
        """
        self._wall, self._steady = wall, steady
        self._lock = threading.Lock()
        self._time, self._at = wall(), steady()

    def __call__(self) -> float:
        """Return the time."""
        with self._lock:
            at = self._steady()
            self._time, self._at = max(self._wall(), self._time + at - self._at), at
            return self._time


class Studies:
    """Accepts images and manages their studies. Threads may share it.

    Attributes:
        config: Configuration of the gateway.
        spool: Files.
        store: States.
        metrics: Prometheus metrics.
        turns: Turns of the threads that read studies.
        work: Notified when a study or a delivery may be due; the worker threads wait for it.
    """

    def __init__(self, config: GatewayConfig, clock: Callable[[], float] | None = None) -> None:
        """Open the spool, and continue where the last process stopped.

        Args:
            config: Configuration of the gateway.
            clock: Returns the time, s since the epoch; by default a `SteadyClock`.

        Raises:
            SpoolError: The spool cannot be used.
        """
        self.config = config
        self.now = clock or SteadyClock()
        self.turns = Turns()
        self.spool = Spool(config.spool, config.limits.free_bytes)
        self.store = Store(config.spool / "gateway.sqlite", self.now(), config.retry.cap_seconds)
        self.metrics = GatewayMetrics(self.store, self.spool)
        self.work = threading.Condition()
        self._lock = threading.Lock()
        self.store.keep_destinations(destination.name for destination in config.destinations)
        self._recover()

    def close(self) -> None:
        """Close database and spool."""
        self.store.close()
        self.spool.close()

    def _recover(self) -> None:
        """Record images that the last process moved to a study but did not record.

        Their senders got no success response, so they send them again. But every file in the folder of a study must be
        recorded. It also means that a database from a backup loses no image.
        """
        for key in self.spool.study_keys():
            known = self.store.image_names(key)
            names = set(known.values())
            folder = self.spool.images(key)
            for path in sorted(folder.iterdir()) if folder.is_dir() else ():
                image, _, digest = path.stem.partition("-")
                if path.name in names:
                    continue
                if image in known:  # one of two versions: the recorded one is the one that was acknowledged
                    path.unlink()
                    continue
                try:
                    view = read_instance(path, path.name, self.config.limits.max_pixels).view
                except RefusedInstanceError:
                    path.unlink()
                    continue
                self.store.add_image(key, image, path.name, digest, view, self.now())
                log.info("study %s: an image of before the last stop is taken in", key)

    # Accepting

    def inspect(self, staged: Staged, name: str) -> Instance:
        """Read UIDs and view of a received file.

        Raises:
            RefusedInstanceError: The image is not accepted.
        """
        return read_instance(staged.path, name, self.config.limits.max_pixels)

    def accept(self, files: Sequence[tuple[Staged, Instance]]) -> list[Accepted]:
        """Accept images. After the return they are on disk and will be graded, even if this process ends.

        Args:
            files: Received files.

        Returns:
            Study and file name of each image.

        Raises:
            RefusedInstanceError: An image has the UID of another one, its study is too large, or too many studies wait.
                The files before it are accepted.
            SpoolFullError: The disk is full. The files before the error are accepted.
        """
        accepted = [
            self._accept(staged, instance, self.spool.study_key(instance.study_uid)) for staged, instance in files
        ]
        self.wake()
        return accepted

    def accept_exam(self, files: Sequence[tuple[Staged, Instance]]) -> list[Accepted | SharedUidError]:
        """Accept all images of one exam, even if their headers name several studies.

        Args:
            files: Received files, at least one.

        Returns:
            Study and file name of each image, or the error of an image that has the UID of another one.

        Raises:
            RefusedInstanceError: The exam is too large, or too many studies wait. The files before it are accepted.
            SpoolFullError: The disk is full. The files before the error are accepted.
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
            # A known image with other bytes may have a corrected header; with other pixels it is another image.
            if known.get(image, name) != name:
                held = self.spool.images(key) / known[image]
                if held.exists() and not same_pixels(held, staged.path, limits.max_pixels):
                    raise SharedUidError(instance)
            self.spool.keep(staged, key, name)
            try:
                change = self.store.add_image(key, image, name, digest, instance.view, self.now())
            except BaseException:
                if known.get(image) != name:  # every file of a study must be recorded
                    self.spool.remove_image(key, name)
                raise
            if change.replaced:
                self.spool.remove_image(key, change.replaced)
        log.info("study %s: image %s, view %s", key, change.kind, instance.view or "none of the four")
        return Accepted(key, name)

    def wake(self) -> None:
        """Notify the threads that wait for work."""
        with self.work:
            self.work.notify_all()

    # Housekeeping

    def group(self) -> None:
        """Queue the studies that are due."""
        now = self.now()
        due = [study for study in self.store.incoming() if is_due(study, now, self.config.grouping)]
        for study in due:
            self.store.queue(study.key, study.last_image_at, now)
            log.info("study %s: queued with %d of %d views", study.key, len(study.views), len(VIEWS))
        if due:
            self.wake()

    def clean(self) -> None:
        """Delete data after their retention time."""
        now, retention = self.now(), self.config.retention
        for key, revision in self.store.finished_before(now - retention.images_hours * _HOUR):
            with self._lock:  # no image is accepted meanwhile
                study = self.store.study(key)
                if study is not None and study.revision == revision:
                    # Files first: after a crash the next round deletes again, while forgotten files would stay.
                    self.spool.remove_study(key)
                    self.store.forget_images(key)
                    log.info("study %s: images and DICOM results deleted", key)
        self.store.forget_results(now - retention.results_days * _DAY)

    def retry(self, key: str) -> bool:
        """Queue a failed study again; return False if it has not failed."""
        done = self.store.retry(key, self.now())
        if done:
            log.info("study %s: queued again", key)
            self.wake()
        return done

    # Reporting

    def summaries(self, limit: int) -> list[dict[str, Any]]:
        """Return studies for the page, the latest first, without patient identity."""
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
        """Return the state and results of a study without patient identity; ``None`` if it is unknown."""
        study = self.store.study(key)
        return None if study is None else summary_of(study)

    def picture(self, key: str, name: str) -> Path | None:
        """Return the path of a picture of a graded study, such as ``CC_R.png``; ``None`` if it does not exist."""
        study = self.store.study(key)
        if study is None or study.document is None:
            return None
        path = self.spool.results(key, study.revision) / name
        return path if path.is_file() else None
