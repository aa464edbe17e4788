"""Write the pages of ``docs/reference`` from the code: every configuration key, every command.

python -m tools.reference            write the pages
python -m tools.reference --check    exit code 1 where a page is not what the code says
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from tools.reference_commands import commands_page
from tools.reference_configuration import configuration_page

FOLDER: Final = Path(__file__).resolve().parents[1] / "docs" / "reference"
PAGES: Final[Mapping[str, Callable[[], str]]] = {
    "commands.md": commands_page,
    "configuration.md": configuration_page,
}


def stale_pages(folder: Path = FOLDER) -> list[str]:
    """Return the pages that are absent or stale."""
    return [
        name
        for name, make in PAGES.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != make()
    ]


def main() -> None:
    """Write or check the pages."""
    if sys.argv[1:] == ["--check"]:
        if stale := stale_pages():
            sys.exit(f"Stale in {FOLDER}: {', '.join(stale)}. Run: make reference")
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, make in PAGES.items():
        (FOLDER / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    main()
