"""No study is given up for others' fault; a study whose images break their reader fails, is told, and stays."""

from __future__ import annotations

import functools
import os
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from pydicom.uid import ComprehensiveSRStorage
from pynetdicom import AE, evt

from components.exam_model.recipe import PreprocessingRecipe
from serving.gateway.config import GatewayConfig
from serving.gateway.decoding import Decoder, DecodingBrokeError, Turns
from serving.gateway.run import running_gateway
from serving.gateway.studies import SteadyClock, Studies
from tests.serving.gateway.conftest import ENVIRON
from tests.waiting import HANG, wait_until

RECIPE = PreprocessingRecipe()
Config = Callable[..., GatewayConfig]


def stopped_child() -> int:
    """Stop the one process of the decoder and return its number."""
    (child,) = active_children()
    assert child.pid is not None
    os.kill(child.pid, signal.SIGSTOP)
    return child.pid


def test_a_process_that_dies_or_hangs_is_one_error_and_the_next_exam_is_read(exams: list[list[Path]]) -> None:
    decoder = Decoder(HANG)
    folder = exams[0][0].parent
    try:
        views = decoder.prepare(folder, RECIPE).views
        assert len(views) == 4
        number = stopped_child()
        with ThreadPoolExecutor(1) as pool:
            broken = pool.submit(decoder.prepare, folder, RECIPE)
            os.kill(number, signal.SIGKILL)
            with pytest.raises(DecodingBrokeError, match="ended with code -9"):
                broken.result(HANG)
        assert list(decoder.prepare(folder, RECIPE).views) == list(views)
    finally:
        decoder.close()
    assert not active_children()
    hasty = Decoder(0.001)
    with pytest.raises(DecodingBrokeError, match=r"more than 0\.001 s"):
        hasty.prepare(folder, RECIPE)
    assert not active_children()


def test_a_turn_alone_waits_for_the_others_and_they_for_it() -> None:
    turns, inside = Turns(), threading.Event()

    def alone() -> None:
        with turns.take(alone=True):
            inside.set()

    with turns.take(alone=False), turns.take(alone=False):
        waiting = threading.Thread(target=alone)
        waiting.start()
        assert not inside.wait(0.1)
    waiting.join(HANG)
    assert inside.is_set()
    with turns.take(alone=True):
        inside.clear()
        other = threading.Thread(target=lambda: turns.take(alone=False).__enter__() and inside.set())
        other.start()
    other.join(HANG)


def test_the_clock_never_goes_back() -> None:
    wall, steady = iter([100.0, 101.0, 50.0, 51.0, 200.0]), iter([0.0, 1.0, 2.0, 3.0, 4.0])
    clock = SteadyClock(wall.__next__, steady.__next__)
    assert [clock() for _ in range(4)] == [101.0, 102.0, 103.0, 200.0]


def test_times_of_a_clock_that_was_set_back_do_not_stall_a_study(
    gateway_config: Config, exams: list[list[Path]]
) -> None:
    config = gateway_config()
    future = Studies(config, lambda: 9e9)
    for path in exams[0]:
        incoming = future.spool.receive(1 << 30)
        incoming.write(path.read_bytes())
        staged = incoming.finish()
        future.accept([(staged, future.inspect(staged, "image"))])
    future.close()
    now = Studies(config, lambda: 1e9)
    now.group()
    assert [study.last_image_at for study in now.store.incoming()] == [1e9]
    now.now = lambda: 1e9 + 1
    now.group()
    assert now.store.counts()["queued"] == 1
    now.close()


def is_grading(studies: Studies) -> bool:
    return studies.store.counts()["grading"] == 1


def test_graceful_restarts_while_the_model_server_hangs_do_not_count(
    gateway_config: Config, model_server: str, exams: list[list[Path]], token: str
) -> None:
    files = [("files", (path.name, path.read_bytes())) for path in exams[0]]
    headers = {"Authorization": f"Bearer {token}"}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with running_gateway(gateway_config(address), ENVIRON) as gateway:
            answer = httpx.post(f"{gateway.http_address}/api/studies", files=files, headers=headers, timeout=HANG)
            (key,) = answer.json()["keys"]
            wait_until(lambda: is_grading(gateway.studies))
        for _ in range(3):
            with running_gateway(gateway_config(address), ENVIRON) as gateway:
                wait_until(functools.partial(is_grading, gateway.studies))
    with running_gateway(gateway_config(model_server), ENVIRON) as gateway:
        wait_until(lambda: gateway.studies.store.counts()["graded"])
        assert gateway.studies.summary(key) is not None


def test_a_study_that_breaks_its_reader_fails_its_destination_is_told_and_its_images_stay(
    gateway_config: Config, model_server: str, exams: list[list[Path]], token: str
) -> None:
    received: list[pydicom.Dataset] = []

    def store(event: evt.Event) -> int:
        received.append(event.dataset)
        return 0x0000

    pacs = AE("PACS")
    pacs.add_supported_context(ComprehensiveSRStorage)
    listening = pacs.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
    assert listening is not None
    port = listening.server_address[1]
    destination = {"kind": "dicom", "name": "pacs", "host": "127.0.0.1", "port": port, "ae_title": "PACS"}
    changes: dict[str, Any] = {"destinations": [destination], "retention": {"images_hours": 0}}
    headers = {"Authorization": f"Bearer {token}"}
    try:
        config = gateway_config(model_server, grading={"crashes": 2, "decode_seconds": 0.001}, **changes)
        with (
            running_gateway(config, ENVIRON) as gateway,
            httpx.Client(base_url=gateway.http_address, headers=headers, timeout=HANG) as client,
        ):
            files = [("files", (path.name, path.read_bytes())) for path in exams[0]]
            (key,) = client.post("/api/studies", files=files).json()["keys"]

            def study() -> dict[str, Any]:
                found: dict[str, Any] = client.get(f"/api/studies/{key}").json()
                return found

            wait_until(lambda: study()["state"] == "failed" and study()["delivery"] == "delivered")
            assert "more than 0.001 s" in study()["failure"]["message"]
            assert len(received) == 1
            assert "gateway failed" in received[0].to_json()
            gateway.studies.clean()
            assert len(list(gateway.studies.spool.images(key).iterdir())) == 4
        with (
            running_gateway(gateway_config(model_server, **changes), ENVIRON) as gateway,
            httpx.Client(base_url=gateway.http_address, headers=headers, timeout=HANG) as client,
        ):
            assert client.post(f"/api/studies/{key}/retry").status_code == 202
            wait_until(lambda: study_of(client, key)["state"] == "graded")
            assert client.post(f"/api/studies/{key}/retry").status_code == 409
    finally:
        listening.shutdown()


def study_of(client: httpx.Client, key: str) -> dict[str, Any]:
    found: dict[str, Any] = client.get(f"/api/studies/{key}").json()
    return found
