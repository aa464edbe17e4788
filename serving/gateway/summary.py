"""What clients are told of a study: JSON that names no patient."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from schema.features import VIEWS
from serving.gateway.records import Study


def iso(seconds: float) -> str:
    """Writes a time in s since the epoch as ISO 8601, UTC."""
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")


def summary_of(study: Study) -> dict[str, Any]:
    """Writes a study as JSON for the page and for integrators."""
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
