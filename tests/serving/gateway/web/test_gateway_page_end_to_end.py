"""Real mammograms from the browser through gateway and model server and back."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.local.demo import real_exams
from schema.features import DENSITY_MEANINGS
from serving.gateway.run import RunningGateway
from tests.serving.gateway.web.conftest import Watched, until

Start = Callable[..., AbstractContextManager[RunningGateway]]
EXAM = "sfm-benign-0"
NAME = "<b>DOE^JANE</b>.dcm"


@pytest.fixture(scope="session")
def real_files() -> list[Path]:
    """The four views of a real exam: CBIS-DDSM, whose images have a study's UID each."""
    if EXAM not in real_exams():
        pytest.skip("needs the package mammograms")
    return sorted(real_exams()[EXAM].iterdir())


def rows(page: Any) -> dict[str, list[float]]:
    script = "(row) => [row.querySelector('th').textContent, [...row.querySelectorAll('data')].map((d) => +d.value)]"
    return dict(page.evaluate(f"[...document.querySelectorAll('.probabilities tbody tr')].map({script})"))


def test_a_real_exam_is_dropped_graded_and_looked_at(
    tab: Watched, start_gateway: Start, real_files: list[Path], token: str, tmp_path: Path
) -> None:
    folder = tmp_path / "of a person"
    folder.mkdir()
    names = [NAME.replace("/", ":"), *(f"{number}.dcm" for number in (2, 3, 4))]
    for name, file in zip(names, real_files, strict=True):
        (folder / name).symlink_to(file)
    (folder / "readme.txt").write_text("no mammogram")
    with start_gateway(grading={"policy": {"unseen": "flag"}}) as gateway:  # its model never saw digitised films
        page = tab.page
        page.goto(gateway.http_address)
        page.get_by_label("Token", exact=True).fill(token)
        page.keyboard.press("Enter")
        page.set_input_files("#files", [*folder.iterdir()])
        page.wait_for_selector(".grade")
        [key] = page.evaluate("[location.hash.slice(1)]")
        said: dict[str, Any] = {"headers": {"Authorization": f"Bearer {token}"}, "trust_env": False, "timeout": 60}
        exam = httpx.get(f"{gateway.http_address}/api/studies/{key}", **said).json()["exam"]
        grade = page.inner_text(".grade")
        assert f"BI-RADS density {exam['density']}" in grade
        assert DENSITY_MEANINGS[exam["density"]] in grade
        shown = rows(page)
        assert shown["Exam"] == list(exam["probabilities"].values())
        assert shown["Right breast"] == list(exam["right"].values())
        assert shown["Left MLO"] == list(exam["views"]["MLO_L"]["probabilities"].values())
        shown_pictures = "[...document.querySelectorAll('#hanging .frame:not(.beside) img')]"
        until(page, f"{shown_pictures}.filter((i) => i.naturalHeight > 64).length === 8")
        sizes = f"{shown_pictures}.map((i) => [i.naturalWidth, i.naturalHeight])"
        pictures = page.evaluate(sizes)
        assert pictures[::2] == pictures[1::2]  # each heat map lies over its view
        assert "readme.txt" in page.inner_text("#upload-refused")

        page.set_input_files("#files", [folder / name for name in names[:3]])
        page.wait_for_selector(".refusal")
        assert page.inner_text(".refusal h2") == "Not graded: missing views"
        assert "The exam has 3 of 4 views" in page.inner_text(".refusal")
        assert page.locator("#studies button").count() == 2
        listed = httpx.get(f"{gateway.http_address}/api/studies", **said).text
        page.goto("about:blank")  # the page asks for news as long as it is open, and the gateway goes now
    assert "DOE" not in listed
    assert not any("DOE" in path.name for path in (tmp_path / "spool").rglob("*"))
