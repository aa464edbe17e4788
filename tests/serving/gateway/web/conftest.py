"""A tab of a real headless Chromium, and a gateway for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.serving.gateway.web.scripted_gateway import TOKEN, ScriptedGateway, listening, scripted_app
from tests.waiting import HANG

SCREEN = {"width": 1920, "height": 960}  # what a browser leaves of 1080 lines


@pytest.fixture(scope="session")
def scripted() -> Iterator[ScriptedGateway]:
    script = ScriptedGateway()
    with listening(scripted_app(script)) as script.address:
        yield script


@pytest.fixture
def script(scripted: ScriptedGateway) -> ScriptedGateway:
    """A gateway without studies."""
    vars(scripted).update(vars(ScriptedGateway(address=scripted.address)))
    return scripted


@dataclass
class Watched:
    """A tab, and a record of what it did.

    Attributes:
        page: The tab, of playwright.
        errors: Errors of its console, its scripts and its policy.
        hosts: Hosts that it asked for something.
    """

    page: Any
    errors: list[str] = field(default_factory=list)
    hosts: set[str] = field(default_factory=set)

    def enter(self, address: str, token: str = TOKEN) -> None:
        """Opens the gateway's page with a token already given."""
        self.page.add_init_script(f"sessionStorage.setItem('breast-density token', '{token}')")
        self.page.goto(address)


def until(page: Any, expression: str) -> None:
    """Wait until a condition is true. Playwright's ``wait_for_function`` needs eval, which the page forbids."""
    deadline = time.monotonic() + HANG
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


def lines(page: Any, selector: str) -> list[str]:
    return [line for line in page.inner_text(selector).split("\n") if line]


def opened(tab: Watched, script: ScriptedGateway, study: dict[str, Any]) -> Any:
    script.studies[study["key"]] = study
    tab.enter(f"{script.address}/#{study['key']}")
    tab.page.wait_for_selector("#report .facts")
    return tab.page


def only_of_status(tab: Watched, *statuses: int) -> None:
    """Remove the browser's own messages about error responses from the errors of the console."""
    said = [f"the server responded with a status of {status}" for status in statuses]
    assert all(any(text in error for text in said) for error in tab.errors)
    tab.errors.clear()


@pytest.fixture
def tab(chromium: Any) -> Iterator[Watched]:
    """A new tab. At the end its console must have no errors, and it must only have called this machine."""
    context = chromium.new_context(viewport=SCREEN)
    watched = Watched(context.new_page())
    watched.page.set_default_timeout(1000 * HANG)
    watched.page.clock.install()
    watched.page.on("console", lambda said: watched.errors.append(said.text) if said.type == "error" else None)
    watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
    watched.page.on("request", lambda asked: watched.hosts.add(urlsplit(asked.url).hostname or ""))
    yield watched
    context.close()
    assert watched.errors == []
    assert watched.hosts <= {"127.0.0.1", ""}  # blobs have no host
