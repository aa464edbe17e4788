"""What gRPC and REST share: the model's versions, the bounded queue in front of them, the counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Literal

import grpc
import numpy as np

from serving.server.config import ServerConfig
from serving.server.manager import ModelManager
from serving.server.metrics import REQUEST_LATENCY, RUNTIME_LATENCY, Metrics
from serving.server.model import LoadedModel
from serving.server.work import WorkQueue, overdue
from serving.wire.errors import StatusError

Api = Literal["Predict", "Classify", "Regress"]
_OTHER_MODEL: Final = "other"  # a label must not take whatever name a client sends
_RUNTIME: Final = "TF1"  # what TensorFlow Serving calls its session


class ServerCore:
    """Runs predictions within the limits.

    Attributes:
        manager: The versions that are served.
        config: What the server was started with.
        metrics: Counts and latencies so far.
        work: Queue that predictions pass.
    """

    def __init__(self, manager: ModelManager, config: ServerConfig) -> None:
        """Makes the queue; the manager is started and stopped by the caller."""
        self.manager = manager
        self.config = config
        self.metrics = Metrics()
        self.work = WorkQueue(config.limits.running, config.limits.queued)

    def stop(self) -> None:
        """Takes no further prediction."""
        self.work.stop()

    def predict(
        self,
        model: LoadedModel,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str] = (),
        seconds: float = float("inf"),
        wanted: Callable[[], bool] = lambda: True,
    ) -> dict[str, np.ndarray]:
        """Calls a signature when its turn comes; see `LoadedModel.predict` for the first arguments.

        Args:
            model: The version to call.
            signature: Signature; empty is the default one.
            inputs: Array by input name.
            output_filter: Outputs wanted; empty is all.
            seconds: What is left of the client's own time, s; the server's limit holds as well.
            wanted: Tells whether the client still waits, just before the model is run.

        Returns:
            Array by output name.

        Raises:
            StatusError: RESOURCE_EXHAUSTED where too many wait, DEADLINE_EXCEEDED where the time is over, and what
                `LoadedModel.predict` raises.
        """
        seconds = min(seconds, self.config.limits.request_seconds)
        if seconds <= 0:
            raise overdue()

        def call() -> dict[str, np.ndarray]:
            started = time.perf_counter()
            outputs = model.predict(signature, inputs, output_filter)
            self.metrics.latency(RUNTIME_LATENCY, self.manager.name, "Predict", _RUNTIME, time.perf_counter() - started)
            return outputs

        return self.work.run(call, seconds, wanted)

    @contextmanager
    def counted(self, name: str, api: Api, entrypoint: Literal["GRPC", "REST"]) -> Iterator[None]:
        """Counts one request, by how it ends; as in TensorFlow Serving latency is that of answered ones alone.

        Args:
            name: Model the client asked for.
            api: What it asked.
            entrypoint: By which way.
        """
        model = name if name == self.manager.name else _OTHER_MODEL
        started = time.perf_counter()
        try:
            yield
        except StatusError as error:
            self.metrics.count(model, error.code.name)
            raise
        except Exception:
            self.metrics.count(model, grpc.StatusCode.INTERNAL.name)
            raise
        self.metrics.count(model, grpc.StatusCode.OK.name)
        self.metrics.latency(REQUEST_LATENCY, model, api, entrypoint, time.perf_counter() - started)
