"""The page in a headless Chromium, controlled by the DevTools protocol over a pipe; skipped if there is no Chromium."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.report_generator.report import write_report
from tests.waiting import HANG

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WIDER_THAN_ITS_PLACE = """[...document.querySelectorAll('body *')]
  .filter(e => !e.closest('.scroll, pre, svg, .skip') && e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => e.outerHTML.slice(0, 80))"""
WITHOUT_PICTURE = "[...document.images].filter(i => i.complete && !i.naturalWidth).length"

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")]


class Tab:
    """A tab of a headless Chromium: it sends commands and keeps events."""

    def __init__(self, profile: Path) -> None:
        commands, self._out = os.pipe()
        self._in, answers = os.pipe()
        options = "--headless --no-sandbox --disable-gpu --remote-debugging-pipe --no-first-run"
        shell = f'exec "$0" {options} "--user-data-dir=$1" about:blank 3<&{commands} 4>&{answers}'
        command = ["bash", "-c", shell, str(CHROMIUM), str(profile)]
        self._process = subprocess.Popen(command, pass_fds=(commands, answers), stderr=subprocess.DEVNULL)
        os.close(commands)
        os.close(answers)
        self._buffer, self._number = b"", 0
        self.events: list[dict[str, Any]] = []
        self._session: dict[str, str] = {}
        target = self("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            part = os.read(self._in, 1 << 20)
            assert part, "Chromium has ended"
            self._buffer += part
        message, self._buffer = self._buffer.split(b"\0", 1)
        return json.loads(message)

    def __call__(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        command = {"id": self._number, "method": method, "params": params, **self._session}
        os.write(self._out, json.dumps(command).encode() + b"\0")
        while (message := self._read()).get("id") != self._number:
            self.events.append(message)
        assert "error" not in message, message
        return message["result"]

    def open(self, url: str) -> None:
        self.events.clear()
        self("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._read())

    def evaluate(self, expression: str) -> Any:
        return self("Runtime.evaluate", expression=expression, returnByValue=True)["result"].get("value")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(HANG)
        os.close(self._in)
        os.close(self._out)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    opened = Tab(tmp_path_factory.mktemp("profile"))
    for domain in ("Page", "Network", "Log", "Runtime"):
        opened(f"{domain}.enable")
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def page_url(full_page: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(full_page, path)
    return path.as_uri()


@pytest.mark.parametrize(("width", "mobile"), [(1280, False), (940, False), (390, True)])
def test_page_fits_its_window_and_loads_nothing(tab: Tab, page_url: str, width: int, mobile: bool) -> None:
    tab("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=mobile)
    tab.open(page_url)
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert tab.evaluate("innerWidth") == width
    assert tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") == 0
    assert tab.evaluate(WIDER_THAN_ITS_PLACE) == []
    assert tab.evaluate("document.images.length") > 20
    assert tab.evaluate(WITHOUT_PICTURE) == 0
    requested = [e["params"]["request"]["url"] for e in tab.events if e["method"] == "Network.requestWillBeSent"]
    assert [url for url in requested if not url.startswith("data:")] == [page_url]
    complaints = {"Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"}
    assert [event for event in tab.events if event["method"] in complaints] == []
