"""Prometheus metrics of the gateway, without patient identity."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from serving.gateway.spool import Spool
from serving.gateway.store import Store

_SECONDS: Final = (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64, 128)


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
        self.grading = Histogram(
            "breast_density_grading_seconds", "Time to grade a study.", buckets=_SECONDS, registry=self.registry
        )
        self.sent = Counter(
            "breast_density_deliveries", "Deliveries tried.", ["destination", "outcome"], registry=self.registry
        )

    def page(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)
