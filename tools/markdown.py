"""Texts of docstrings as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence
from typing import Final

_ROLE: Final = re.compile(r":(?:class|func|meth|mod|attr|data):`~?([^`]+)`")
_PAGE: Final = re.compile(r"(?<!`)docs/(\w+)\.md(?!`)")
_ATTRIBUTE: Final = re.compile(r"    (\w+): (.*)")
_SECTIONS: Final = ("Args:", "Attributes:", "Returns:", "Raises:", "Yields:", "Source:", "Example:", "Examples:")


def from_docstring(text: str) -> str:
    """Convert reStructuredText's literals and roles into Markdown's."""
    return _ROLE.sub(r"`\1`", text).replace("``", "`")


def prose_of(owner: object) -> str:
    """Return an object's docstring up to its first section, as Markdown; empty without one."""
    lines = (inspect.getdoc(owner) or "").splitlines()
    end = next((number for number, line in enumerate(lines) if line.strip() in _SECTIONS), len(lines))
    return from_docstring("\n".join(lines[:end]).strip())


def documented_attributes(cls: type) -> dict[str, str]:
    """Read the section ``Attributes`` of a class and of those that it extends, as Markdown in one line each."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        lines = inspect.cleandoc(base.__doc__ or "").splitlines()
        if "Attributes:" not in lines:
            continue
        name = ""
        for line in lines[lines.index("Attributes:") + 1 :]:
            if match := _ATTRIBUTE.fullmatch(line):
                name, found[match[1]] = match[1], match[2]
            elif line.startswith("        ") and name:
                found[name] += " " + line.strip()
            elif line.strip():
                break
    return {name: from_docstring(text) for name, text in found.items()}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Make a table; bars in cells are escaped."""
    lines = [head, ["---"] * len(head), *rows]
    cells = ([cell.replace("\n", " ").replace("|", r"\|") for cell in line] for line in lines)
    return with_links("\n".join("| " + " | ".join(line) + " |" for line in cells))


def with_links(text: str) -> str:
    """Make links of names of pages, for a page in a folder of ``docs``."""
    return _PAGE.sub(r"[\1](../\1.md)", text)
