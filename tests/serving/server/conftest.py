"""A server with small limits, and a client that grades with it; files with a server of their own define theirs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from serving.server.run import RunningServer
from tests.serving.server.limited import LIMITS, channel_to, grader, limited


@pytest.fixture(scope="module")
def model_dir(saved_models: dict[int, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("limits") / "models"
    shutil.copytree(saved_models[0], folder / "3")
    return folder


@pytest.fixture(scope="module")
def server(model_dir: Path) -> Iterator[RunningServer]:
    with limited(model_dir, LIMITS) as running:
        yield running


@pytest.fixture(scope="module")
def channel(server: RunningServer) -> Iterator[grpc.Channel]:
    with channel_to(server) as opened:
        yield opened


@pytest.fixture
def ask(channel: grpc.Channel) -> Callable[..., str]:
    """Grade images by gRPC; return the class of the first one, or the name of the status code."""
    return grader(channel)
