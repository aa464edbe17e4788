"""States of the studies in SQLite, so that the gateway continues after a restart.

The database contains no patient, UID or name: keys of studies and images are keyed hashes (see
`serving.gateway.spool`). Every new image increases the *revision* of its study. A result is only valid for the revision
that was graded.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from serving.gateway.records import STATES, Change, Claim, Delivery, IncomingStudy, Study
from serving.gateway.spool import SpoolFullError

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS studies (
  key TEXT PRIMARY KEY, state TEXT NOT NULL, revision INTEGER NOT NULL, complete INTEGER NOT NULL,
  received_at REAL NOT NULL, updated_at REAL NOT NULL, last_image_at REAL NOT NULL, next_at REAL NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0, starts INTEGER NOT NULL DEFAULT 0, images_kept INTEGER NOT NULL DEFAULT 1,
  document TEXT, refusal TEXT, rejected TEXT, problem TEXT, sent_revision INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE INDEX IF NOT EXISTS studies_by_state ON studies (state, next_at);
CREATE TABLE IF NOT EXISTS images (
  key TEXT NOT NULL, id TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL, view TEXT NOT NULL,
  PRIMARY KEY (key, id)) STRICT;
CREATE TABLE IF NOT EXISTS deliveries (
  key TEXT NOT NULL, destination TEXT NOT NULL, revision INTEGER NOT NULL, done INTEGER NOT NULL DEFAULT 0,
  attempts INTEGER NOT NULL DEFAULT 0, next_at REAL NOT NULL DEFAULT 0, problem TEXT,
  PRIMARY KEY (key, destination)) STRICT;
"""
_FRESH: Final = (
    "document = NULL, refusal = NULL, rejected = NULL, problem = NULL, attempts = 0, starts = 0, next_at = 0"
)


class Store:
    """The database. Threads may share it; close it at the end."""

    def __init__(self, path: Path, now: float, longest_wait: float) -> None:
        """Open or create the database, and queue the studies again whose grading was interrupted.

        Args:
            path: File of the database.
            now: Current time, s since the epoch. Times after it come from a clock that was set back since.
            longest_wait: Longest wait between two attempts, s.
        """
        self._lock = threading.RLock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.row_factory = sqlite3.Row
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")  # a commit is on disk when it returns
        self._connection.executescript(_SCHEMA)
        if "sent_revision" not in {row["name"] for row in self._rows("PRAGMA table_info(studies)")}:  # before 0.7
            self._connection.execute("ALTER TABLE studies ADD COLUMN sent_revision INTEGER NOT NULL DEFAULT 0")
        with self._transaction() as connection:
            connection.execute("UPDATE studies SET state = 'queued' WHERE state = 'grading'")
            connection.execute(
                "UPDATE studies SET last_image_at = min(last_image_at, ?1), updated_at = min(updated_at, ?1), "
                "received_at = min(received_at, ?1), next_at = min(next_at, ?2)",
                (now, now + longest_wait),
            )
            connection.execute("UPDATE deliveries SET next_at = min(next_at, ?)", (now + longest_wait,))

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Commit at the end of the context; after an error change nothing."""
        with self._lock:
            try:
                self._connection.execute("BEGIN IMMEDIATE")
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException as error:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                if isinstance(error, sqlite3.OperationalError) and "disk" in str(error):  # full or broken
                    raise SpoolFullError("The gateway's disk is full: try again later.") from error
                raise

    def _rows(self, query: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._connection.execute(query, values).fetchall()

    # Images

    def add_image(self, key: str, image: str, name: str, digest: str, view: str, now: float) -> Change:
        """Add an image to its study, which returns to ``receiving`` unless the image is known.

        A known image of a failed study is a request to try again.
        """
        with self._transaction() as connection:
            known = connection.execute(
                "SELECT name, digest FROM images WHERE key = ? AND id = ?", (key, image)
            ).fetchone()
            study = connection.execute("SELECT state FROM studies WHERE key = ?", (key,)).fetchone()
            if known is not None and known["digest"] == digest and study["state"] != "failed":
                connection.execute(
                    "UPDATE studies SET last_image_at = ? WHERE key = ? AND state = 'receiving'", (now, key)
                )
                return Change("same")
            if study is None:
                connection.execute(
                    "INSERT INTO studies (key, state, revision, complete, received_at, updated_at, last_image_at) "
                    "VALUES (?, 'receiving', 1, 0, ?, ?, ?)",
                    (key, now, now, now),
                )
            else:
                connection.execute(
                    f"UPDATE studies SET state = 'receiving', revision = revision + 1, complete = 0, images_kept = 1, "
                    f"updated_at = ?, last_image_at = ?, {_FRESH} WHERE key = ?",
                    (now, now, key),
                )
            connection.execute(
                "INSERT INTO images VALUES (?, ?, ?, ?, ?) ON CONFLICT (key, id) DO UPDATE SET "
                "name = excluded.name, digest = excluded.digest, view = excluded.view",
                (key, image, name, digest, view),
            )
        if known is None:
            return Change("new")
        return Change("changed", known["name"] if known["name"] != name else None)

    def complete(self, keys: Iterable[str]) -> None:
        """Mark studies as complete."""
        with self._transaction() as connection:
            connection.executemany(
                "UPDATE studies SET complete = 1 WHERE key = ? AND state = 'receiving'", [(key,) for key in keys]
            )

    def image_names(self, key: str) -> dict[str, str]:
        """Return the file name of each image of a study, by its identifier."""
        return {row["id"]: row["name"] for row in self._rows("SELECT id, name FROM images WHERE key = ?", key)}

    def image_views(self, key: str) -> dict[str, str]:
        """Return the standard view of each file of a study, by file name; empty if it shows none."""
        return {row["name"]: row["view"] for row in self._rows("SELECT name, view FROM images WHERE key = ?", key)}

    # Grading

    def incoming(self) -> list[IncomingStudy]:
        """Return the studies that are still receiving images."""
        rows = self._rows(
            "SELECT s.key, s.complete, s.last_image_at, group_concat(i.view) AS views FROM studies s "
            "LEFT JOIN images i ON i.key = s.key WHERE s.state = 'receiving' GROUP BY s.key"
        )
        return [
            IncomingStudy(
                row["key"],
                frozenset(filter(None, (row["views"] or "").split(","))),
                bool(row["complete"]),
                row["last_image_at"],
            )
            for row in rows
        ]

    def queue(self, key: str, last_image_at: float, now: float) -> None:
        """Queue a study, unless another image arrived after ``last_image_at``."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE studies SET state = 'queued', updated_at = ? "
                "WHERE key = ? AND state = 'receiving' AND last_image_at = ?",
                (now, key, last_image_at),
            )

    def claim(self, now: float) -> Claim | None:
        """Claim the study that waits longest for its grade; return ``None`` if none is due."""
        with self._transaction() as connection:
            row = connection.execute(
                "SELECT key, revision, attempts, starts FROM studies WHERE state = 'queued' AND next_at <= ? "
                "ORDER BY next_at, last_image_at LIMIT 1",
                (now,),
            ).fetchone()
            if row is None:
                return None
            connection.execute("UPDATE studies SET state = 'grading' WHERE key = ?", (row["key"],))
        return Claim(row["key"], row["revision"], row["attempts"], row["starts"])

    def postpone(self, claim: Claim, problem: str, next_at: float, now: float, own_fault: bool) -> None:
        """Return a study to the queue for another attempt.

        Args:
            claim: The study.
            problem: Why it was not graded.
            next_at: Earliest time of the next attempt, s since the epoch.
            now: Current time, s since the epoch.
            own_fault: True if the study may be at fault: the attempt counts as broken.
        """
        with self._transaction() as connection:
            connection.execute(
                "UPDATE studies SET state = 'queued', attempts = attempts + 1, next_at = ?, problem = ?, "
                "updated_at = ?, starts = starts + ? WHERE key = ? AND revision = ? AND state = 'grading'",
                (next_at, problem, now, int(own_fault), claim.key, claim.revision),
            )

    def fail(self, claim: Claim, problem: str, destinations: Sequence[str], now: float) -> None:
        """Record that a study cannot be graded, for a reason that is not a refusal, and queue the deliveries of that.

        Args:
            claim: The study.
            problem: Why it is not graded.
            destinations: Names of the destinations.
            now: Current time, s since the epoch.
        """
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE studies SET state = 'failed', attempts = attempts + 1, problem = ?, updated_at = ? "
                "WHERE key = ? AND revision = ? AND state = 'grading'",
                (problem, now, claim.key, claim.revision),
            ).rowcount
            if changed:
                self._deliver(connection, claim, destinations)

    def retry(self, key: str, now: float) -> bool:
        """Queue a failed study again, as if its images had just come; return False if it has not failed."""
        with self._transaction() as connection:
            changed = connection.execute(
                f"UPDATE studies SET state = 'queued', revision = revision + 1, updated_at = ?, {_FRESH} "
                "WHERE key = ? AND state = 'failed' AND images_kept",
                (now, key),
            ).rowcount
        return bool(changed)

    @staticmethod
    def _deliver(connection: sqlite3.Connection, claim: Claim, destinations: Sequence[str]) -> None:
        connection.execute("DELETE FROM deliveries WHERE key = ?", (claim.key,))
        connection.executemany(
            "INSERT INTO deliveries (key, destination, revision) VALUES (?, ?, ?)",
            [(claim.key, destination, claim.revision) for destination in destinations],
        )

    def finish(
        self,
        claim: Claim,
        document: dict[str, Any] | None,
        refusal: dict[str, str] | None,
        rejected: Sequence[dict[str, str]],
        destinations: Sequence[str],
        now: float,
    ) -> bool:
        """Record the results of a study, and queue their deliveries.

        Args:
            claim: The study.
            document: The grade; ``None`` if the study was refused.
            refusal: Reason and message of a refusal; ``None`` if the study was graded.
            rejected: Rejected files.
            destinations: Names of the destinations.
            now: Current time, s since the epoch.

        Returns:
            False if images arrived during the grading: the results are then not valid.
        """
        with self._transaction() as connection:
            changed = connection.execute(
                "UPDATE studies SET state = ?, document = ?, refusal = ?, rejected = ?, problem = NULL, starts = 0, "
                "updated_at = ? WHERE key = ? AND revision = ? AND state = 'grading'",
                (
                    "graded" if refusal is None else "refused",
                    None if document is None else json.dumps(document),
                    None if refusal is None else json.dumps(refusal),
                    json.dumps(list(rejected)),
                    now,
                    claim.key,
                    claim.revision,
                ),
            ).rowcount
            if not changed:
                return False
            self._deliver(connection, claim, destinations)
        return True

    # Delivery

    def due_delivery(self, destination: str, now: float) -> Claim | None:
        """Return the delivery that waits longest for a destination; ``None`` if none is due."""
        rows = self._rows(
            "SELECT key, revision, attempts FROM deliveries WHERE destination = ? AND NOT done AND next_at <= ? "
            "ORDER BY next_at, rowid LIMIT 1",
            destination,
            now,
        )
        return Claim(rows[0]["key"], rows[0]["revision"], rows[0]["attempts"]) if rows else None

    def delivered(self, claim: Claim, destination: str, now: float) -> None:
        """Record that a destination has the results of a revision."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET done = 1, attempts = attempts + 1, problem = NULL "
                "WHERE key = ? AND destination = ? AND revision = ?",
                (claim.key, destination, claim.revision),
            )
            connection.execute(
                "UPDATE studies SET updated_at = ?, sent_revision = max(sent_revision, ?) WHERE key = ?",
                (now, claim.revision, claim.key),
            )

    def delivery_failed(self, claim: Claim, destination: str, problem: str, next_at: float) -> None:
        """Record a failed delivery; the next attempt is due at ``next_at``."""
        with self._transaction() as connection:
            connection.execute(
                "UPDATE deliveries SET attempts = attempts + 1, next_at = ?, problem = ? "
                "WHERE key = ? AND destination = ? AND revision = ?",
                (next_at, problem, claim.key, destination, claim.revision),
            )

    def sent_revision(self, key: str) -> int:
        """Return the latest revision whose results a destination has; 0 if there is none."""
        rows = self._rows("SELECT sent_revision FROM studies WHERE key = ?", key)
        return int(rows[0]["sent_revision"]) if rows else 0

    def keep_destinations(self, destinations: Iterable[str]) -> None:
        """Delete deliveries to destinations that are no longer configured."""
        named = list(destinations)
        with self._transaction() as connection:
            connection.execute(f"DELETE FROM deliveries WHERE destination NOT IN ({','.join('?' * len(named))})", named)

    # Retention

    def finished_before(self, time: float) -> list[tuple[str, int]]:
        """Return key and revision of studies that were graded or refused, and delivered everywhere, before a time.

        A failed study keeps its images until somebody acts.
        """
        rows = self._rows(
            "SELECT key, revision FROM studies s WHERE state IN ('graded', 'refused') AND images_kept "
            "AND updated_at < ? AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.key = s.key AND NOT d.done)",
            time,
        )
        return [(row["key"], row["revision"]) for row in rows]

    def forget_images(self, key: str) -> None:
        """Record that the images of a study are deleted."""
        with self._transaction() as connection:
            connection.execute("UPDATE studies SET images_kept = 0 WHERE key = ?", (key,))
            connection.execute("DELETE FROM images WHERE key = ?", (key,))

    def forget_results(self, time: float) -> None:
        """Delete the records of studies whose images are deleted and that did not change after a time."""
        with self._transaction() as connection:
            old = "SELECT key FROM studies WHERE NOT images_kept AND updated_at < ?"
            connection.execute(f"DELETE FROM deliveries WHERE key IN ({old})", (time,))
            connection.execute("DELETE FROM studies WHERE NOT images_kept AND updated_at < ?", (time,))

    # Reading

    def counts(self) -> dict[str, int]:
        """Return the number of studies by state."""
        found = {row["state"]: row["n"] for row in self._rows("SELECT state, count(*) n FROM studies GROUP BY state")}
        return {state: found.get(state, 0) for state in STATES}

    def waiting(self) -> int:
        """Return the number of studies without results."""
        counts = self.counts()
        return counts["receiving"] + counts["queued"] + counts["grading"]

    def waiting_deliveries(self) -> dict[str, int]:
        """Return the number of waiting deliveries by destination."""
        rows = self._rows("SELECT destination, count(*) n FROM deliveries WHERE NOT done GROUP BY destination")
        return {row["destination"]: row["n"] for row in rows}

    def image_count(self, key: str) -> int | None:
        """Return the number of images of a study; ``None`` if the study is unknown."""
        row = self._rows("SELECT (SELECT count(*) FROM images WHERE key = ?1) n FROM studies WHERE key = ?1", key)
        return row[0]["n"] if row else None

    def studies(self, limit: int) -> list[Study]:
        """Return studies, the latest received first."""
        rows = self._rows("SELECT * FROM studies ORDER BY received_at DESC LIMIT ?", limit)
        return [self._study(row) for row in rows]

    def study(self, key: str) -> Study | None:
        """Return a study; ``None`` if it is unknown."""
        rows = self._rows("SELECT * FROM studies WHERE key = ?", key)
        return self._study(rows[0]) if rows else None

    def _study(self, row: sqlite3.Row) -> Study:
        views = self.image_views(row["key"]).values()
        deliveries = self._rows("SELECT * FROM deliveries WHERE key = ? ORDER BY destination", row["key"])

        def loaded(text: str | None) -> Any:
            return None if text is None else json.loads(text)

        return Study(
            key=row["key"],
            state=row["state"],
            revision=row["revision"],
            received_at=row["received_at"],
            updated_at=row["updated_at"],
            next_at=row["next_at"],
            attempts=row["attempts"],
            images_kept=bool(row["images_kept"]),
            images=len(views),
            views=tuple(sorted(filter(None, set(views)))),
            document=loaded(row["document"]),
            refusal=loaded(row["refusal"]),
            rejected=loaded(row["rejected"]) or [],
            problem=row["problem"],
            deliveries=tuple(
                Delivery(d["destination"], bool(d["done"]), d["attempts"], d["next_at"], d["problem"])
                for d in deliveries
            ),
        )
