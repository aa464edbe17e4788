"""What the gateway knows of a study, as `serving.gateway.store` keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

State = Literal["receiving", "queued", "grading", "graded", "refused", "failed"]
STATES: Final[tuple[State, ...]] = ("receiving", "queued", "grading", "graded", "refused", "failed")


@dataclass(frozen=True)
class Change:
    """What an image was to its study.

    Attributes:
        kind: ``new``, ``changed`` (another content under a known UID) or ``same``.
        replaced: Name of the file that it replaces, if any.
    """

    kind: Literal["new", "changed", "same"]
    replaced: str | None = None


@dataclass(frozen=True)
class Group:
    """A study whose images are coming in.

    Attributes:
        key: Study.
        views: Standard views that came.
        complete: Its sender said that no more will come.
        last_image_at: When the last image came, s since the epoch.
    """

    key: str
    views: frozenset[str]
    complete: bool
    last_image_at: float


@dataclass(frozen=True)
class Claim:
    """A study or delivery to work on.

    Attributes:
        key: Study.
        revision: Its revision.
        attempts: Attempts before this one.
        starts: Starts on it that had no end, this one included.
    """

    key: str
    revision: int
    attempts: int
    starts: int = 0


@dataclass(frozen=True)
class Delivery:
    """What became of a study's results at one destination."""

    destination: str
    done: bool
    attempts: int
    next_at: float
    problem: str | None


@dataclass(frozen=True)
class Study:
    """All that is known of a study; times in s since the epoch.

    Attributes:
        key: Study.
        state: Where it is.
        revision: Counts the changes of its images.
        received_at: When its first image came.
        updated_at: When anything changed.
        next_at: Before which it is not tried again.
        attempts: Failed attempts to grade it.
        images_kept: Its images were not deleted yet.
        images: Accepted images; 0 once they are deleted.
        views: Standard views that came, sorted by name.
        document: Its grade, ``serving.client.grading.exam_document``.
        refusal: ``reason`` and ``message``.
        rejected: Files that were left out.
        problem: Why it waits or failed.
        deliveries: What became of its results.
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
