"""The page for reviewers in a real browser: each answer is a file that the pipeline reads."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from components.review.review_file import Review, ReviewName, parse_review
from pipeline.review.page import PageView, review_page
from tests.waiting import HANG

WIDTH, HEIGHT = 300, 400
OUTLINE = ((0.5, 0.5), (90.5, 0.5), (0.5, 190.5))
HOSTILE = "</script><script>window.hacked=1</script>"


def page_view(rank: int, status: str) -> PageView:
    return PageView(
        stem=ReviewName(f"{rank:032x}", "MLO_L", "0" * 16).stem,
        pixels_sha256="0" * 64,
        rank=rank,
        title=f"MLO L, exam {rank}",
        system=HOSTILE,
        status=status,
        doubt=0.5,
        polygons=(OUTLINE,) if status == "removed" else (),
        picture=np.full((HEIGHT, WIDTH), 100, np.uint8),
    )


@pytest.fixture
def page(chromium: Any, tmp_path: Path) -> Iterator[Any]:
    """The page of three views, opened as a file; it must ask nobody, and say nothing to the console."""
    file = tmp_path / "review.html"
    file.write_text(review_page([page_view(1, "removed"), page_view(2, "absent"), page_view(3, "failed")]))
    context = chromium.new_context(viewport={"width": 1200, "height": 800})
    page = context.new_page()
    page.set_default_timeout(1000 * HANG)
    page.set_default_timeout(15_000)
    errors: list[str] = []
    asked: list[str] = []
    page.on("console", lambda said: errors.append(said.text))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(file.as_uri())
    yield page
    context.close()
    assert errors == []
    assert {url.split(":")[0] for url in asked} <= {"file", "data", "blob"}


def answer(page: Any, key: str) -> Review:
    """Press a key and read the file that the browser then saves."""
    with page.expect_download() as download:
        page.keyboard.press(key)
    return parse_review(download.value.suggested_filename, Path(download.value.path()).read_bytes())


def spot(page: Any, x: float, y: float) -> tuple[float, float]:
    """Where a pixel of the image lies in the window."""
    script = (
        "([x, y]) => { const at = new DOMPoint(x, y).matrixTransform(picture.getScreenCTM()); return [at.x, at.y]; }"
    )
    return tuple(page.evaluate(script, [x, y]))


def test_each_key_gives_the_answer_that_it_names(page: Any) -> None:
    page.locator(".card").first.click()
    accepted = answer(page, "a")
    assert (accepted.statement, accepted.polygons) == ("accept", (OUTLINE,))
    assert (accepted.size, accepted.pixels_sha256) == ((HEIGHT, WIDTH), "0" * 64)
    assert page.inner_text("#title") == "2. MLO L, exam 2"  # the next one
    no_muscle = answer(page, "a")
    assert (no_muscle.statement, no_muscle.accepted_absent) == ("accept", True)
    page.keyboard.press("a")  # of an image that failed there is nothing to accept
    absent = answer(page, "n")
    assert (absent.statement, absent.name.exam_id) == ("absent", f"{3:032x}")
    assert page.inner_text("#progress") == "3 of 3 answered."
    page.keyboard.press("ArrowRight")
    assert page.inner_text("#title") == "1. MLO L, exam 1"
    assert page.evaluate("window.hacked === undefined")


def test_an_outline_is_drawn_point_by_point_and_outlives_a_reload(page: Any) -> None:
    page.locator(".card").nth(2).click()
    for place in ((1, 1), (100, 100), (100, 1), (1, 200)):
        page.mouse.click(*spot(page, *place))
    page.keyboard.press("s")
    assert page.inner_text("#message") == "The outline crosses itself: move or remove a point."
    page.mouse.click(*spot(page, 100, 100), button="right")
    page.mouse.move(*spot(page, 100, 1))
    page.mouse.down()
    page.mouse.move(*spot(page, 120, 1), steps=3)
    page.mouse.up()
    page.reload()
    page.locator(".card").nth(2).click()
    assert page.inner_text("#message") == "Your outline is not saved yet."
    drawn = answer(page, "s")
    assert drawn.statement == "muscle"
    assert np.allclose(drawn.polygons, [[(1, 1), (120, 1), (1, 200)]], atol=0.6)  # to a pixel of the screen


def test_an_outline_that_was_moved_cannot_be_accepted_until_it_is_put_back(page: Any) -> None:
    page.locator(".card").first.click()
    page.mouse.move(*spot(page, 90.5, 0.5))
    page.mouse.down()
    page.mouse.move(*spot(page, 60, 50), steps=3)
    page.mouse.up()
    assert page.locator("#accept").is_disabled()
    page.keyboard.press("r")
    assert answer(page, "a").polygons == (OUTLINE,)
