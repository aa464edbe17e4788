"""The page shell: verdict, contents list and sections as one HTML text that loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from jinja2 import DictLoader, Environment, StrictUndefined

from components.report_generator.page import Section, Verdict
from schema.features import DENSITY_CLASSES

# Part of the cache key of nodes that use this module, see fingerprint.py.
DATA_FILES: Final = ("templates/blocks.html.j2", "templates/report.css", "templates/report.html.j2")


def render_page(title: str, about: Sequence[str], sections: Sequence[Section], verdict: Verdict | None = None) -> str:
    """Draws a page.

    Equal arguments give equal bytes. The page loads nothing: style and pictures are inlined, there is no
    script, and a content security policy forbids requests.

    Args:
        title: Heading of the page.
        about: Lines under it, such as name and date of the run.
        sections: In order; the contents list has them all.
        verdict: Head of the page, where something was judged.

    Returns:
        HTML text, to be written as UTF-8.
    """
    files = [Path(__file__).parent / name for name in DATA_FILES]
    environment = Environment(
        loader=DictLoader({file.name: file.read_text(encoding="utf-8") for file in files}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    template = environment.get_template("report.html.j2")
    return template.render(title=title, about=about, sections=sections, verdict=verdict, densities=DENSITY_CLASSES)
