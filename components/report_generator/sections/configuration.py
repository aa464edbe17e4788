"""Section "Configuration": what the run was made with."""

from __future__ import annotations

from components.report_generator.inputs import RunInfo
from components.report_generator.page import Block, Cell, Code, Fold, Section, Table, missing


def configuration_section(run: RunInfo | None) -> Section:
    """Shows the effective configuration and the package versions, folded."""
    blocks: list[Block] = []
    if run is None:
        blocks.append(missing("run information", "ReportGenerator"))
    else:
        if run.configuration.strip():
            blocks.append(Fold("Effective configuration (YAML)", (Code(run.configuration.strip()),)))
        if run.packages:
            rows = tuple((Cell(name), Cell(version)) for name, version in sorted(run.packages.items()))
            blocks.append(Fold("Package versions", (Table("Package versions", ("Package", "Version"), rows),)))
    return Section("configuration", "Configuration", tuple(blocks))
