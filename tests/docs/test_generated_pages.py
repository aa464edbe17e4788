"""The generated pages are what the code says, and the documentation names nothing that there is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.reference import PAGES, stale_pages
from tools.references import Project, Stale


def test_pages_are_what_the_code_says() -> None:
    assert stale_pages() == [], "run: make reference"


@pytest.mark.parametrize("name", PAGES)
def test_an_edited_page_is_found_out(name: str, tmp_path: Path) -> None:
    for page in PAGES:
        (tmp_path / page).write_text(PAGES[page](), encoding="utf-8")
    assert stale_pages(tmp_path) == []
    with (tmp_path / name).open("a", encoding="utf-8") as file:
        file.write("more\n")
    assert stale_pages(tmp_path) == [name]
    (tmp_path / name).unlink()
    assert stale_pages(tmp_path) == [name]


def test_names_and_links_lead_somewhere() -> None:
    assert [str(stale) for stale in Project().stale()] == []


def test_names_and_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    files = {
        "README.md": "`serving/client.py` `serving/gone.py` `serving.client.Client` `serving.client.Gone` `client.py`"
        " `gone.py` `serving.gone` `files.jsonl` `OUTPUT/exam.json` `serving/NAME.py` `components/NAME.py`\n"
        "`numpy.array` `pipeline.trainer.epochs`\n"
        "`pipeline.trainer.ages` `serving.client.Client.run` `serving.client.Client.gone`\n"
        "[a](docs/page.md#a-heading) [b](docs/page.md#gone) [c](docs/gone.md) [d](https://host/gone.md)\n"
        "```\n`serving/gone_in_a_block.py`\npython -m serving.gone_tool\npython -m serving.client\n```\n",
        "docs/page.md": "# A heading!\n\n::: serving.client\n\n::: serving.gone_api\n",
        "pipeline/__init__.py": "",
        "serving/__init__.py": "",
        "serving/other.py": '"""See ``client.Client``, ``client.gone``, ``self.gone``, :func:`run`, :func:`lost`."""\n'
        "# as in ``serving/gone_too.py``\ndef run():\n    pass\n",
        "serving/client.py": "class Client:\n    def run(self):\n        pass\n",
        "serving/.hidden/gone.py": "`serving/hidden.py`",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text, encoding="utf-8")
    found = {(stale.file, stale.name) for stale in Project(tmp_path).stale()}
    assert found == {
        ("README.md", "serving/gone.py"),
        ("README.md", "serving.client.Gone"),
        ("README.md", "gone.py"),
        ("README.md", "serving.gone"),
        ("README.md", "components/NAME.py"),
        ("README.md", "pipeline.trainer.ages"),
        ("README.md", "serving.client.Client.gone"),
        ("README.md", "docs/page.md#gone"),
        ("README.md", "docs/gone.md"),
        ("README.md", "serving.gone_tool"),
        ("docs/page.md", "serving.gone_api"),
        ("serving/other.py", "client.gone"),
        ("serving/other.py", "lost"),
        ("serving/other.py", "serving/gone_too.py"),
    }
    assert str(Stale("a.md", "b.py", "no such file")) == "a.md: b.py: no such file"
