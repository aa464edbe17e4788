"""Logs and Prometheus metrics of the gateway, without patient identity.

A log line names a study by its key. Logs of libraries may quote UIDs, names and AE titles: pynetdicom logs every
command, uvicorn every path, retrying whole requests. Therefore only the lines of the gateway and the errors of uvicorn
are shown. Of an exception only its type and origin are shown, not its text.
"""

from __future__ import annotations

import logging
import shutil
import sys
import traceback
import warnings
from collections.abc import Iterable
from types import TracebackType
from typing import Final, TextIO

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from serving.gateway.spool import Spool
from serving.gateway.store import Store

log: Final = logging.getLogger("serving.gateway")

_CHATTY: Final = ("pynetdicom", "pydicom", "python_multipart", "uvicorn.access")
_BELOW: Final = logging.CRITICAL + 1
_FAMILIARITY: Final = (0.25, 0.5, 0.75, 0.9, 1, 1.1, 1.25, 1.5, 2, 3)
_SECONDS: Final = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)


class _Formatter(logging.Formatter):
    """Shows the type and the traceback lines of an exception, never its text or values."""

    def formatException(  # noqa: N802 (name of the logging module)
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        if ei[0] is None:
            return ""
        places = [f"{frame.filename.rsplit('/', 1)[-1]}:{frame.lineno}" for frame in traceback.extract_tb(ei[2])]
        return f"{ei[0].__name__} at {' < '.join(reversed(places))}"


def configure_logs(stream: TextIO = sys.stderr) -> None:
    """Send the lines of the gateway, and errors of uvicorn without their text, to a stream.

    Args:
        stream: Stream that receives the lines.
    """
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    for name, level in (("serving.gateway", logging.INFO), ("uvicorn", logging.WARNING)):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.propagate = False
        logger.setLevel(level)
    logging.getLogger().handlers = [logging.NullHandler()]  # without a handler Python prints warnings of all loggers
    for name in _CHATTY:  # so that their lines are not even formatted
        logging.getLogger(name).setLevel(_BELOW)
    warnings.simplefilter("ignore")  # pydicom's warnings quote values of the data set


class _Present(Collector):
    """Values that are read when Prometheus asks for them."""

    def __init__(self, store: Store, spool: Spool) -> None:
        self._store = store
        self._spool = spool

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return []

    def collect(self) -> Iterable[GaugeMetricFamily]:
        studies = GaugeMetricFamily("breast_density_studies", "Studies by state.", labels=["state"])
        for state, count in self._store.counts().items():
            studies.add_metric([state], count)
        yield studies
        waiting = GaugeMetricFamily(
            "breast_density_waiting_deliveries", "Studies a destination does not have yet.", labels=["destination"]
        )
        for destination, count in self._store.waiting_deliveries().items():
            waiting.add_metric([destination], count)
        yield waiting
        free = shutil.disk_usage(self._spool.root).free
        yield GaugeMetricFamily("breast_density_spool_free_bytes", "Room on the spool's disk.", value=free)


class GatewayMetrics:
    """The metrics."""

    def __init__(self, store: Store, spool: Spool) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Present(store, spool))
        self.accepted = Counter(
            "breast_density_accepted_images", "Images accepted.", ["channel"], registry=self.registry
        )
        self.refused = Counter(
            "breast_density_refused_images", "Images not accepted.", ["channel", "reason"], registry=self.registry
        )
        self.answers = Counter(
            "breast_density_answers",
            "Studies graded, refused, failed or postponed.",
            ["answer"],
            registry=self.registry,
        )
        self.flags = Counter(
            "breast_density_flags",
            "Studies with a flag: unseen_system, unlike_training, low_confidence.",
            ["flag", "answer"],
            registry=self.registry,
        )
        self.familiarity = Histogram(
            "breast_density_familiarity",
            "Familiarity of the studies whose grade was computed; below 1 is unlike the training exams.",
            buckets=_FAMILIARITY,
            registry=self.registry,
        )
        self.grading = Histogram(
            "breast_density_grading_seconds", "Time to grade a study.", buckets=_SECONDS, registry=self.registry
        )
        self.sent = Counter(
            "breast_density_deliveries", "Deliveries tried.", ["destination", "outcome"], registry=self.registry
        )

    def page(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)
