"""Prometheus metrics with the names, labels and buckets of TensorFlow Serving.

prometheus_client cannot write them: it always adds ``_total`` to the name of a counter.

Source: tensorflow_serving/servables/tensorflow/util.cc and tensorflow_serving/util/prometheus_exporter.cc.
"""

from __future__ import annotations

import bisect
import threading
from collections import Counter
from typing import Final

REQUEST_COUNT: Final = ":tensorflow:serving:request_count"
REQUEST_LATENCY: Final = ":tensorflow:serving:request_latency"
RUNTIME_LATENCY: Final = ":tensorflow:serving:runtime_latency"
_LATENCIES: Final = {REQUEST_LATENCY: "entrypoint", RUNTIME_LATENCY: "runtime"}
_BOUNDS: Final = tuple(10.0 * 1.8**power for power in range(33))  # microseconds, to about 20 minutes
CONTENT_TYPE: Final = "text/plain"


class _Histogram:
    def __init__(self) -> None:
        self.buckets = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.buckets[bisect.bisect_left(_BOUNDS, value)] += 1
        self.total += value


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Metrics:
    """Counts requests and their latencies. Threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, str]] = Counter()
        self._latencies: dict[str, dict[tuple[str, str, str], _Histogram]] = {name: {} for name in _LATENCIES}

    def count(self, model: str, status: str) -> None:
        """Count a finished request.

        Args:
            model: Name of the served model, never a name from a client: the set of label values must be bounded.
            status: Name of the status code.
        """
        with self._lock:
            self._counts[model, status] += 1

    def latency(self, name: str, model: str, api: str, where: str, seconds: float) -> None:
        """Add the latency of a successful request.

        Args:
            name: `REQUEST_LATENCY` or `RUNTIME_LATENCY`.
            model: Name of the served model.
            api: ``Predict``.
            where: ``GRPC`` or ``REST`` for requests, ``TF1`` for the runtime, as TensorFlow Serving calls its session.
            seconds: Latency, s.
        """
        with self._lock:
            self._latencies[name].setdefault((model, api, where), _Histogram()).add(seconds * 1e6)

    def page(self) -> bytes:
        """Return the metrics in Prometheus' text format 0.0.4."""
        with self._lock:
            lines = [f"# TYPE {REQUEST_COUNT} counter"]
            for (model, status), number in sorted(self._counts.items()):
                lines.append(f'{REQUEST_COUNT}{{model_name="{_escaped(model)}",status="{status}"}} {number}')
            for name, last_label in _LATENCIES.items():
                lines.append(f"# TYPE {name} histogram")
                for (model, api, where), histogram in sorted(self._latencies[name].items()):
                    labels = f'model_name="{_escaped(model)}",API="{api}",{last_label}="{where}"'
                    cumulated = 0
                    for bound, number in zip([*_BOUNDS, None], histogram.buckets, strict=True):
                        cumulated += number
                        limit = "+Inf" if bound is None else f"{bound:g}"
                        lines.append(f'{name}_bucket{{{labels},le="{limit}"}} {cumulated}')
                    lines.append(f"{name}_sum{{{labels}}} {histogram.total:g}")
                    lines.append(f"{name}_count{{{labels}}} {cumulated}")
        return ("\n".join(lines) + "\n").encode()
