"""Render a page from the template files of a package."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def render(folder: Path, names: Sequence[str], template: str, **values: Any) -> str:
    """Render a template; values are escaped, and a name without a value is an error.

    Args:
        folder: Folder of the package.
        names: Its template files, relative to the folder; templates name each other without folders.
        template: The file name of the template to render.
        values: Its values.

    Returns:
        HTML text, to be written as UTF-8.
    """
    from jinja2 import DictLoader, Environment, StrictUndefined  # only the extra `pipeline` has it

    files = [folder / name for name in names]
    environment = Environment(
        loader=DictLoader({file.name: file.read_text(encoding="utf-8") for file in files}),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)
