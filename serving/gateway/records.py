"""Records of studies in `serving.gateway.store`, and their JSON for clients."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, Final, Literal

from schema.features import VIEWS

State = Literal["receiving", "queued", "grading", "graded", "refused", "failed"]
STATES: Final[tuple[State, ...]] = ("receiving", "queued", "grading", "graded", "refused", "failed")


@dataclass(frozen=True)
class Change:
    """How an image changed its study.

    Attributes:
        kind: ``new``, ``changed`` (other bytes with a known UID) or ``same``.
        replaced: Name of the file that it replaces, if any.
    """

    kind: Literal["new", "changed", "same"]
    replaced: str | None = None


@dataclass(frozen=True)
class IncomingStudy:
    """A study that is still receiving images.

    Attributes:
        key: Key of the study.
        views: Standard views received.
        complete: True if the sender declared the study complete.
        last_image_at: Time of the last image, s since the epoch.
    """

    key: str
    views: frozenset[str]
    complete: bool
    last_image_at: float


@dataclass(frozen=True)
class Claim:
    """A study to grade, or a delivery to send.

    Attributes:
        key: Key of the study.
        revision: Revision of the study.
        attempts: Attempts before this one.
        starts: Broken attempts before this one.
    """

    key: str
    revision: int
    attempts: int
    starts: int = 0


@dataclass(frozen=True)
class Delivery:
    """State of a delivery to one destination; ``next_at`` is in s since the epoch."""

    destination: str
    done: bool
    attempts: int
    next_at: float
    problem: str | None


@dataclass(frozen=True)
class Study:
    """Record of a study. Times are in s since the epoch.

    Attributes:
        key: Key of the study.
        state: State of the study.
        revision: Number of changes of its images.
        received_at: Time of the first image.
        updated_at: Time of the last change.
        next_at: Earliest time of the next attempt.
        attempts: Failed attempts to grade it.
        images_kept: False after its images are deleted.
        images: Number of accepted images; 0 after they are deleted.
        views: Standard views received, sorted by name.
        document: The grade, see ``serving.client.grading.exam_document``.
        refusal: ``reason`` and ``message``.
        rejected: Rejected files.
        problem: Why it waits or failed.
        deliveries: Deliveries of its results.
    """

    key: str
    state: State
    revision: int
    received_at: float
    updated_at: float
    next_at: float
    attempts: int
    images_kept: bool
    images: int
    views: tuple[str, ...]
    document: dict[str, Any] | None
    refusal: dict[str, str] | None
    rejected: list[dict[str, str]]
    problem: str | None
    deliveries: tuple[Delivery, ...]


def iso(seconds: float) -> str:
    """Convert a time in s since the epoch to ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def summary_of(study: Study) -> dict[str, Any]:
    """Return a study as JSON for clients, without patient identity."""
    failed = study.state == "failed"
    waits = [delivery for delivery in study.deliveries if not delivery.done]
    return {
        "key": study.key,
        "state": study.state,
        "received_at": iso(study.received_at),
        "updated_at": iso(study.updated_at),
        "files": study.images,
        "views": [view for view in VIEWS if view in study.views],
        "exam": study.document,
        "refusal": study.refusal,
        "failure": None
        if study.problem is None
        else {
            "message": study.problem,
            "attempts": study.attempts,
            "next_attempt_at": None if failed else iso(study.next_at),
        },
        "rejected": study.rejected,
        "delivery": "pending" if waits else "delivered" if study.deliveries else "none",
        "deliveries": [
            {
                "destination": delivery.destination,
                "state": "delivered" if delivery.done else "waiting",
                "message": delivery.problem,
                "attempts": delivery.attempts,
            }
            for delivery in study.deliveries
        ],
        "pictures": study.document is not None and study.images_kept,
    }
